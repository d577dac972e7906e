package rescue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// File is a new file that gets its name when it is whole. Nobody but its owner
// may read it (mode 0600).
type File struct {
	path string
	tmp  *os.File
}

// Create makes the file, under another name in the same folder. A file that
// exists is left alone: the error is fs.ErrExist then.
func Create(path string) (*File, error) {
	if err := free(path); err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".part-*") // 0600
	if err != nil {
		return nil, fmt.Errorf("making the rescue file %s: %w", path, err)
	}
	return &File{path: path, tmp: tmp}, nil
}

// free fails unless nothing has the name.
func free(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("the rescue file %s: %w", path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the rescue file: %w", err)
	}
	return nil
}

// WriteError says that a file could not be written, as on a full disk.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "writing the rescue file: " + e.Err.Error() }

// Unwrap gives the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Write writes to the file. The error is a *WriteError.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.tmp.Write(p)
	if err != nil {
		err = &WriteError{err}
	}
	return n, err
}

// Commit gives the file its name after everything is on the disk. A file that
// got the name meanwhile stays.
func (f *File) Commit() error {
	if err := f.tmp.Sync(); err != nil {
		return &WriteError{err}
	}
	if err := f.tmp.Close(); err != nil {
		return &WriteError{err}
	}
	if err := f.name(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return &WriteError{err}
	}
	defer dir.Close()
	// Not every system can do that to a folder.
	if err := dir.Sync(); err != nil && runtime.GOOS != "windows" && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return &WriteError{err}
	}
	return nil
}

// name takes the name unless it is taken. A link fails then, where a rename
// would replace; but not every file system has links.
func (f *File) name() error {
	if err := os.Link(f.tmp.Name(), f.path); err == nil {
		_ = os.Remove(f.tmp.Name()) // a second name does no harm
		return nil
	}
	if err := free(f.path); err != nil {
		return err
	}
	if err := os.Rename(f.tmp.Name(), f.path); err != nil {
		return &WriteError{err}
	}
	return nil
}

// Discard removes what was written, unless it was committed.
func (f *File) Discard() {
	_ = f.tmp.Close()
	_ = os.Remove(f.tmp.Name()) // it is gone after Commit
}

// Summary says what a file holds.
type Summary struct {
	Header    Header
	Version   int // of RDB
	Keys      int64
	Bytes     int64 // of the file
	Functions int64
	Gone      int64
}

// Check reads a file to its end and gives each key to see, which may be nil.
func Check(in io.Reader, see func(*Key, int64) error) (*Summary, error) {
	r, err := NewReader(in)
	if err != nil {
		return nil, err
	}
	s := &Summary{Header: r.Header, Version: r.Version}
	for {
		k, err := r.Next()
		s.Keys, s.Bytes, s.Functions, s.Gone = r.keys, r.offset, r.Functions, r.Gone
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil:
			return s, err
		case see == nil:
			continue
		}
		if err := see(k, r.offset); err != nil {
			return s, err
		}
	}
}

// Receive copies a file from a stream into f and checks it on the way. f is to
// be committed only when there is no error.
func Receive(f io.Writer, from io.Reader, see func(*Key, int64) error) (*Summary, error) {
	return Check(io.TeeReader(from, f), see)
}
