package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// Memory that decoding one value takes, whatever the value is: texts longer
// than inlineText and blobs (a ziplist, listpack, intset or zipmap) longer
// than inlineBlob are read from where they are stored, or from a file that
// they are unpacked into. With the buffers of the cursors this stays below
// DecodeMemory.
const (
	inlineText   = 64 << 10
	inlineBlob   = 1 << 20
	cursorBuffer = 64 << 10
	DecodeMemory = 4 << 20
)

// ValueError says that a value is not what its type allows.
type ValueError struct {
	Offset int64  // in the raw value, or in the unpacked blob inside of it
	Reason string // without any part of the value
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("the value is corrupt at byte %d: %s", e.Offset, e.Reason)
}

// cursor reads stored bytes forward: all of them in buf, or from src through
// a small buffer.
type cursor struct {
	src  io.ReaderAt // nil: buf has everything
	next int64       // offset in src of what follows buf
	end  int64       // of the bytes in src
	base int64       // offset of buf[0]
	buf  []byte
	pos  int
}

func memory(p []byte) *cursor { return &cursor{buf: p, end: int64(len(p))} }

func section(src io.ReaderAt, from, to int64) *cursor {
	return &cursor{src: src, next: from, base: from, end: to}
}

// at returns a second cursor over the same bytes, at an offset that offset()
// has given.
func (c *cursor) at(off int64) cursor {
	if c.src == nil {
		return cursor{buf: c.buf, pos: int(off), end: c.end}
	}
	return cursor{src: c.src, next: off, base: off, end: c.end}
}

// seek goes to an offset, back too.
func (c *cursor) seek(off int64) {
	if c.src != nil && (off < c.base || off > c.base+int64(len(c.buf))) {
		c.buf, c.base, c.next = c.buf[:0], off, off
	}
	c.pos = int(off - c.base)
}

// cut makes the bytes end at an offset.
func (c *cursor) cut(end int64) {
	c.end = end
	if c.src == nil {
		c.buf = c.buf[:end]
	}
}

func (c *cursor) offset() int64 { return c.base + int64(c.pos) }

func (c *cursor) left() int64 { return c.end - c.offset() }

func (c *cursor) bad(format string, args ...any) error {
	return &ValueError{Offset: c.offset(), Reason: fmt.Sprintf(format, args...)}
}

// take returns the next n bytes, at most cursorBuffer of them unless all are
// in memory. They are valid until the next call.
func (c *cursor) take(n int, what string) ([]byte, error) {
	if len(c.buf)-c.pos < n {
		if err := c.fill(n, what); err != nil {
			return nil, err
		}
	}
	p := c.buf[c.pos : c.pos+n]
	c.pos += n
	return p, nil
}

func (c *cursor) fill(n int, what string) error {
	if int64(n) > c.left() {
		return c.bad("it ends inside %s", what)
	}
	if cap(c.buf) < cursorBuffer {
		c.buf = append(make([]byte, 0, cursorBuffer), c.buf...)
	}
	kept := copy(c.buf[:cap(c.buf)], c.buf[c.pos:])
	c.base += int64(c.pos)
	c.pos = 0
	more := min(int64(cap(c.buf)-kept), c.end-c.next)
	c.buf = c.buf[:kept+int(more)]
	if _, err := c.src.ReadAt(c.buf[kept:], c.next); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading back a large value: %w", err)
	}
	c.next += more
	return nil
}

func (c *cursor) byte(what string) (byte, error) {
	if c.pos < len(c.buf) {
		b := c.buf[c.pos]
		c.pos++
		return b, nil
	}
	p, err := c.take(1, what)
	if err != nil {
		return 0, err
	}
	return p[0], nil
}

// skip passes over n bytes.
func (c *cursor) skip(n int64, what string) error {
	if n < 0 || n > c.left() {
		return c.bad("it ends inside %s", what)
	}
	if have := int64(len(c.buf) - c.pos); n > have && c.src != nil {
		c.next += n - have
		c.base = c.next
		c.buf, c.pos = c.buf[:0], 0
		return nil
	}
	c.pos += int(n)
	return nil
}

// lengthOrEncoding reads a length (rdb.c, rdbLoadLenByRef). With special set,
// n is the encoding of a string.
func (c *cursor) lengthOrEncoding(what string) (n uint64, special bool, err error) {
	b, err := c.byte(what)
	if err != nil {
		return 0, false, err
	}
	switch b >> 6 {
	case len6Bit:
		return uint64(b & 0x3f), false, nil
	case len14Bit:
		next, err := c.byte(what)
		return uint64(b&0x3f)<<8 | uint64(next), false, err
	case lenEnc:
		return uint64(b & 0x3f), true, nil
	}
	switch b {
	case 0x80:
		p, err := c.take(4, what)
		if err != nil {
			return 0, false, err
		}
		return uint64(binary.BigEndian.Uint32(p)), false, nil
	case 0x81:
		p, err := c.take(8, what)
		if err != nil {
			return 0, false, err
		}
		return binary.BigEndian.Uint64(p), false, nil
	}
	return 0, false, c.bad("length byte 0x%02x of %s", b, what)
}

func (c *cursor) length(what string) (uint64, error) {
	n, special, err := c.lengthOrEncoding(what)
	if err == nil && special {
		return 0, c.bad("%s has a string encoding where a number is due", what)
	}
	return n, err
}

// stored is how a string lies in the value.
type stored struct {
	size  int64 // bytes that follow
	plain int64 // of the string; for numbers 0
	kind  uint64
	whole bool // not in a special encoding
}

// stringHead reads everything of a string before its bytes.
func (c *cursor) stringHead(what string) (stored, error) {
	n, special, err := c.lengthOrEncoding(what)
	if err != nil {
		return stored{}, err
	}
	if !special {
		if n > math.MaxInt64 || int64(n) > c.left() {
			return stored{}, c.bad("%s of %d bytes, more than there are", what, n)
		}
		return stored{size: int64(n), plain: int64(n), whole: true}, nil
	}
	switch n {
	case encInt8, encInt16, encInt32:
		return stored{size: 1 << n, kind: n}, nil
	case encLZF:
		packed, err := c.length(what)
		if err != nil {
			return stored{}, err
		}
		plain, err := c.length(what)
		if err != nil {
			return stored{}, err
		}
		// A run of at most 264 bytes shrinks to 3.
		if packed > math.MaxInt64/264 || int64(packed) > c.left() || plain > packed*264 {
			return stored{}, c.bad("%s of %d bytes compressed to %d", what, plain, packed)
		}
		return stored{size: int64(packed), plain: int64(plain), kind: encLZF}, nil
	}
	return stored{}, c.bad("string encoding %d of %s", n, what)
}

// skipString passes over a string.
func (c *cursor) skipString(what string) error {
	s, err := c.stringHead(what)
	if err != nil {
		return err
	}
	return c.skip(s.size, what)
}

// text reads a string. scratch is a buffer of the caller for short ones.
func (c *cursor) text(what string, scratch *[]byte) (Text, error) {
	s, err := c.stringHead(what)
	if err != nil {
		return Text{}, err
	}
	switch {
	case s.whole:
		return c.raw(s.size, what, scratch)
	case s.kind == encLZF:
		return c.compressed(s, what, scratch)
	}
	p, err := c.take(int(s.size), what)
	if err != nil {
		return Text{}, err
	}
	return number(littleEndian(p), scratch), nil
}

// raw reads n bytes as a text.
func (c *cursor) raw(n int64, what string, scratch *[]byte) (Text, error) {
	if c.src != nil && n > inlineText {
		t := Text{src: c.src, off: c.offset(), stored: n, n: n}
		return t, c.skip(n, what)
	}
	if n > c.left() {
		return Text{}, c.bad("it ends inside %s", what)
	}
	p, err := c.take(int(n), what)
	if err != nil {
		return Text{}, err
	}
	if c.src != nil { // the buffer moves
		*scratch = append((*scratch)[:0], p...)
		p = *scratch
	}
	return Text{p: p, n: n}, nil
}

func (c *cursor) compressed(s stored, what string, scratch *[]byte) (Text, error) {
	if s.plain > inlineText {
		t := Text{lzf: true, stored: s.size, n: s.plain}
		if c.src == nil {
			t.p = c.buf[c.pos : c.pos+int(s.size)]
		} else {
			t.src, t.off = c.src, c.offset()
		}
		return t, c.skip(s.size, what)
	}
	// LZF may also grow what it packs; such a text is never written so.
	if s.size > 2*inlineText {
		return Text{}, c.bad("%s of %d bytes compressed to %d", what, s.plain, s.size)
	}
	p, err := c.take2(int(s.size), what)
	if err != nil {
		return Text{}, err
	}
	out, ok := lzfDecompress((*scratch)[:0], p, int(s.plain))
	if !ok {
		return Text{}, c.bad("the compressed form of %s is damaged", what)
	}
	*scratch = out
	return Text{p: out, n: s.plain}, nil
}

// take2 is take for more than the buffer holds.
func (c *cursor) take2(n int, what string) ([]byte, error) {
	if c.src == nil || n <= cursorBuffer {
		return c.take(n, what)
	}
	p := make([]byte, n)
	at := c.offset()
	if err := c.skip(int64(n), what); err != nil {
		return nil, err
	}
	if _, err := c.src.ReadAt(p, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading back a large value: %w", err)
	}
	return p, nil
}

func number(n int64, scratch *[]byte) Text {
	*scratch = strconv.AppendInt((*scratch)[:0], n, 10)
	return Text{p: *scratch, n: int64(len(*scratch))}
}

// littleEndian is the signed number of 1 to 8 bytes.
func littleEndian(p []byte) int64 {
	var n uint64
	for _, b := range slices.Backward(p) {
		n = n<<8 | uint64(b)
	}
	shift := 64 - 8*uint(len(p))
	return int64(n<<shift) >> shift
}
