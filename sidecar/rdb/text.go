package rdb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Text is one string of a value: in memory when it is short, else the place
// where it is stored. It is valid until the next element is read.
type Text struct {
	p      []byte      // the text, or with lzf its packed form
	src    io.ReaderAt // where it is stored, when not in p
	off    int64
	stored int64
	n      int64
	lzf    bool
}

// Plain returns a text of bytes in memory.
func Plain(p []byte) Text { return Text{p: p, n: int64(len(p))} }

// Len is the number of bytes.
func (t *Text) Len() int64 { return t.n }

// Bytes returns the text when it is in memory as it is.
func (t *Text) Bytes() (p []byte, ok bool) { return t.p, t.src == nil && !t.lzf }

// WriteTo writes the text, unpacking it on the way, in bounded memory.
func (t *Text) WriteTo(w io.Writer) (int64, error) {
	if p, ok := t.Bytes(); ok {
		n, err := w.Write(p)
		return int64(n), err
	}
	if !t.lzf {
		n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(t.src, t.off, t.stored), make([]byte, cursorBuffer))
		if err == nil && n != t.stored {
			err = fmt.Errorf("reading back a large value: %w", io.ErrUnexpectedEOF)
		}
		return n, err
	}
	c := memory(t.p)
	if t.src != nil {
		c = section(t.src, t.off, t.off+t.stored)
	}
	return t.n, lzfCopy(w, c, t.n)
}

// lzfReach is how far back LZF refers (lzf.h: 13 bits, and one).
const lzfReach = 8 << 10

// lzfCopy writes the plain form, of n bytes, of everything that c has. It
// keeps no more than what later references may reach.
func lzfCopy(w io.Writer, c *cursor, n int64) error {
	out := make([]byte, 0, 64<<10)
	sent, written := 0, int64(0) // out[:sent] was written and is kept for references
	for c.left() > 0 {
		if len(out) > 48<<10 {
			if _, err := w.Write(out[sent:]); err != nil {
				return err
			}
			out = out[:copy(out, out[len(out)-lzfReach:])]
			sent = len(out)
		}
		b, err := c.byte("a compressed text")
		if err != nil {
			return err
		}
		ctrl, before := int(b), len(out)
		if ctrl < 32 {
			p, err := c.take(ctrl+1, "a compressed text")
			if err != nil {
				return err
			}
			out = append(out, p...)
		} else {
			size := ctrl >> 5
			if size == 7 {
				if b, err = c.byte("a compressed text"); err != nil {
					return err
				}
				size += int(b)
			}
			if b, err = c.byte("a compressed text"); err != nil {
				return err
			}
			from := len(out) - (ctrl&0x1f)<<8 - int(b) - 1
			if from < 0 {
				return c.bad("a compressed text refers to what is before its start")
			}
			for k := range size + 2 { // byte by byte: the ranges may overlap
				out = append(out, out[from+k])
			}
		}
		if written += int64(len(out) - before); written > n {
			break
		}
	}
	if written != n {
		return c.bad("a compressed text does not have the length that it says")
	}
	_, err := w.Write(out[sent:])
	return err
}

// errUnequal ends a comparison.
var errUnequal = errors.New("unequal")

// Equal reports whether the text is p, for tests and small texts.
func (t *Text) Equal(p []byte) bool {
	if t.n != int64(len(p)) {
		return false
	}
	_, err := t.WriteTo(&expect{p})
	return err == nil
}

type expect struct{ p []byte }

func (e *expect) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(e.p, p) {
		return 0, errUnequal
	}
	e.p = e.p[len(p):]
	return len(p), nil
}
