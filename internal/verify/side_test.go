package verify

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// testNode runs pipelines over connections of its own, a new one when none is
// free.
type testNode struct {
	server  *testredis.Server
	largest atomic.Int64 // bytes of the replies to one pipeline

	mu   sync.Mutex
	free []*testredis.Client
}

func (n *testNode) Name() string { return n.server.Addr }

func (n *testNode) Pipeline(_ context.Context, db int, commands [][]string) ([]any, error) {
	c, err := n.take()
	if err != nil {
		return nil, err
	}
	if db != 0 {
		commands = append([][]string{{"SELECT", strconv.Itoa(db)}}, commands...)
	}
	replies, err := c.Pipeline(commands...)
	if err != nil {
		_ = c.Close() // the first error is the one to report
		return nil, err
	}
	if size := replySize(replies); size > n.largest.Load() {
		n.largest.Store(size)
	}
	if db != 0 {
		replies = replies[1:]
		if _, err := c.Do("SELECT", "0"); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	n.free = append(n.free, c)
	n.mu.Unlock()
	return replies, nil
}

func replySize(reply any) int64 {
	switch v := reply.(type) {
	case string:
		return int64(len(v))
	case []any:
		size := int64(0)
		for _, member := range v {
			size += replySize(member)
		}
		return size
	}
	return 8
}

func (n *testNode) take() (*testredis.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.free) - 1; last >= 0 {
		c := n.free[last]
		n.free = n.free[:last]
		return c, nil
	}
	return testredis.Dial(n.server.Addr, n.server.Password)
}

// single is a side of one server.
func single(name string, s *testredis.Server) Side {
	return Side{Name: name, Nodes: []Node{&testNode{server: s}}}
}

// clusterSide is a side with the masters of a cluster.
func clusterSide(t *testing.T, name string, c *testredis.Cluster) Side {
	t.Helper()
	side := Side{Name: name, Cluster: true}
	var ranges []SlotRange
	for i, m := range c.Masters() {
		side.Nodes = append(side.Nodes, &testNode{server: m})
		n := len(c.Masters())
		ranges = append(ranges, SlotRange{From: i * SlotCount / n, To: (i+1)*SlotCount/n - 1, Node: i})
	}
	side.Owner = SlotOwner(ranges)
	return side
}

// doer is a server or a cluster.
type doer interface {
	Do(t testing.TB, args ...string) any
}

// load writes keys of every type, small and large, the same ones each time.
func load(t *testing.T, d doer) {
	t.Helper()
	do := func(args ...string) { d.Do(t, args...) }
	const farDeadline = "4102444800123" // the year 2100
	for i := range 300 {
		n := strconv.Itoa(i)
		do("SET", "string:"+n, "value "+n)
		do("HSET", "hash:"+n, "a", n, "b", "x\x00\xff")
		do("RPUSH", "list:"+n, "1", n, "3")
		do("SADD", "set:"+n, n, "2", "three")
		do("ZADD", "zset:"+n, n, "m", "-inf", "n", "0.1", "o")
	}
	do("SET", "", "the key without a name")
	do("SET", "bin\x00\xff\r\n{", "v")
	do("SET", "big", string(make([]byte, 3<<20)))
	do("PEXPIREAT", "string:1", farDeadline)
	do("PEXPIREAT", "hash:1", farDeadline)
	do("PFADD", "hll", "a", "b", "c")
	do("SETBIT", "bits", "100000", "1")
	do("GEOADD", "geo", "13.361389", "38.115556", "Palermo")
	many := func(key, command string) {
		do("EVAL", "for i = 0, 2999 do redis.call("+command+") end", "1", key)
	}
	many("bighash", "'HSET', KEYS[1], 'field' .. i, 'value' .. i")
	many("bigset", "'SADD', KEYS[1], 'member' .. i")
	many("bigzset", "'ZADD', KEYS[1], i .. '.5', 'member' .. i")
	many("biglist", "'RPUSH', KEYS[1], 'element' .. i")
	many("stream", "'XADD', KEYS[1], (i + 1) .. '-1', 'f', i")
	do("XDEL", "stream", "7-1")
	do("XGROUP", "CREATE", "stream", "g", "0")
	do("XGROUP", "CREATECONSUMER", "stream", "g", "idle")
	do("XREADGROUP", "GROUP", "g", "busy", "COUNT", "1500", "STREAMS", "stream", ">")
	do("XACK", "stream", "g", "3-1")
}

const functionCode = "#!lua name=lib\nredis.register_function('f', function(keys, args) return 1 end)"
