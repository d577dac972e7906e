// Package bulk keeps large arguments of the stream's commands in files, so
// that a command of any size takes little memory. In the command a token
// stands for the argument; everything that looks at a command, cuts it or puts
// it into a script handles the token like any other argument. When the bytes
// go to a server, the argument takes the place of its token, length and all.
//
// A token holds a random number of the process, so no data can be one.
package bulk

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/scratch"
)

const (
	// ArgumentAbove is the size in bytes from which an argument is kept in a
	// file.
	ArgumentAbove = 1 << 20
	// CommandAbove is the size of a command in memory from which all its
	// arguments but the short ones are.
	CommandAbove = 4 << 20
	// CutAbove is the size in memory at which a command of many short
	// arguments is cut after its key.
	CutAbove = 6 << 20

	short = 256 // bytes; a token is no gain

	segmentSize = 64 << 20
	copySize    = 256 << 10
)

// ErrTooLong says that an argument is longer than any server takes it.
var ErrTooLong = errors.New("an argument of the stream is too long")

// segment is a file of several arguments. It has no name: nothing is left
// after a crash.
type segment struct {
	f    *os.File
	size int64
	live int // arguments that are still needed
}

type argument struct {
	id       uint64
	seg      *segment
	at, size int64
	end      int64 // source offset after its command; 0 while that is read
	commands bool  // framed commands, not an argument
}

// Store holds the arguments. It is used by one goroutine.
type Store struct {
	dir   string
	max   int64
	mark  []byte // begins each token
	next  uint64
	held  map[uint64]*argument
	order []*argument
	cur   *segment
	used  bool // a token may be about
}

// New returns an empty store with files in dir. max is the longest argument
// in bytes, 0 for no limit.
func New(dir string, maxArgument int64) *Store {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand)
	return &Store{
		dir: dir, max: maxArgument, held: map[uint64]*argument{},
		mark: []byte("redis-sync argument " + hex.EncodeToString(nonce[:])),
	}
}

const idLen = 16

func (s *Store) tokenLen() int { return len(s.mark) + idLen }

// Keeps reports whether the i-th argument of a command (its name is the 0th)
// is to be kept, by its size and by how many bytes of the command are in
// memory already. Keys never are, nor what has to be looked at.
func (s *Store) Keeps(name []byte, i int, size, inMemory int64) bool {
	if i < 2 || size <= short || size <= ArgumentAbove && inMemory+size <= CommandAbove {
		return false
	}
	switch {
	case route.EqualFold(name, "mset"), route.EqualFold(name, "msetnx"):
		return i%2 == 0
	case route.ClassOf(name) == route.ClassPublish:
		return true
	case isRestore(name):
		return false // its payload is fitted to the target
	}
	return route.OneKey(name)
}

// Cuts reports whether a command is to be cut after its key, the first
// argument: what comes next would be too much to be held.
func (s *Store) Cuts(name []byte, size, inMemory int64) bool {
	return inMemory+size > CutAbove && route.OneKey(name)
}

// Parts reports whether a command may be read in parts: commands that do the
// same to each of their keys. MSETNX is in a stream only when it took effect,
// and its parts are MSET.
func (s *Store) Parts(name []byte) (as string, per int) {
	per, ok := route.Splittable(name)
	switch {
	case ok:
		return string(name), per
	case route.EqualFold(name, "msetnx"):
		return "MSET", 2
	}
	return "", 0
}

func isRestore(name []byte) bool {
	return route.EqualFold(name, "restore") || route.EqualFold(name, "restore-asking")
}

// Keep takes an argument of so many bytes from next, which gives up to n
// bytes, and returns its token.
func (s *Store) Keep(size int64, next func(n int) ([]byte, error)) ([]byte, error) {
	if s.max > 0 && size > s.max {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrTooLong, size, s.max)
	}
	a, err := s.begin(size)
	if err != nil {
		return nil, err
	}
	seg := a.seg
	for left := size; left > 0; {
		p, err := next(int(min(left, copySize)))
		if err != nil {
			return nil, err
		}
		if _, err := seg.f.WriteAt(p, seg.size); err != nil {
			return nil, &FileError{err}
		}
		seg.size += int64(len(p))
		left -= int64(len(p))
	}
	return s.token(a), nil
}

// KeepCommands takes framed commands, or parts of their framing, and returns
// what stands for them in a buffer of commands: the framed token. end is the
// source offset after the last of them.
func (s *Store) KeepCommands(p []byte, end int64) ([]byte, error) {
	a, err := s.begin(int64(len(p)))
	if err != nil {
		return nil, err
	}
	a.commands, a.end = true, end
	if _, err := a.seg.f.WriteAt(p, a.at); err != nil {
		return nil, &FileError{err}
	}
	a.seg.size += a.size
	return fmt.Appendf(nil, "$%d\r\n%s\r\n", s.tokenLen(), s.token(a)), nil
}

// begin makes room for an argument in the current file.
func (s *Store) begin(size int64) (*argument, error) {
	if s.cur == nil || s.cur.size >= segmentSize {
		f, err := scratch.File(s.dir, "argument-*")
		if err != nil {
			return nil, &FileError{err}
		}
		s.dropCurrent()
		s.cur = &segment{f: f}
	}
	s.next++
	a := &argument{id: s.next, seg: s.cur, at: s.cur.size, size: size}
	a.seg.live++
	s.held[a.id], s.order, s.used = a, append(s.order, a), true
	return a, nil
}

func (s *Store) token(a *argument) []byte {
	return fmt.Appendf(bytes.Clone(s.mark), "%0*x", idLen, a.id)
}

// FileError says that an argument could not be kept or read again.
type FileError struct{ Err error }

func (e *FileError) Error() string { return "keeping a large argument: " + e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// Seal notes the offset after the command whose arguments were kept last.
func (s *Store) Seal(end int64) {
	for i := len(s.order) - 1; i >= 0 && s.order[i].end == 0; i-- {
		s.order[i].end = end
	}
}

// Release frees the arguments of the commands that end at or before an offset:
// they are applied.
func (s *Store) Release(applied int64) {
	n := 0
	for n < len(s.order) && s.order[n].end != 0 && s.order[n].end <= applied {
		s.free(s.order[n])
		n++
	}
	if n > 0 {
		s.order = append(s.order[:0], s.order[n:]...)
	}
}

func (s *Store) free(a *argument) {
	delete(s.held, a.id)
	if a.seg.live--; a.seg.live > 0 {
		return
	}
	_ = a.seg.f.Close() // nothing of it is needed any more, and it has no name
	if a.seg == s.cur {
		s.cur = nil
	}
}

// dropCurrent ends the file that is filled; the last of its arguments to be
// freed closes it.
func (s *Store) dropCurrent() {
	if s.cur != nil && s.cur.live == 0 {
		_ = s.cur.f.Close()
	}
	s.cur = nil
}

// Clear frees everything.
func (s *Store) Clear() {
	for _, a := range s.order {
		s.free(a)
	}
	s.order = nil
	s.dropCurrent()
}

// Held is the number of bytes that are kept.
func (s *Store) Held() int64 {
	n := int64(0)
	for _, a := range s.order {
		n += a.size
	}
	return n
}
