package rdb

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// bigAbove is the size from which a value is kept in a file and not in memory.
const bigAbove = 8 << 20

// BigValue is a value that was written to a file while it was read, with the
// checksum of its payload so far. It can be sent again.
type BigValue struct {
	f    *os.File
	size int64
	crc  uint64
}

func (b *BigValue) write(p []byte) error {
	if _, err := b.f.Write(p); err != nil {
		return fmt.Errorf("keeping a large value: %w", err)
	}
	b.size += int64(len(p))
	b.crc = CRC64(b.crc, p)
	return nil
}

func (b *BigValue) close() { _ = b.f.Close() }

// Close frees the file.
func (b *BigValue) Close() { b.close() }

// NewBig begins a value of a type that does not come from a scanner. Its
// bytes, without the type and the footer, are given to Write.
func NewBig(dir string, typ byte) (*BigValue, error) {
	f, err := largeValue(dir)
	if err != nil {
		return nil, err
	}
	return &BigValue{f: f, crc: CRC64(0, []byte{typ})}, nil
}

// Write appends to the value.
func (b *BigValue) Write(p []byte) (int, error) { return len(p), b.write(p) }

// Size is the number of bytes of the value.
func (b *BigValue) Size() int64 { return b.size }

// SpillTo makes the scanner keep large values in files of dir.
func (s *Scanner) SpillTo(dir string) {
	s.dir = dir
	s.w.SpillAbove(bigAbove, s.spill)
}

// spill takes a part of the value being read.
func (s *Scanner) spill(p []byte) error {
	if s.big == nil {
		b, err := NewBig(s.dir, s.typ)
		if err != nil {
			return err
		}
		s.big = b
	}
	return s.big.write(p)
}

// PayloadSize is the size of the RESTORE payload of a big value.
func (b *BigValue) PayloadSize() int64 { return PayloadSize(b.size) }

// WriteRestore writes the RESTORE command of a record with a big value.
func WriteRestore(w io.Writer, r *Record, o RestoreOptions) error {
	b := r.Big
	head := append(appendRestoreHead(nil, r, o, b.PayloadSize()), r.Type)
	if _, err := w.Write(head); err != nil {
		return err
	}
	// Through a buffer of ours: the connection renews its deadline per write.
	buf := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(b.f, 0, b.size), buf); err != nil {
		return err
	}
	version := []byte{byte(o.Footer), byte(o.Footer >> 8)}
	tail := binary.LittleEndian.AppendUint64(version, CRC64(b.crc, version))
	_, err := w.Write(appendRestoreTail(tail, r, o))
	return err
}
