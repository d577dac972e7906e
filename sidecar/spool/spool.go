// Package spool is the bounded buffer between the source's socket and the
// applier. The socket is drained at wire speed, so that a slow target does
// not fill the source's output buffer; what does not fit into memory goes to
// disk, and at the cap of the disk the reader of the socket waits, which the
// status shows.
package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

const chunkSize = 128 << 10

// segmentSize bounds one file; a file that was read to its end is removed.
const segmentSize = 32 << 20

// Spool is a queue of bytes with one writer and one reader.
type Spool struct {
	dir       string
	memLimit  int64
	diskLimit int64

	mu       sync.Mutex
	readable sync.Cond
	writable sync.Cond

	// The bytes in order: head, then mem, then the segments. While a segment
	// exists, new bytes go to disk.
	head     []byte // rest of the chunk being read
	headBuf  []byte
	mem      [][]byte
	memBytes int64
	free     [][]byte

	segments  []*segment
	diskBytes int64
	nextSeg   int

	closed  bool // by the writer
	err     error
	aborted bool // by the reader
	waiting bool // the writer waits for room
	writing bool // the writer writes to the last segment, without the lock
	woken   bool // Wake was called and no Read has told it
}

type segment struct {
	f           *os.File
	read, write int64
}

// New returns an empty spool. Files are made in dir when memLimit bytes are
// full; diskLimit 0 means no files.
func New(dir string, memLimit, diskLimit int64) *Spool {
	s := &Spool{dir: dir, memLimit: max(memLimit, 2*chunkSize), diskLimit: diskLimit}
	s.readable.L, s.writable.L = &s.mu, &s.mu
	return s
}

// Buffered is the number of bytes waiting to be read, and how many of them
// are on disk.
func (s *Spool) Buffered() (total, disk int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.head)) + s.memBytes + s.diskBytes, s.diskBytes
}

// Empty reports whether a Read would wait.
func (s *Spool) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.head) == 0 && s.memBytes == 0 && s.diskBytes == 0
}

// Ended reports whether nothing more will come after what is in it.
func (s *Spool) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.aborted
}

// Full reports whether the writer waits for room: the source is being held
// back.
func (s *Spool) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// Fill copies from r until it ends or the spool is aborted, and closes the
// spool with the reason. It returns the number of bytes taken.
func (s *Spool) Fill(r io.Reader, taken func(n int)) {
	for {
		buf := s.chunk()
		n, err := r.Read(buf)
		if n > 0 {
			taken(n)
			if putErr := s.put(buf[:n], buf); putErr != nil {
				s.CloseWrite(putErr)
				return
			}
		}
		if err != nil {
			s.CloseWrite(err)
			return
		}
	}
}

func (s *Spool) chunk() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return make([]byte, chunkSize)
}

var errAborted = errors.New("the spool was closed by its reader")

// put queues p, a prefix of the chunk whole.
func (s *Spool) put(p, whole []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.aborted {
			return errAborted
		}
		// Chunks are counted whole: a small read must not hold 128 KB for
		// a few bytes, so it is joined with the last chunk where it fits.
		if len(s.segments) == 0 && s.memBytes+int64(len(p)) <= s.memLimit {
			s.queue(p, whole)
			s.readable.Signal()
			return nil
		}
		if s.diskLimit > 0 && s.diskBytes+int64(len(p)) <= s.diskLimit {
			err := s.toDisk(p)
			s.free = append(s.free, whole)
			s.readable.Signal()
			return err
		}
		s.waiting = true
		s.writable.Wait()
		s.waiting = false
	}
}

func (s *Spool) queue(p, whole []byte) {
	s.memBytes += int64(len(p))
	if n := len(s.mem); n > 0 {
		last := s.mem[n-1]
		if len(last)+len(p) <= cap(last) {
			s.mem[n-1] = append(last, p...)
			s.free = append(s.free, whole)
			return
		}
	}
	s.mem = append(s.mem, p)
}

func (s *Spool) toDisk(p []byte) error {
	n := len(s.segments)
	if n == 0 || s.segments[n-1].write+int64(len(p)) > segmentSize {
		name := filepath.Join(s.dir, fmt.Sprintf("spool-%06d", s.nextSeg))
		s.nextSeg++
		f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("making a spool file: %w", err)
		}
		// The file has no name from here on: nothing is left after a crash.
		if err := os.Remove(name); err != nil {
			_ = f.Close()
			return fmt.Errorf("making a spool file: %w", err)
		}
		s.segments = append(s.segments, &segment{f: f})
		n++
	}
	seg := s.segments[n-1]
	// A slow disk must not keep the reader from what it has to read.
	s.writing = true
	s.mu.Unlock()
	_, err := seg.f.WriteAt(p, seg.write)
	s.mu.Lock()
	s.writing = false
	switch {
	case s.aborted:
		return errAborted
	case err != nil:
		return fmt.Errorf("writing to the spool: %w", err)
	}
	seg.write += int64(len(p))
	s.diskBytes += int64(len(p))
	return nil
}

// CloseWrite ends the queue: Read returns err after the last byte.
func (s *Spool) CloseWrite(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.err = true, err
	}
	s.readable.Broadcast()
}

// Abort drops everything and wakes both sides.
func (s *Spool) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aborted = true
	s.head, s.mem, s.memBytes = nil, nil, 0
	for _, seg := range s.segments {
		_ = seg.f.Close()
	}
	s.segments, s.diskBytes = nil, 0
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// ErrWoken is returned by a Read that waited when Wake was called.
var ErrWoken = errors.New("the reader of the spool was woken")

// Wake makes the Read that waits, or the next one that would, return
// ErrWoken.
func (s *Spool) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = true
	s.readable.Broadcast()
}

// Read takes bytes from the queue; it waits while there are none.
func (s *Spool) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.aborted:
			return 0, errAborted
		case len(s.head) > 0:
			n := copy(p, s.head)
			s.head = s.head[n:]
			s.recycleHead()
			return n, nil
		case len(s.mem) > 0:
			s.headBuf, s.head = s.mem[0], s.mem[0]
			s.memBytes -= int64(len(s.head))
			s.mem[0] = nil
			s.mem = s.mem[1:]
			s.writable.Signal()
		case s.diskBytes > 0:
			return s.fromDisk(p)
		case s.closed:
			return 0, s.err
		case s.woken:
			s.woken = false
			return 0, ErrWoken
		default:
			s.readable.Wait()
		}
	}
}

func (s *Spool) recycleHead() {
	if len(s.head) == 0 && s.headBuf != nil {
		if len(s.free) < 8 && cap(s.headBuf) >= chunkSize {
			s.free = append(s.free, s.headBuf[:chunkSize])
		}
		s.headBuf = nil
	}
}

func (s *Spool) fromDisk(p []byte) (int, error) {
	seg := s.segments[0]
	n := int(min(int64(len(p)), seg.write-seg.read))
	s.mu.Unlock()
	n, err := seg.f.ReadAt(p[:n], seg.read)
	s.mu.Lock()
	switch {
	case s.aborted:
		return 0, errAborted
	case err != nil && !(errors.Is(err, io.EOF) && n > 0):
		return 0, fmt.Errorf("reading the spool: %w", err)
	}
	seg.read += int64(n)
	s.diskBytes -= int64(n)
	if seg.read == seg.write && (len(s.segments) > 1 || !s.writing) {
		_ = seg.f.Close() // read to its end, and it has no name
		s.segments = s.segments[1:]
	}
	s.writable.Signal()
	return n, nil
}
