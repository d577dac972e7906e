package psync

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// Position is a point in a source's replication stream.
type Position struct {
	ReplID string
	Offset int64 // bytes of the stream up to and including it
	DB     int   // selected there
}

// Zero reports whether there is no position.
func (p Position) Zero() bool { return p.ReplID == "" }

// Session is an attached stream.
type Session struct {
	Conn *conn.Conn
	Node Node
	// Full: a snapshot comes first, and then the stream from Pos on.
	Full bool
	// Pos is where the stream begins: the granted offset of a full resync, or
	// the asked position, with the replication id that the source has now.
	Pos Position
	// Snapshot framing: the announced size, or the end marker of a diskless
	// source. Known after Begin.
	Size   int64
	Marker string

	ackMu sync.Mutex
}

// RefusedError is an answer to PSYNC that says: not here, not now.
type RefusedError struct {
	Addr string
	Err  error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("PSYNC at %s: %v", e.Addr, e.Err) }
func (e *RefusedError) Unwrap() error { return e.Err }

// valkeyVersion is the newest Valkey whose snapshots the scanner reads.
const valkeyVersion = "9.1.0"

// newlineLimit bounds the keep-alive newlines before an answer: a source that
// sends one per second for a day is not going to answer.
const newlineLimit = 100_000

// Attach connects to the node and asks for the position after pos; verb
// replaces PSYNC where a managed service renamed it.
func Attach(ctx context.Context, n Node, o conn.Options, pos Position, verb string) (*Session, error) {
	o.Window, o.MaxReply, o.Whole = 256<<10, maxAnswer, true
	c, err := conn.Dial(ctx, n.Addr, o)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	return attach(c, n, pos, verb)
}

// attach does what Attach does on a connection, and closes it on an error.
func attach(c *conn.Conn, n Node, pos Position, verb string) (*Session, error) {
	s := &Session{Conn: c, Node: n}
	if err := s.handshake(pos, verb); err != nil {
		_ = c.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) handshake(pos Position, verb string) error {
	c := s.Conn
	// The pod may have changed its role since it was probed; a replica
	// without its master would answer NOMASTERLINK or a stale stream.
	var now Node
	now.Addr = s.Node.Addr
	if err := now.ask(c); err != nil {
		return err
	}
	if now.Role == "slave" && !now.LinkUp {
		return &RefusedError{s.Node.Addr, errors.New("it lost the link to its master")}
	}
	if s.Node.Slots != nil && !now.Slots.Equal(s.Node.Slots) {
		return &SlotsChangedError{Want: s.Node.Slots, Have: now.Slots, Addr: s.Node.Addr}
	}
	s.Node = now
	for _, capa := range []string{"eof", "psync2"} {
		if _, err := c.Do("REPLCONF", "capa", capa); err != nil {
			return &RefusedError{c.Addr, err}
		}
	}
	if s.Node.Valkey {
		// Valkey 9 writes its own format only for a replica that names a
		// version which reads it, and cannot write all values in the old one.
		// Earlier ones, and the answer, do not matter.
		var server *resp.ServerError
		if _, err := c.Do("REPLCONF", "version", valkeyVersion); err != nil && !errors.As(err, &server) {
			return &RefusedError{c.Addr, err}
		}
	}
	if verb == "" {
		verb = "PSYNC"
	}
	args := []string{verb, "?", "-1"}
	if !pos.Zero() {
		args = []string{verb, pos.ReplID, strconv.FormatInt(pos.Offset+1, 10)}
	}
	// The answer to PSYNC may take as long as a fork and a running BGSAVE.
	c.SetTimeout(90 * time.Second)
	if _, err := c.Write(resp.AppendCommand(nil, args...)); err != nil {
		return err
	}
	line, err := s.line()
	if err != nil {
		return fmt.Errorf("waiting for the answer to PSYNC at %s: %w", c.Addr, err)
	}
	return s.answer(line, pos)
}

// line reads one line, passing over keep-alive newlines.
func (s *Session) line() (string, error) {
	for range newlineLimit {
		l, err := s.Conn.W.Line(1024)
		if err != nil {
			return "", err
		}
		if len(l) > 0 {
			return string(l), nil
		}
	}
	return "", fmt.Errorf("%w: %d empty lines and no answer", resp.ErrProtocol, newlineLimit)
}

func (s *Session) answer(line string, pos Position) error {
	f := strings.Fields(line)
	switch {
	case len(f) == 0:
	case f[0] == "+FULLRESYNC" && len(f) == 3:
		off, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil || off < 0 || off > maxOffset || !isReplID(f[1]) {
			return fmt.Errorf("%w: the answer to PSYNC at %s is not +FULLRESYNC <replid> <offset>", resp.ErrProtocol, s.Conn.Addr)
		}
		s.Full, s.Pos = true, Position{ReplID: f[1], Offset: off}
		return nil
	case f[0] == "+CONTINUE" && len(f) <= 2:
		if pos.Zero() {
			return fmt.Errorf("%w: %s continues a stream that was not asked for", resp.ErrProtocol, s.Conn.Addr)
		}
		s.Pos = pos
		if len(f) == 2 {
			if !isReplID(f[1]) {
				return fmt.Errorf("%w: +CONTINUE at %s without a replication id", resp.ErrProtocol, s.Conn.Addr)
			}
			s.Pos.ReplID = f[1]
		}
		if err := s.plausible(pos); err != nil {
			return &RefusedError{s.Conn.Addr, err}
		}
		// Some servers send a newline after +CONTINUE that is no part of the
		// stream; commands never begin with one.
		return nil
	case strings.HasPrefix(line, "-"):
		return &RefusedError{s.Conn.Addr, resp.NewServerError(line[1:])}
	}
	return fmt.Errorf("%w: the answer to PSYNC at %s is neither +FULLRESYNC nor +CONTINUE", resp.ErrProtocol, s.Conn.Addr)
}

// maxOffset leaves room for the stream that follows: an offset never wraps.
const maxOffset = 1 << 62

// plausible compares a granted continuation with what the server said of
// itself a moment ago. A stream of another history, taken for the
// continuation, would be silent damage; a server that was promoted between
// the two answers is simply asked again.
func (s *Session) plausible(pos Position) error {
	now := s.Node
	switch {
	case now.ReplID == "": // before 4.0
	case s.Pos.ReplID != now.ReplID:
		return errors.New("it continues a stream under another replication id than its own")
	case pos.ReplID != now.ReplID && pos.ReplID != now.ReplID2:
		return errors.New("it continues a history that is not its own")
	case pos.Offset > now.Offset:
		return fmt.Errorf("it continues from offset %d and is itself at %d", pos.Offset, now.Offset)
	}
	return nil
}

func isReplID(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range s {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}

// markerLen is the length of a diskless snapshot's end marker
// (CONFIG_RUN_ID_SIZE).
const markerLen = 40

// Begin reads the snapshot's framing: "$<size>", or "$EOF:<marker>" from a
// diskless source. It may wait for a fork and for repl-diskless-sync-delay.
func (s *Session) Begin() error {
	line, err := s.line()
	if err != nil {
		return fmt.Errorf("waiting for the snapshot of %s: %w", s.Conn.Addr, err)
	}
	if strings.HasPrefix(line, "-") {
		return &RefusedError{s.Conn.Addr, resp.NewServerError(line[1:])}
	}
	rest, ok := strings.CutPrefix(line, "$")
	if !ok {
		return fmt.Errorf("%w: the snapshot of %s does not begin with its size", resp.ErrProtocol, s.Conn.Addr)
	}
	if marker, ok := strings.CutPrefix(rest, "EOF:"); ok {
		if len(marker) != markerLen {
			return fmt.Errorf("%w: the end marker of %s has %d bytes, expected %d", resp.ErrProtocol, s.Conn.Addr, len(marker), markerLen)
		}
		s.Marker = marker
		return nil
	}
	if s.Size, err = strconv.ParseInt(rest, 10, 64); err != nil || s.Size < 10 {
		return fmt.Errorf("%w: the snapshot of %s has an impossible size", resp.ErrProtocol, s.Conn.Addr)
	}
	return nil
}

// Ack tells the source how far the stream is applied.
func (s *Session) Ack(offset int64) error {
	s.ackMu.Lock()
	defer s.ackMu.Unlock()
	_, err := s.Conn.Write(resp.AppendCommand(nil, "REPLCONF", "ACK", strconv.FormatInt(offset, 10)))
	return err
}

// Close ends the session.
func (s *Session) Close() error { return s.Conn.Close() }
