package soak

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// client writes to a side and finds the right server again after failovers.
// It is used by one goroutine.
type client struct {
	side   *side
	report *report
	conns  map[string]*testredis.Client
	master string                  // of a side that is no cluster
	owners [route.SlotCount]string // of a cluster
}

func newClient(s *side, r *report) *client {
	return &client{side: s, report: r, conns: map[string]*testredis.Client{}}
}

func (c *client) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = map[string]*testredis.Client{}
}

// run sends commands as one pipeline to the server of a key. Whether a command
// was applied when it fails is of no interest: both sides are compared. After
// a failure it waits a little and looks for the right server.
func (c *client) run(ctx context.Context, key string, commands [][]string) {
	addr, err := c.find(key)
	if err == nil {
		err = c.send(addr, commands)
	}
	if err == nil {
		return
	}
	c.report.refuse(code(err))
	c.master = ""
	c.owners = [route.SlotCount]string{}
	pause(ctx, 100*time.Millisecond)
}

// send reports an error only when another server, or another connection, is
// needed.
func (c *client) send(addr string, commands [][]string) error {
	conn := c.conns[addr]
	if conn == nil {
		var err error
		if conn, err = testredis.Dial(addr, ""); err != nil {
			return err
		}
		c.conns[addr] = conn
	}
	replies, err := conn.Pipeline(commands...)
	if err != nil {
		_ = conn.Close() // the first error counts
		delete(c.conns, addr)
		return err
	}
	for _, reply := range replies {
		refused, ok := reply.(testredis.ErrorReply)
		if !ok {
			continue
		}
		switch code(refused) {
		case "MOVED", "ASK", "READONLY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "EXECABORT":
			return refused
		default: // a wrong type, a missing key: the stream has nothing of it
			c.report.refuse(code(refused))
		}
	}
	return nil
}

func code(err error) string {
	var refused testredis.ErrorReply
	if errors.As(err, &refused) {
		word, _, _ := strings.Cut(string(refused), " ")
		return word
	}
	return "connection"
}

func (c *client) find(key string) (string, error) {
	if c.side.shape == cluster {
		return c.findOwner(route.Slot([]byte(key)))
	}
	if c.master != "" {
		return c.master, nil
	}
	for _, w := range c.side.sentinels {
		reply, err := ask(w.Addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName)
		if addr, ok := reply.([]any); err == nil && ok && len(addr) == 2 {
			c.master = net.JoinHostPort(fmt.Sprint(addr[0]), fmt.Sprint(addr[1]))
			return c.master, nil
		}
	}
	c.master = c.side.sets[0].members[0].Addr
	return c.master, nil
}

func (c *client) findOwner(slot int) (string, error) {
	if c.owners[slot] != "" {
		return c.owners[slot], nil
	}
	err := errors.New("no server is up")
	for _, m := range c.side.members() {
		if m.down.Load() {
			continue
		}
		var reply any
		if reply, err = ask(m.Addr, "CLUSTER", "SLOTS"); err != nil {
			continue
		}
		ranges, _ := reply.([]any)
		for _, r := range ranges {
			f, _ := r.([]any)
			node, _ := f[2].([]any)
			from, _ := f[0].(int64)
			to, _ := f[1].(int64)
			for s := from; s <= to; s++ {
				c.owners[s] = net.JoinHostPort(fmt.Sprint(node[0]), fmt.Sprint(node[1]))
			}
		}
		if c.owners[slot] != "" {
			return c.owners[slot], nil
		}
	}
	return "", err
}

// ask runs one command on a connection of its own.
func ask(addr string, args ...string) (any, error) {
	conn, err := testredis.Dial(addr, "")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return conn.Do(args...)
}
