package resp

import (
	"fmt"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// argLimit bounds the number of arguments of one command, which cost 40 bytes
// each beside the window, and twice that while they come in. It is what Redis
// itself took until 6.2 (networking.c, processMultibulkBuffer).
const argLimit = 1 << 20

// Command is one command of a replication stream. Raw and Args are valid
// until the next ReadCommand.
type Command struct {
	Raw  []byte   // as it came, with its framing
	Args [][]byte // slices of Raw
	ends []int    // start and end of each argument in Raw
}

// ReadCommand reads the next command of a replication stream. Masters write
// arrays of bulk strings only.
func ReadCommand(w *window.Window, c *Command) error {
	w.Mark()
	c.ends = c.ends[:0]
	line, err := w.Line(64)
	if err != nil {
		return err
	}
	if len(line) < 2 || line[0] != '*' {
		return fmt.Errorf("%w: the stream has %q where a command is due", ErrProtocol, firstByte(line))
	}
	n, ok := parseInt(line[1:])
	if ok && n > argLimit {
		return fmt.Errorf("%w: %d arguments at offset %d, the limit is %d", window.ErrTooLarge, n, w.Offset(), argLimit)
	}
	if !ok || n < 1 {
		return fmt.Errorf("%w: number of arguments of a command", ErrProtocol)
	}
	for range n {
		line, err := w.Line(64)
		if err != nil {
			return err
		}
		if len(line) < 2 || line[0] != '$' {
			return fmt.Errorf("%w: the stream has %q where an argument is due", ErrProtocol, firstByte(line))
		}
		size, ok := parseInt(line[1:])
		if !ok || size < 0 {
			return fmt.Errorf("%w: length of an argument", ErrProtocol)
		}
		start := w.MarkedLen()
		if err := w.Skip(size); err != nil {
			return err
		}
		tail, err := w.Next(2)
		if err != nil {
			return err
		}
		if tail[0] != '\r' || tail[1] != '\n' {
			return fmt.Errorf("%w: an argument does not end where its length says", ErrProtocol)
		}
		c.ends = append(c.ends, start, start+int(size))
	}
	c.Raw = w.Marked()
	c.Args = c.Args[:0]
	for i := 0; i < len(c.ends); i += 2 {
		c.Args = append(c.Args, c.Raw[c.ends[i]:c.ends[i+1]])
	}
	return nil
}

func firstByte(line []byte) []byte {
	if len(line) > 1 {
		return line[:1]
	}
	return line
}

// AppendCommand appends a command as an array of bulk strings.
func AppendCommand(dst []byte, args ...string) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(args)), 10)
	dst = append(dst, "\r\n"...)
	for _, a := range args {
		dst = append(dst, '$')
		dst = strconv.AppendInt(dst, int64(len(a)), 10)
		dst = append(dst, "\r\n"...)
		dst = append(dst, a...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}
