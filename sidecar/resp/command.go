package resp

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// argLimit bounds the number of arguments of one command that is not read in
// parts, which cost 40 bytes
// each beside the window, and twice that while they come in. It is what Redis
// itself took until 6.2 (networking.c, processMultibulkBuffer).
const argLimit = 1 << 20

// Command is one command of a replication stream. Raw and Args are valid
// until the next ReadCommand.
type Command struct {
	Raw  []byte   // as it came, with its framing, but for what was kept or cut
	Args [][]byte // slices of Raw
	ends []int    // start and end of each argument in Raw

	// Keeper takes arguments that are too large to be held; nil holds all.
	Keeper Keeper
	Size   int64 // bytes of the command in the stream
	Kept   int64 // bytes of the arguments that Keeper has
	// Cut: only the name and the first argument are there.
	Cut bool
	// Part: this is a part of a command that is too wide to be held, itself a
	// command on some of the keys. More: it is not the last one.
	Part, More bool
	own        []byte // Raw, where it is not in one piece in the window

	parts    parts // what is left of a command that is read in parts
	partArgs int   // 0: the constant of that name
}

// Keeper takes large arguments (bulk.Store).
type Keeper interface {
	// Keeps reports whether it takes the i-th argument of a command, of so
	// many bytes, when others are in memory already.
	Keeps(name []byte, i int, size, inMemory int64) bool
	// Cuts reports whether the command is to be cut instead of holding the
	// next argument.
	Cuts(name []byte, size, inMemory int64) bool
	// Parts reports whether the command may be read in parts, each one a command
	// of the name as, and of how many arguments a key has, with itself; 0 if not.
	Parts(name []byte) (as string, per int)
	// Keep takes the argument, whose bytes next gives, and returns what stands
	// for it.
	Keep(size int64, next func(n int) ([]byte, error)) ([]byte, error)
}

// ReadCommand reads the next command of a replication stream. Masters write
// arrays of bulk strings only.
func ReadCommand(w *window.Window, c *Command) error {
	from := w.Offset()
	c.ends, c.Kept, c.Cut = c.ends[:0], 0, false
	if c.own = c.own[:0]; cap(c.own) > maxOwn {
		c.own = nil
	}
	if c.More {
		return c.part(w, from)
	}
	c.Part = false
	w.Mark()
	line, err := w.Line(64)
	if err != nil {
		return err
	}
	if len(line) < 2 || line[0] != '*' {
		return fmt.Errorf("%w: the stream has %q where a command is due", ErrProtocol, firstByte(line))
	}
	n, ok := parseInt(line[1:])
	if !ok || n < 1 {
		return fmt.Errorf("%w: number of arguments of a command", ErrProtocol)
	}
	limit := int64(argLimit)
	if c.Keeper != nil {
		limit = int64(cmp.Or(c.partArgs, partArgs))
	}
	for i := range int(n) {
		at := w.MarkedLen()
		size, err := argumentSize(w)
		if err != nil {
			return err
		}
		if c.Keeper != nil && i >= 2 && !c.Cut {
			name, inMemory := c.name(w), int64(len(c.own)+w.MarkedLen())
			if c.Keeper.Keeps(name, i, size, inMemory) {
				if err := c.keep(w, at, size); err != nil {
					return err
				}
				continue
			}
			if c.Keeper.Cuts(name, size, inMemory) {
				c.cut(w, at)
			}
		}
		start := len(c.own) + w.MarkedLen()
		if err := w.Skip(size); err != nil {
			return err
		}
		if err := argumentEnd(w); err != nil {
			return err
		}
		if c.Cut {
			continue
		}
		c.ends = append(c.ends, start, start+int(size))
		if i > 0 || n <= limit {
			continue
		}
		if c.Keeper != nil {
			if as, per := c.Keeper.Parts(c.name(w)); per > 0 && (n-1)%int64(per) == 0 {
				w.Unmark()
				c.parts = parts{as, per, n - 1}
				return c.part(w, from)
			}
		}
		if n > argLimit {
			return fmt.Errorf("%w: %d arguments at offset %d, the limit is %d", window.ErrTooLarge, n, w.Offset(), argLimit)
		}
	}
	c.Size = w.Offset() - from
	switch {
	case c.Cut:
		c.Raw = c.own
	case len(c.own) > 0:
		c.own = append(c.own, w.Marked()...)
		c.Raw = c.own
	default:
		c.Raw = w.Marked()
	}
	c.Args = c.Args[:0]
	for i := 0; i < len(c.ends); i += 2 {
		c.Args = append(c.Args, c.Raw[c.ends[i]:c.ends[i+1]])
	}
	return nil
}

// maxOwn is how much room is kept for the next command.
const maxOwn = 1 << 20

// name is that of the command being read.
func (c *Command) name(w *window.Window) []byte {
	if len(c.own) > 0 {
		return c.own[c.ends[0]:c.ends[1]]
	}
	return w.Marked()[c.ends[0]:c.ends[1]]
}

// argumentSize reads the head of an argument.
func argumentSize(w *window.Window) (int64, error) {
	line, err := w.Line(64)
	if err != nil {
		return 0, err
	}
	if len(line) < 2 || line[0] != '$' {
		return 0, fmt.Errorf("%w: the stream has %q where an argument is due", ErrProtocol, firstByte(line))
	}
	size, ok := parseInt(line[1:])
	if !ok || line[1] == '-' { // -0 too
		return 0, fmt.Errorf("%w: length of an argument", ErrProtocol)
	}
	return size, nil
}

func argumentEnd(w *window.Window) error {
	tail, err := w.Next(2)
	if err != nil {
		return err
	}
	if tail[0] != '\r' || tail[1] != '\n' {
		return fmt.Errorf("%w: an argument does not end where its length says", ErrProtocol)
	}
	return nil
}

// keep hands an argument on, whose framing begins at the marked byte at.
func (c *Command) keep(w *window.Window, at int, size int64) error {
	c.own = append(c.own, w.Marked()[:at]...)
	w.Unmark()
	token, err := c.Keeper.Keep(size, w.Next)
	if err != nil {
		return err
	}
	if err := argumentEnd(w); err != nil {
		return err
	}
	w.Mark()
	c.Kept += size
	c.own = appendHead(c.own, int64(len(token)))
	c.ends = append(c.ends, len(c.own), len(c.own)+len(token))
	c.own = append(append(c.own, token...), "\r\n"...)
	return nil
}

// cut forgets all but the name and the first argument; the framing of the next
// one begins at the marked byte at.
func (c *Command) cut(w *window.Window, at int) {
	all := slices.Concat(c.own, w.Marked()[:at])
	name, first := string(all[c.ends[0]:c.ends[1]]), string(all[c.ends[2]:c.ends[3]])
	c.own = AppendCommand(nil, name, first)
	from := len(c.own) - len("\r\n") - len(first)
	head := len("*2\r\n$\r\n") + len(strconv.Itoa(len(name)))
	c.ends = append(c.ends[:0], head, head+len(name), from, from+len(first))
	c.Cut = true
	w.Unmark()
}

func firstByte(line []byte) []byte {
	if len(line) > 1 {
		return line[:1]
	}
	return line
}
