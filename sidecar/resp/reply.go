// Package resp reads the two directions of the Redis protocol (RESP2): the
// replies of a server, and the commands of a replication stream. Commands are
// kept as the raw bytes that came, so that they can be forwarded unchanged.
package resp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// ErrProtocol is wrapped by every error about bytes that are not RESP.
var ErrProtocol = errors.New("protocol error")

// lineLimit bounds a reply line; errors of Lua scripts are the longest.
const lineLimit = 64 << 10

// maxBulk bounds an announced length: the longest string that Redis can hold
// (proto-max-bulk-len may be raised up to it), and an array of as many parts.
const maxBulk = 1 << 40

// depthLimit bounds nested arrays.
const depthLimit = 32

// elemLimit bounds the elements of one reply that is kept, nested ones too:
// one costs 4 bytes on the wire and, while the list grows, 200 in memory. The
// longest that is asked for are the frontiers of all slots.
const elemLimit = 1 << 18

// Reply is one answer of a server.
type Reply struct {
	Kind  byte // '+', '-', ':', '$', '*'
	Text  string
	Int   int64
	Null  bool
	Elems []Reply
}

// Err returns the server's error, or nil.
func (r *Reply) Err() error {
	if r.Kind == '-' {
		return NewServerError(r.Text)
	}
	return nil
}

// ServerError is an error reply.
type ServerError struct {
	Code string // first word: "ERR", "WRONGTYPE", "MOVED"...
	Text string // the rest, without quoted arguments
}

func (e *ServerError) Error() string { return strings.TrimSpace(e.Code + " " + e.Text) }

// NewServerError parses the text of an error reply. Servers quote arguments
// of the failed command in some errors; those may be values, so they are cut.
func NewServerError(text string) *ServerError {
	code, rest, _ := strings.Cut(text, " ")
	if code == "" || strings.ToUpper(code) != code {
		code, rest = "ERR", text
	}
	if i := strings.Index(rest, "with args beginning with"); i >= 0 {
		rest = strings.TrimRight(rest[:i], ", ")
	}
	return &ServerError{Code: code, Text: rest}
}

// IsCode reports whether err is a server's error with one of the codes.
func IsCode(err error, codes ...string) bool {
	var e *ServerError
	if !errors.As(err, &e) {
		return false
	}
	return slices.Contains(codes, e.Code)
}

// ReadReply reads one reply.
func ReadReply(w *window.Window) (Reply, error) {
	elems, text := elemLimit, w.Max()
	return readReply(w, 0, &elems, &text)
}

// readReply takes what it keeps off elems and text, the bytes of all parts.
func readReply(w *window.Window, depth int, elems, text *int) (Reply, error) {
	line, err := w.Line(lineLimit)
	if err != nil {
		return Reply{}, err
	}
	if len(line) == 0 {
		return Reply{}, fmt.Errorf("%w: empty line where a reply is due", ErrProtocol)
	}
	r := Reply{Kind: line[0]}
	switch r.Kind {
	case '+', '-':
		if *text -= len(line); *text < 0 {
			return Reply{}, fmt.Errorf("%w: a reply of more than %d bytes", ErrProtocol, w.Max())
		}
		r.Text = string(line[1:])
		return r, nil
	case ':':
		var ok bool
		if r.Int, ok = parseInt(line[1:]); !ok {
			return Reply{}, fmt.Errorf("%w: integer reply", ErrProtocol)
		}
		return r, nil
	case '$', '*':
	default:
		return Reply{}, fmt.Errorf("%w: reply of type 0x%02x", ErrProtocol, r.Kind)
	}
	size, ok := parseInt(line[1:])
	if !ok || size < -1 || size > maxBulk {
		return Reply{}, fmt.Errorf("%w: length of a reply", ErrProtocol)
	}
	if size == -1 {
		r.Null = true
		return r, nil
	}
	n := int(size)
	if r.Kind == '$' {
		if *text -= n; *text < 0 {
			return Reply{}, fmt.Errorf("%w: a reply of more than %d bytes", ErrProtocol, w.Max())
		}
		p, err := w.Next(n + 2)
		if err != nil {
			return Reply{}, err
		}
		r.Text = string(p[:n])
		return r, nil
	}
	if depth == depthLimit {
		return Reply{}, fmt.Errorf("%w: arrays nested deeper than %d", ErrProtocol, depthLimit)
	}
	for range n { // grows with what arrives, not with what is announced
		if *elems--; *elems < 0 {
			return Reply{}, fmt.Errorf("%w: a reply of more than %d parts", ErrProtocol, elemLimit)
		}
		e, err := readReply(w, depth+1, elems, text)
		if err != nil {
			return Reply{}, err
		}
		r.Elems = append(r.Elems, e)
	}
	return r, nil
}

// SkipReply reads one reply and keeps nothing but the first error in it: the
// cheap way over the replies of a batch.
func SkipReply(w *window.Window) error { return skipReply(w, 0) }

func skipReply(w *window.Window, depth int) error {
	line, err := w.Line(lineLimit)
	if err != nil {
		return &ReadError{err}
	}
	if len(line) == 0 {
		return &ReadError{fmt.Errorf("%w: empty line where a reply is due", ErrProtocol)}
	}
	switch line[0] {
	case '+':
		return nil
	case ':':
		if _, ok := parseInt(line[1:]); !ok {
			return &ReadError{fmt.Errorf("%w: integer reply", ErrProtocol)}
		}
		return nil
	case '-':
		return NewServerError(string(line[1:]))
	case '$', '*':
	default:
		return &ReadError{fmt.Errorf("%w: reply of type 0x%02x", ErrProtocol, line[0])}
	}
	n, ok := parseInt(line[1:])
	if !ok || n < -1 || n > maxBulk {
		return &ReadError{fmt.Errorf("%w: length of a reply", ErrProtocol)}
	}
	if n == -1 {
		return nil
	}
	if line[0] == '$' {
		if err := w.Skip(n + 2); err != nil {
			return &ReadError{err}
		}
		return nil
	}
	if depth == depthLimit {
		return &ReadError{fmt.Errorf("%w: arrays nested deeper than %d", ErrProtocol, depthLimit)}
	}
	var first error
	for range n {
		err := skipReply(w, depth+1)
		if err != nil && errors.As(err, new(*ReadError)) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// ReadError says that a reply could not be read: the connection is of no
// further use, and what the server did is unknown.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "reading a reply: " + e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// parseInt reads a decimal number without allocating.
func parseInt(p []byte) (int64, bool) {
	if len(p) == 0 || len(p) > 20 {
		return 0, false
	}
	neg := p[0] == '-'
	if neg {
		p = p[1:]
		if len(p) == 0 {
			return 0, false
		}
	}
	var n uint64
	for _, c := range p {
		if c < '0' || c > '9' || n > (1<<63)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if neg {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

// ReadArrayHeader reads the head of an array reply and returns its length; -1
// for a null array. An error reply is returned as *ServerError.
func ReadArrayHeader(w *window.Window) (int, error) {
	line, err := w.Line(lineLimit)
	if err != nil {
		return 0, &ReadError{err}
	}
	if len(line) == 0 {
		return 0, &ReadError{fmt.Errorf("%w: empty line where an array is due", ErrProtocol)}
	}
	if line[0] == '-' {
		return 0, NewServerError(string(line[1:]))
	}
	n, ok := parseInt(line[1:])
	if line[0] != '*' || !ok {
		return 0, &ReadError{fmt.Errorf("%w: reply of type 0x%02x where an array is due", ErrProtocol, line[0])}
	}
	return int(n), nil
}
