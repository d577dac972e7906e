// Package marks remembers which keys a snapshot had, so that the keys of the
// target that it did not have can be found afterwards. Memory is bounded: the
// marks are split by hash into parts, which go to files when they grow.
package marks

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"
)

const (
	parts    = 64
	partBuf  = 64 << 10 // bytes of a part kept in memory
	markSize = 16
)

// Set holds the marks of one snapshot and the candidates of one sweep.
type Set struct {
	dir          string
	seedA, seedB maphash.Seed
	marks, keys  [parts]part
	count        int64
}

// New returns an empty set; files are made in dir.
func New(dir string) *Set {
	return &Set{dir: dir, seedA: maphash.MakeSeed(), seedB: maphash.MakeSeed()}
}

// part is an append-only byte queue: the tail in memory, the rest in a file
// without a name.
type part struct {
	buf []byte
	f   *os.File
}

func (p *part) add(dir string, b []byte) error {
	p.buf = append(p.buf, b...)
	if len(p.buf) < partBuf {
		return nil
	}
	if p.f == nil {
		f, err := os.CreateTemp(dir, "marks-*")
		if err != nil {
			return fmt.Errorf("keeping the marks of the snapshot: %w", err)
		}
		p.f = f
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("keeping the marks of the snapshot: %w", err)
		}
	}
	if _, err := p.f.Write(p.buf); err != nil {
		return fmt.Errorf("keeping the marks of the snapshot in %s: %w", filepath.Dir(p.f.Name()), err)
	}
	p.buf = p.buf[:0]
	return nil
}

func (p *part) load() ([]byte, error) {
	if p.f == nil {
		return p.buf, nil
	}
	size, err := p.f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("reading the marks of the snapshot: %w", err)
	}
	all := make([]byte, size, size+int64(len(p.buf)))
	if _, err := p.f.ReadAt(all, 0); err != nil {
		return nil, fmt.Errorf("reading the marks of the snapshot: %w", err)
	}
	return append(all, p.buf...), nil
}

func (p *part) close() {
	if p.f != nil {
		_ = p.f.Close()
	}
	*p = part{}
}

// hash is 128 bits of a keyed hash: that two keys of one sweep share it is
// out of the question (10^9 keys: 10^-21).
func (s *Set) hash(db int, key []byte) (m [markSize]byte) {
	mix := uint64(db) * 0x9e3779b97f4a7c15
	binary.LittleEndian.PutUint64(m[:8], maphash.Bytes(s.seedA, key)^mix)
	binary.LittleEndian.PutUint64(m[8:], maphash.Bytes(s.seedB, key)^mix)
	return m
}

// Add marks a key as part of the snapshot.
func (s *Set) Add(db int, key []byte) error {
	m := s.hash(db, key)
	s.count++
	return s.marks[m[0]%parts].add(s.dir, m[:])
}

// Count is the number of keys marked.
func (s *Set) Count() int64 { return s.count }

// Check queues a key of the target for Stale.
func (s *Set) Check(db int, key []byte) error {
	m := s.hash(db, key)
	rec := make([]byte, 0, markSize+8+len(key))
	rec = append(rec, m[:]...)
	rec = binary.LittleEndian.AppendUint32(rec, uint32(db))
	rec = binary.LittleEndian.AppendUint32(rec, uint32(len(key)))
	rec = append(rec, key...)
	return s.keys[m[0]%parts].add(s.dir, rec)
}

// Stale calls f once with each queued key that was not marked.
func (s *Set) Stale(f func(db int, key []byte) error) error {
	for i := range parts {
		all, err := s.marks[i].load()
		if err != nil {
			return err
		}
		seen := make(map[[markSize]byte]struct{}, len(all)/markSize)
		for ; len(all) >= markSize; all = all[markSize:] {
			seen[[markSize]byte(all[:markSize])] = struct{}{}
		}
		queued, err := s.keys[i].load()
		if err != nil {
			return err
		}
		for len(queued) > 0 {
			mark := [markSize]byte(queued[:markSize])
			db := int(binary.LittleEndian.Uint32(queued[markSize:]))
			n := int(binary.LittleEndian.Uint32(queued[markSize+4:]))
			key := queued[markSize+8 : markSize+8+n]
			queued = queued[markSize+8+n:]
			if _, ok := seen[mark]; ok {
				continue
			}
			seen[mark] = struct{}{} // SCAN may have given it twice
			if err := f(db, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// List is a queue of keys, in memory up to a bound and in a file beyond it.
type List struct {
	dir   string
	part  part
	count int64
}

// NewList returns an empty list; its file is made in dir.
func NewList(dir string) *List { return &List{dir: dir} }

// Add appends a key.
func (l *List) Add(db int, key []byte) error {
	rec := make([]byte, 0, 8+len(key))
	rec = binary.LittleEndian.AppendUint32(rec, uint32(db))
	rec = binary.LittleEndian.AppendUint32(rec, uint32(len(key)))
	l.count++
	return l.part.add(l.dir, append(rec, key...))
}

// Len is the number of keys added.
func (l *List) Len() int64 { return l.count }

// Each calls f with every key.
func (l *List) Each(f func(db int, key []byte) error) error {
	var src io.Reader = bytes.NewReader(l.part.buf)
	if l.part.f != nil {
		size, err := l.part.f.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("reading the list of keys: %w", err)
		}
		src = io.MultiReader(io.NewSectionReader(l.part.f, 0, size), src)
	}
	r := bufio.NewReaderSize(src, 64<<10)
	var head [8]byte
	var key []byte
	for range l.count {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return fmt.Errorf("reading the list of keys: %w", err)
		}
		n := int(binary.LittleEndian.Uint32(head[4:]))
		key = slices.Grow(key[:0], n)[:n]
		if _, err := io.ReadFull(r, key); err != nil {
			return fmt.Errorf("reading the list of keys: %w", err)
		}
		if err := f(int(binary.LittleEndian.Uint32(head[:4])), key); err != nil {
			return err
		}
	}
	return nil
}

// Close releases the file.
func (l *List) Close() { l.part.close() }

// Close releases the files.
func (s *Set) Close() {
	for i := range parts {
		s.marks[i].close()
		s.keys[i].close()
	}
}
