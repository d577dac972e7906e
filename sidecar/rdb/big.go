package rdb

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
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
		f, err := os.CreateTemp(s.dir, "value-*")
		if err != nil {
			return fmt.Errorf("keeping a large value: %w", err)
		}
		if err := os.Remove(f.Name()); err != nil { // it needs no name
			_ = f.Close()
			return fmt.Errorf("keeping a large value: %w", err)
		}
		s.big = &BigValue{f: f, crc: CRC64(0, []byte{s.typ})}
	}
	return s.big.write(p)
}

// plain finds the text of a string that is neither compressed nor a number.
func (b *BigValue) plain() (from, n int64, ok bool) {
	var p [9]byte
	if _, err := b.f.ReadAt(p[:], 0); err != nil {
		return 0, 0, false
	}
	switch {
	case p[0] == 0x80:
		from, n = 5, int64(binary.BigEndian.Uint32(p[1:]))
	case p[0] == 0x81:
		from, n = 9, int64(binary.BigEndian.Uint64(p[1:]))
	default: // shorter ones are not big
		return 0, 0, false
	}
	return from, n, from+n == b.size
}

// PlainString reports whether the value of a record is a string that SET
// takes as it is, and its length. The payload of RESTORE would be longer than
// the longest string that a server takes.
func (r *Record) PlainString() (n int64, ok bool) {
	if r.Big == nil || r.Type != TypeString {
		return 0, false
	}
	_, n, ok = r.Big.plain()
	return n, ok
}

// WriteSet writes SET key value for a record of which PlainString is true,
// and PEXPIREAT where it has a deadline. It returns the number of replies due.
func WriteSet(w io.Writer, r *Record, replace bool) (replies int, err error) {
	from, n, _ := r.Big.plain()
	head := []byte("*3\r\n")
	if !replace {
		head = []byte("*4\r\n")
	}
	head = append(head, "$3\r\nSET\r\n$"...)
	head = strconv.AppendInt(head, int64(len(r.Key)), 10)
	head = append(append(append(head, "\r\n"...), r.Key...), "\r\n$"...)
	head = append(strconv.AppendInt(head, n, 10), "\r\n"...)
	if _, err := w.Write(head); err != nil {
		return 0, err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(r.Big.f, from, n), make([]byte, 256<<10)); err != nil {
		return 0, err
	}
	tail := []byte("\r\n")
	if !replace {
		tail = append(tail, "$2\r\nNX\r\n"...)
	}
	replies = 1
	if r.Expire != 0 {
		tail = append(tail, "*3\r\n$9\r\nPEXPIREAT\r\n$"...)
		tail = strconv.AppendInt(tail, int64(len(r.Key)), 10)
		tail = append(append(append(tail, "\r\n"...), r.Key...), "\r\n"...)
		tail = appendIntBulk(tail, r.Expire)
		replies++
	}
	_, err = w.Write(tail)
	return replies, err
}

// PayloadSize is the size of the RESTORE payload of a big value.
func (b *BigValue) PayloadSize() int64 { return b.size + 11 }

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
