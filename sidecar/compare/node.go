package compare

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// connName is the name of the connections that read.
const connName = "redis-sync-verify"

// node runs pipelines on one server, over as many connections as are in use at
// the same time. It implements verify.Node.
type node struct {
	addr    string
	options conn.Options

	mu   sync.Mutex
	free []*link
}

// link is one connection, and the database that is selected on it.
type link struct {
	*conn.Conn
	db  int
	out []byte
	// held is how many bytes of values the replies of the pipeline have so far.
	held int64
}

func newNode(addr string, o conn.Options) *node {
	o.DialTimeout, o.Window = dialTimeout, 256<<10
	return &node{addr: addr, options: o}
}

// Name is the address.
func (n *node) Name() string { return n.addr }

func (n *node) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.free {
		_ = l.Close()
	}
	n.free = nil
}

// Pipeline implements verify.Node.
func (n *node) Pipeline(ctx context.Context, db int, commands [][]string) ([]any, error) {
	l, err := n.take(ctx)
	if err != nil {
		return nil, err
	}
	// A comparison that is cancelled does not wait for the server.
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	replies, err := l.run(db, commands)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = l.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.free = append(n.free, l)
	return replies, nil
}

func (n *node) take(ctx context.Context) (*link, error) {
	n.mu.Lock()
	if last := len(n.free) - 1; last >= 0 {
		l := n.free[last]
		n.free = n.free[:last]
		n.mu.Unlock()
		return l, nil
	}
	n.mu.Unlock()
	c, err := conn.Dial(ctx, n.addr, n.options)
	if err != nil {
		return nil, err
	}
	// Reading everything is not to make everything look recently used. Only
	// newer servers know this (7.2), and none needs it.
	for _, command := range [][]string{{"CLIENT", "SETNAME", connName}, {"CLIENT", "NO-TOUCH", "ON"}} {
		_, err := c.Do(command...)
		var refused *resp.ServerError
		if err != nil && !errors.As(err, &refused) {
			_ = c.Close()
			return nil, err
		}
	}
	return &link{Conn: c}, nil
}

func (l *link) run(db int, commands [][]string) ([]any, error) {
	if err := l.selectDB(db); err != nil {
		return nil, err
	}
	l.out, l.held = l.out[:0], 0
	for _, command := range commands {
		l.out = resp.AppendCommand(l.out, command...)
	}
	if _, err := l.Write(l.out); err != nil {
		return nil, err
	}
	replies := make([]any, len(commands))
	for i := range commands {
		var err error
		if replies[i], err = l.reply(commands[i][0]); err != nil {
			return nil, err
		}
	}
	return replies, nil
}

func (l *link) selectDB(db int) error {
	if db == l.db {
		return nil
	}
	if _, err := l.Do("SELECT", strconv.Itoa(db)); err != nil {
		return err
	}
	l.db = db
	return nil
}

const (
	// maxPayload is the largest value that is held.
	maxPayload = 16 << 20
	// maxHeld bounds the values that the replies to one pipeline hold together.
	maxHeld = 32 << 20
)

// noDeadline is by far the most frequent number among the replies.
var noDeadline any = int64(-1)

// reply reads the reply to a command in the form of verify.Node. Values of DUMP
// and MGET that are too large are skipped.
func (l *link) reply(command string) (any, error) {
	head, err := l.W.Peek(1)
	if err != nil {
		return nil, err
	}
	switch {
	case head[0] == '$' && command == "DUMP":
		return l.value()
	case head[0] == '*' && command == "MGET":
		return l.values()
	}
	r, err := resp.ReadReply(l.W)
	if err != nil {
		return nil, err
	}
	return plain(&r), nil
}

// values reads a list of values.
func (l *link) values() (any, error) {
	line, err := l.W.Line(32)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < 0 || n > maxValues {
		return nil, resp.ErrProtocol
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = l.value(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// maxValues bounds an announced length: more keys are not asked for together.
const maxValues = 1 << 16

func (l *link) value() (any, error) {
	line, err := l.W.Line(32)
	if err != nil {
		return nil, err
	}
	if len(line) == 0 || line[0] != '$' {
		return nil, resp.ErrProtocol
	}
	size, err := strconv.ParseInt(string(line[1:]), 10, 64)
	switch {
	case err != nil || size < -1:
		return nil, resp.ErrProtocol
	case size == -1:
		return nil, nil //nolint:nilnil // there is no such key
	case size > maxPayload || l.held+size > maxHeld:
		return verify.ErrTooLarge, l.W.Skip(size + 2)
	}
	l.held += size
	body, err := l.W.Next(int(size) + 2)
	if err != nil {
		return nil, err
	}
	return string(body[:size]), nil
}

// plain gives a reply in the form of verify.Node.
func plain(r *resp.Reply) any {
	switch {
	case r.Null:
		return nil
	case r.Kind == ':' && r.Int == -1:
		return noDeadline
	case r.Kind == ':':
		return r.Int
	case r.Kind == '-':
		return r.Err()
	case r.Kind != '*':
		return r.Text
	}
	list := make([]any, len(r.Elems))
	for i := range r.Elems {
		list[i] = plain(&r.Elems[i])
	}
	return list
}
