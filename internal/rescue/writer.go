package rescue

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Writer writes a file. Its first error is that of all later calls.
type Writer struct {
	out     *bufio.Writer
	db      int
	keys    int64
	missing int64 // bytes of the last value
	crc     uint64
	err     error
}

// NewWriter begins a file of an RDB version, which must be that of the newest
// server that keys come from.
func NewWriter(w io.Writer, version int, h Header) *Writer {
	r := &Writer{out: bufio.NewWriterSize(w, 64<<10), db: -1}
	if version >= firstValkey {
		r.write(fmt.Appendf(nil, "VALKEY%03d", version))
	} else {
		r.write(fmt.Appendf(nil, "REDIS%04d", version))
	}
	for _, f := range h.fields() {
		r.aux(f[0], f[1])
	}
	return r
}

// Key begins a key, whose value of the given number of bytes Write then takes
// in pieces: a payload of DUMP without the type before it and the footer
// behind it. deadlineMS is Unix time in milliseconds; 0 for none.
func (w *Writer) Key(db int, key string, deadlineMS int64, typ byte, size int64) error {
	if w.whole(); w.err != nil {
		return w.err
	}
	if db != w.db {
		w.db = db
		w.write(appendLength([]byte{opSelectDB}, uint64(db)))
	}
	w.aux(auxBytes, strconv.FormatInt(size, 10))
	if deadlineMS > 0 {
		w.write(binary.LittleEndian.AppendUint64([]byte{opDeadlineMS}, uint64(deadlineMS)))
	}
	w.write(appendString([]byte{typ}, key))
	w.keys++
	w.missing = size
	return w.err
}

// Write takes a piece of the value of the last key.
func (w *Writer) Write(p []byte) (int, error) {
	if w.missing -= int64(len(p)); w.missing < 0 && w.err == nil {
		w.err = errors.New("a value is longer than was said")
	}
	w.write(p)
	return len(p), w.err
}

// Function writes a function library (Redis 7.0 and later): its code.
func (w *Writer) Function(code string) error {
	w.whole()
	w.write(appendString([]byte{opFunction}, code))
	return w.err
}

// Keys is how many were begun.
func (w *Writer) Keys() int64 { return w.keys }

// Close ends the file; gone is how many keys went away before they could be
// read. It does not close what it was written to.
func (w *Writer) Close(gone int64) error {
	w.whole()
	w.aux(auxGone, strconv.FormatInt(gone, 10))
	w.aux(auxKeys, strconv.FormatInt(w.keys, 10))
	w.write([]byte{opEOF})
	w.write(binary.LittleEndian.AppendUint64(nil, w.crc))
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

// whole fails unless the last value was written to its end.
func (w *Writer) whole() {
	if w.missing != 0 && w.err == nil {
		w.err = errors.New("a value is shorter than was said")
	}
}

func (w *Writer) aux(name, value string) {
	w.write(appendString(appendString([]byte{opAux}, name), value))
}

func (w *Writer) write(p []byte) {
	if w.err != nil {
		return
	}
	w.crc = Checksum(w.crc, p)
	_, w.err = w.out.Write(p)
}
