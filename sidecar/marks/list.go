package marks

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/scratch"
)

// listInMemory is how many bytes of a List are kept in memory.
const listInMemory = 64 << 10

// List is a queue of keys, in memory up to a bound and in a file beyond it.
type List struct {
	dir   string
	buf   []byte
	f     *os.File
	size  int64 // of the file
	count int64
}

// NewList returns an empty list; its file is made in dir.
func NewList(dir string) *List { return &List{dir: dir} }

// Add appends a key.
func (l *List) Add(db int, key []byte) error {
	l.buf = appendKey(l.buf, db, key)
	l.count++
	if len(l.buf) < listInMemory {
		return nil
	}
	if l.f == nil {
		f, err := scratch.File(l.dir, "keys-*")
		if err != nil {
			return fmt.Errorf("keeping a list of keys: %w", err)
		}
		l.f = f
	}
	if _, err := l.f.WriteAt(l.buf, l.size); err != nil {
		return fmt.Errorf("keeping a list of keys in %s: %w", l.dir, err)
	}
	l.size += int64(len(l.buf))
	if l.buf = l.buf[:0]; cap(l.buf) > 4*listInMemory {
		l.buf = nil
	}
	return nil
}

// Len is the number of keys added.
func (l *List) Len() int64 { return l.count }

// Each calls f with every key, which is valid until f returns.
func (l *List) Each(f func(db int, key []byte) error) error {
	var src io.Reader = bytes.NewReader(l.buf)
	if l.f != nil {
		src = io.MultiReader(io.NewSectionReader(l.f, 0, l.size), src)
	}
	r := bufio.NewReaderSize(src, 64<<10)
	rec := make([]byte, keyHead)
	for range l.count {
		rec = rec[:keyHead]
		if _, err := io.ReadFull(r, rec); err != nil {
			return fmt.Errorf("reading the list of keys: %w", err)
		}
		n := keyLen(rec)
		rec = slices.Grow(rec, n)[:keyHead+n]
		if _, err := io.ReadFull(r, rec[keyHead:]); err != nil {
			return fmt.Errorf("reading the list of keys: %w", err)
		}
		db, key, _ := cutKey(rec)
		if err := f(db, key); err != nil {
			return err
		}
	}
	return nil
}

// Close releases the file.
func (l *List) Close() {
	if l.f != nil {
		_ = l.f.Close()
	}
	*l = List{dir: l.dir}
}
