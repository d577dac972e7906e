// Package window is the sliding buffer between a byte source and the two
// parsers of the engine (the RDB scanner and the command reader). A parser
// looks at bytes in place; nothing is copied until it is framed for a target.
package window

import (
	"errors"
	"fmt"
	"io"
)

// ErrTooLarge is returned when a parser asks for more bytes in one piece than
// the window may hold.
var ErrTooLarge = errors.New("value exceeds the read buffer limit")

// ErrLine is returned for a line that does not end where lines do.
var ErrLine = errors.New("line too long")

// Window reads from a source into one contiguous buffer. The bytes between
// the mark and the read position stay in place until the mark moves, so a
// whole command or value can be handed on as one slice.
//
// A Window is used by one goroutine.
type Window struct {
	src io.Reader
	buf []byte
	pos int // next byte to be consumed
	end int // end of the valid bytes
	// mark is the start of the bytes to keep; -1 keeps nothing before pos.
	mark int
	base int64 // absolute offset of buf[0] in the source
	max  int

	// spill takes the bytes of a piece that grows beyond spillAbove.
	spill      func([]byte) error
	spillAbove int
	spilled    int64

	// Checksum over all consumed bytes, where the caller wants one: sum is
	// called with each stretch exactly once, in order.
	sum     func([]byte)
	sumFrom int
}

// DefaultMax bounds one piece: the largest bulk string that Redis takes by
// default (proto-max-bulk-len, 512 MB) and its framing.
const DefaultMax = 512<<20 + 64<<10

// New returns a window over src with a start buffer of size bytes that may
// grow to max bytes (0: DefaultMax).
func New(src io.Reader, size, max int) *Window {
	if max <= 0 {
		max = DefaultMax
	}
	return &Window{src: src, buf: make([]byte, size), mark: -1, max: max}
}

// Offset is the absolute offset of the next byte to be consumed.
func (w *Window) Offset() int64 { return w.base + int64(w.pos) }

// Max is the largest piece that the window may hold, in bytes.
func (w *Window) Max() int { return w.max }

// Buffered is the number of bytes that can be consumed without reading.
func (w *Window) Buffered() int { return w.end - w.pos }

// Mark starts a piece at the read position.
func (w *Window) Mark() { w.mark, w.spilled = w.pos, 0 }

// SpillAbove hands the bytes of a piece on to f when it grows beyond n bytes,
// so that the window need not hold it. Marked is then the rest of the piece.
func (w *Window) SpillAbove(n int, f func([]byte) error) { w.spillAbove, w.spill = n, f }

// Spilled is the number of bytes of the piece that were handed on.
func (w *Window) Spilled() int64 { return w.spilled }

// Unmark forgets the piece.
func (w *Window) Unmark() { w.mark = -1 }

// Marked returns the bytes from the mark to the read position. The slice is
// valid until the next call that may read.
func (w *Window) Marked() []byte { return w.buf[w.mark:w.pos] }

// MarkedFrom is like Marked, less the first skip bytes.
func (w *Window) MarkedFrom(skip int) []byte { return w.buf[w.mark+skip : w.pos] }

// MarkedLen is len(Marked()).
func (w *Window) MarkedLen() int { return w.pos - w.mark }

// StartSum calls f from here on with every stretch of consumed bytes.
func (w *Window) StartSum(f func([]byte)) { w.sum, w.sumFrom = f, w.pos }

// FlushSum brings the checksum up to the read position.
func (w *Window) FlushSum() {
	if w.sum != nil && w.sumFrom < w.pos {
		w.sum(w.buf[w.sumFrom:w.pos])
		w.sumFrom = w.pos
	}
}

// StopSum ends the checksum; bytes consumed later are not part of it.
func (w *Window) StopSum() { w.FlushSum(); w.sum = nil }

// Need makes at least n bytes available at the read position. At the end of
// the source it returns io.EOF when none, io.ErrUnexpectedEOF when fewer than
// n bytes are there.
func (w *Window) Need(n int) error {
	if w.end-w.pos >= n {
		return nil
	}
	return w.fill(n)
}

func (w *Window) fill(n int) error {
	w.FlushSum()
	if w.mark >= 0 && w.spill != nil && w.pos-w.mark >= w.spillAbove {
		if err := w.spill(w.buf[w.mark:w.pos]); err != nil {
			return err
		}
		w.spilled += int64(w.pos - w.mark)
		w.mark = w.pos
	}
	keep := w.pos
	if w.mark >= 0 {
		keep = w.mark
	}
	if need := w.pos - keep + n; need > w.max {
		return fmt.Errorf("%w: %d bytes at offset %d, the limit is %d", ErrTooLarge, need, w.base+int64(keep), w.max)
	}
	if w.pos+n > len(w.buf) && keep > 0 {
		w.shift(keep)
	}
	for w.end-w.pos < n {
		// The buffer grows with what has arrived, not with what was
		// announced: a hostile length allocates nothing before its bytes come.
		if w.end == len(w.buf) {
			grown := make([]byte, min(max(2*len(w.buf), 4096), w.max))
			copy(grown, w.buf[:w.end])
			w.buf = grown
		}
		if err := w.readSome(); err != nil {
			return err
		}
	}
	return nil
}

// shift moves the bytes from keep on to the start of the buffer.
func (w *Window) shift(keep int) {
	copy(w.buf, w.buf[keep:w.end])
	w.base += int64(keep)
	w.pos -= keep
	w.end -= keep
	w.sumFrom -= keep
	if w.mark >= 0 {
		w.mark -= keep
	}
}

func (w *Window) readSome() error {
	n, err := w.src.Read(w.buf[w.end:])
	w.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) && w.end > w.pos {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Next consumes n bytes and returns them. The slice is valid until the next
// call that may read; with a mark at or before it, until the mark moves and
// only while no further read grows the buffer.
func (w *Window) Next(n int) ([]byte, error) {
	if err := w.Need(n); err != nil {
		return nil, err
	}
	p := w.buf[w.pos : w.pos+n]
	w.pos += n
	return p, nil
}

// Byte consumes one byte.
func (w *Window) Byte() (byte, error) {
	if w.pos == w.end {
		if err := w.fill(1); err != nil {
			return 0, err
		}
	}
	b := w.buf[w.pos]
	w.pos++
	return b, nil
}

// Peek returns the next n bytes without consuming them.
func (w *Window) Peek(n int) ([]byte, error) {
	if err := w.Need(n); err != nil {
		return nil, err
	}
	return w.buf[w.pos : w.pos+n], nil
}

// Skip consumes n bytes. Without a mark they need not fit the buffer.
func (w *Window) Skip(n int64) error {
	for n > 0 {
		step := n
		if w.mark < 0 || w.spill != nil {
			step = min(n, 64<<10)
		}
		if step > int64(w.max) {
			return fmt.Errorf("%w: %d bytes at offset %d, the limit is %d", ErrTooLarge, step, w.Offset(), w.max)
		}
		if err := w.Need(int(step)); err != nil {
			return err
		}
		w.pos += int(step)
		n -= step
	}
	return nil
}

// Line consumes bytes up to and including CR LF and returns them without it.
// Lines over limit bytes are an error.
func (w *Window) Line(limit int) ([]byte, error) {
	for n := 0; ; {
		for i := w.pos + n; i < w.end; i++ {
			if w.buf[i] == '\n' {
				line := w.buf[w.pos:i]
				w.pos = i + 1
				if len(line) > 0 && line[len(line)-1] == '\r' {
					line = line[:len(line)-1]
				}
				return line, nil
			}
		}
		n = w.end - w.pos
		if n > limit {
			return nil, fmt.Errorf("%w: more than %d bytes at offset %d", ErrLine, limit, w.Offset())
		}
		if err := w.Need(n + 1); err != nil {
			return nil, err
		}
	}
}
