package resp

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

const (
	// partArgs is the number of arguments of one part, and above which a
	// command is read in parts.
	partArgs = 4096
	// partBytes is the size at which a part ends.
	partBytes = 1 << 20
	// partHead is the room for the head of the array.
	partHead = len("*4097\r\n")
)

// parts is what is to be read of a command.
type parts struct {
	as   string
	per  int   // arguments of a key, with itself
	left int64 // arguments
}

// part reads the next part of a command; from is where it begins in the window.
func (c *Command) part(w *window.Window, from int64) error {
	c.Part, c.More = true, false // an error ends it
	c.ends = c.ends[:0]
	c.own = append(c.own[:0], make([]byte, partHead)...)
	c.own = appendHead(c.own, int64(len(c.parts.as)))
	c.ends = append(c.ends, len(c.own), len(c.own)+len(c.parts.as))
	c.own = append(append(c.own, c.parts.as...), "\r\n"...)
	n, most := 1, cmp.Or(c.partArgs, partArgs)
	for c.parts.left > 0 && ((n-1)%c.parts.per != 0 || n <= most && len(c.own) < partBytes) {
		if err := c.partArgument(w, n); err != nil {
			return err
		}
		c.parts.left--
		n++
	}
	head := append(strconv.AppendInt([]byte{'*'}, int64(n), 10), "\r\n"...)
	start := partHead - len(head)
	copy(c.own[start:], head)
	c.Raw, c.More, c.Size = c.own[start:], c.parts.left > 0, w.Offset()-from
	c.Args = c.Args[:0]
	for i := 0; i < len(c.ends); i += 2 {
		c.Args = append(c.Args, c.own[c.ends[i]:c.ends[i+1]])
	}
	return nil
}

// partArgument reads the i-th argument of a part.
func (c *Command) partArgument(w *window.Window, i int) error {
	size, err := argumentSize(w)
	if err != nil {
		return err
	}
	if c.Keeper.Keeps([]byte(c.parts.as), i, size, int64(len(c.own))) {
		token, err := c.Keeper.Keep(size, w.Next)
		if err != nil {
			return err
		}
		c.Kept += size
		c.own = appendHead(c.own, int64(len(token)))
		c.ends = append(c.ends, len(c.own), len(c.own)+len(token))
		c.own = append(append(c.own, token...), "\r\n"...)
		return argumentEnd(w)
	}
	if size > int64(w.Max()) {
		return fmt.Errorf("%w: an argument of %d bytes at offset %d, the limit is %d", window.ErrTooLarge, size, w.Offset(), w.Max())
	}
	c.own = appendHead(c.own, size)
	c.ends = append(c.ends, len(c.own), len(c.own)+int(size))
	for left := size; left > 0; {
		p, err := w.Next(int(min(left, 64<<10)))
		if err != nil {
			return err
		}
		c.own = append(c.own, p...)
		left -= int64(len(p))
	}
	c.own = append(c.own, "\r\n"...)
	return argumentEnd(w)
}

// appendHead appends the head of a bulk string.
func appendHead(dst []byte, size int64) []byte {
	return append(strconv.AppendInt(append(dst, '$'), size, 10), "\r\n"...)
}
