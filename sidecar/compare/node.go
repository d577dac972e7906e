package compare

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

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
	l.out = l.out[:0]
	for _, command := range commands {
		l.out = resp.AppendCommand(l.out, command...)
	}
	if _, err := l.Write(l.out); err != nil {
		return nil, err
	}
	replies := make([]any, len(commands))
	for i := range commands {
		var err error
		if replies[i], err = l.reply(commands[i][0] == "DUMP"); err != nil {
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

// maxPayload is the largest payload that is held.
const maxPayload = 16 << 20

// noDeadline is by far the most frequent number among the replies.
var noDeadline any = int64(-1)

// reply reads one reply in the form of verify.Node. A payload that is larger
// than maxPayload is skipped.
func (l *link) reply(payload bool) (any, error) {
	head, err := l.W.Peek(1)
	if err != nil {
		return nil, err
	}
	if head[0] == '$' && payload {
		return l.payload()
	}
	r, err := resp.ReadReply(l.W)
	if err != nil {
		return nil, err
	}
	return plain(&r), nil
}

func (l *link) payload() (any, error) {
	line, err := l.W.Line(32)
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(string(line[1:]), 10, 64)
	switch {
	case err != nil || size < -1:
		return nil, resp.ErrProtocol
	case size == -1:
		return nil, nil //nolint:nilnil // there is no such key
	case size > maxPayload:
		return verify.ErrTooLarge, l.W.Skip(size + 2)
	}
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

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
