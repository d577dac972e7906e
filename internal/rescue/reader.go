package rescue

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Key is one key of a file, without its value.
type Key struct {
	DB         int
	Name       string
	Type       byte
	DeadlineMS int64 // Unix time in milliseconds; 0 for none
	Bytes      int64 // of the value as RDB encodes it
}

// FormatError says where a file is not what it should be.
type FormatError struct {
	Offset int64 // in bytes from the beginning of the file
	Reason string
}

func (e *FormatError) Error() string { return fmt.Sprintf("at offset %d: %s", e.Offset, e.Reason) }

// Reader reads a file from its beginning to its end, and checks it. Memory
// does not depend on the size of a value.
type Reader struct {
	Version int // of RDB
	Header  Header
	// Functions counts the function libraries that were passed, and Gone says,
	// at the end, how many keys had gone before they could be saved.
	Functions, Gone int64

	in     *bufio.Reader
	offset int64
	crc    uint64
	db     int
	keys   int64
	stated int64 // how many keys the file says that it has; -1: not yet
	ahead  *item // read already
	buf    []byte
}

// item is an opcode, or the type of a value, with what belongs to an AUX field.
type item struct {
	op          byte
	at          int64 // offset
	name, value string
}

// NewReader reads the beginning of a file.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), stated: -1, buf: make([]byte, 64<<10)}
	magic, err := r.take(9, "the beginning")
	if err != nil {
		return nil, err
	}
	digits, ok := strings.CutPrefix(string(magic), "REDIS")
	if !ok {
		digits, ok = strings.CutPrefix(string(magic), "VALKEY")
	}
	if r.Version, err = strconv.Atoi(digits); !ok || err != nil {
		return nil, &FormatError{0, "no RDB file: it begins with neither REDIS nor VALKEY and a version"}
	}
	format := ""
	for {
		it, err := r.item()
		if err != nil {
			return nil, err
		}
		known := it.op == opAux && it.name == auxFormat
		if known {
			format = it.value
		} else if it.op == opAux {
			if known, err = r.Header.set(it.name, it.value); err != nil {
				return nil, &FormatError{it.at, fmt.Sprintf("the field %s is not readable", it.name)}
			}
		}
		if !known {
			r.ahead = &it
			break
		}
	}
	switch format {
	case formatVersion:
		return r, nil
	case "":
		return nil, &FormatError{r.ahead.at, "an RDB file, but no rescue file: it does not say of which pair"}
	}
	return nil, &FormatError{r.ahead.at, fmt.Sprintf("a rescue file of format %.20q: this version reads format %s", format, formatVersion)}
}

// Next gives the next key; io.EOF when the file has ended as it has to, with
// the right checksum and the stated number of keys. Other errors are
// *FormatError, or those of reading.
func (r *Reader) Next() (*Key, error) {
	k := &Key{Bytes: -1}
	for {
		it, err := r.item()
		if err != nil {
			return nil, err
		}
		switch it.op {
		case opAux:
			err = r.field(it, k)
		case opSelectDB:
			var db uint64
			if db, err = r.length("the number of a database"); err == nil && db > 1<<31 {
				err = &FormatError{it.at, "the number of a database is out of range"}
			}
			r.db = int(db)
		case opDeadlineMS:
			var p []byte
			if p, err = r.take(8, "a deadline"); err == nil {
				k.DeadlineMS = int64(binary.LittleEndian.Uint64(p))
			}
		case opFunction:
			r.Functions++
			var size uint64
			if size, err = r.length("the length of a function library"); err == nil {
				err = r.skip(size, "a function library")
			}
		case opEOF:
			return nil, r.end(it.at)
		default:
			return k, r.key(it, k)
		}
		if err != nil {
			return nil, err
		}
	}
}

// field takes an AUX field that is not of the header.
func (r *Reader) field(it item, k *Key) error {
	var into *int64
	switch it.name {
	case auxBytes:
		into = &k.Bytes
	case auxKeys:
		into = &r.stated
	case auxGone:
		into = &r.Gone
	default:
		return nil
	}
	n, err := strconv.ParseInt(it.value, 10, 64)
	if err != nil || n < 0 {
		return &FormatError{it.at, fmt.Sprintf("the field %s is no number", it.name)}
	}
	*into = n
	return nil
}

func (r *Reader) key(it item, k *Key) error {
	if k.Bytes < 0 {
		return &FormatError{it.at, fmt.Sprintf("byte 0x%02x where a key or the end should begin", it.op)}
	}
	name, err := r.text("the name of a key")
	if err != nil {
		return err
	}
	k.DB, k.Type, k.Name = r.db, it.op, name
	r.keys++
	return r.skip(uint64(k.Bytes), "the value of a key")
}

// end checks what stands behind the last key.
func (r *Reader) end(at int64) error {
	want := r.crc
	p, err := r.take(8, "the checksum")
	if err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint64(p); got != want {
		return &FormatError{r.offset - 8, fmt.Sprintf("the checksum is %016x, that of what stands before it %016x: the file is damaged", got, want)}
	}
	if r.stated != r.keys {
		return &FormatError{at, fmt.Sprintf("the file ends after %d keys and says that it has %d", r.keys, max(r.stated, 0))}
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return &FormatError{r.offset, "something stands behind the end"}
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("at offset %d: %w", r.offset, err)
	}
	return io.EOF
}

// Offset is how much was read, in bytes.
func (r *Reader) Offset() int64 { return r.offset }

func (r *Reader) item() (item, error) {
	if r.ahead != nil {
		it := *r.ahead
		r.ahead = nil
		return it, nil
	}
	it := item{at: r.offset}
	p, err := r.take(1, "what comes next")
	if err != nil {
		return it, err
	}
	if it.op = p[0]; it.op != opAux {
		return it, nil
	}
	if it.name, err = r.text("the name of a field"); err == nil {
		it.value, err = r.text("a field")
	}
	return it, err
}

// length reads a length (Redis, rdb.c: rdbLoadLen).
func (r *Reader) length(what string) (uint64, error) {
	at := r.offset
	p, err := r.take(1, what)
	if err != nil {
		return 0, err
	}
	first := p[0]
	switch {
	case first>>6 == 0:
		return uint64(first), nil
	case first>>6 == 1:
		if p, err = r.take(1, what); err != nil {
			return 0, err
		}
		return uint64(first&0x3F)<<8 | uint64(p[0]), nil
	case first == 0x80:
		if p, err = r.take(4, what); err != nil {
			return 0, err
		}
		return uint64(binary.BigEndian.Uint32(p)), nil
	case first == 0x81:
		if p, err = r.take(8, what); err != nil {
			return 0, err
		}
		return binary.BigEndian.Uint64(p), nil
	}
	return 0, &FormatError{at, fmt.Sprintf("byte 0x%02x cannot begin %s", first, what)}
}

// text reads a string. No more is allocated than there is.
func (r *Reader) text(what string) (string, error) {
	size, err := r.length("the length of " + what)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = r.each(size, what, func(p []byte) { b.Write(p) })
	return b.String(), err
}

func (r *Reader) skip(size uint64, what string) error { return r.each(size, what, func([]byte) {}) }

// each reads a number of bytes in pieces.
func (r *Reader) each(size uint64, what string, take func([]byte)) error {
	for size > 0 {
		p, err := r.take(int(min(size, uint64(len(r.buf)))), what)
		if err != nil {
			return err
		}
		take(p)
		size -= uint64(len(p))
	}
	return nil
}

// take reads up to len(r.buf) bytes, which are good until the next call.
func (r *Reader) take(n int, what string) ([]byte, error) {
	got, err := io.ReadFull(r.in, r.buf[:n])
	r.offset += int64(got)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &FormatError{r.offset, "the file is cut off inside " + what}
	case err != nil:
		return nil, fmt.Errorf("at offset %d: %w", r.offset, err)
	}
	r.crc = Checksum(r.crc, r.buf[:n])
	return r.buf[:n], nil
}
