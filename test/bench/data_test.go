package bench

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// commands writes commands into files, one for each node that serves their
// key; with one node there is one file.
type commands struct {
	files []*os.File
	bufs  []*bufio.Writer
}

func newCommands(t *testing.T, nodes int) *commands {
	t.Helper()
	c := &commands{}
	dir := t.TempDir()
	for i := range nodes {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("commands-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, f)
		c.bufs = append(c.bufs, bufio.NewWriterSize(f, 1<<20))
	}
	return c
}

// node that serves the slot of a key, as StartCluster divides them.
func (c *commands) node(key string) int {
	if len(c.files) == 1 {
		return 0
	}
	slot, n := topology.KeySlot(key), len(c.files)
	for i := n - 1; i > 0; i-- {
		if slot >= i*16384/n {
			return i
		}
	}
	return 0
}

// add appends a command to the file of a node. An error of the file shows at
// close.
func (c *commands) add(node int, args ...string) {
	w := c.bufs[node]
	_, _ = w.WriteString("*" + strconv.Itoa(len(args)) + "\r\n")
	for _, a := range args {
		_, _ = w.WriteString("$" + strconv.Itoa(len(a)) + "\r\n")
		_, _ = w.WriteString(a)
		_, _ = w.WriteString("\r\n")
	}
}

// close writes the files out and returns them by the address of their node.
func (c *commands) close(t *testing.T) []string {
	t.Helper()
	var names []string
	for i, f := range c.files {
		if err := c.bufs[i].Flush(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name())
	}
	return names
}

// restores reads every key of a source and writes it as RESTORE commands, for
// as many target nodes. With asSet, plain strings become SET.
func restores(t *testing.T, sources []*testredis.Server, nodes int, asSet bool) []string {
	t.Helper()
	out := newCommands(t, nodes)
	for _, source := range sources {
		c, err := testredis.Dial(source.Addr, "")
		if err != nil {
			t.Fatal(err)
		}
		cursor := "0"
		for {
			reply, err := c.Do("SCAN", cursor, "COUNT", "2000")
			if err != nil {
				t.Fatal(err)
			}
			page := reply.([]any)
			cursor = page[0].(string)
			var asks [][]string
			keys := page[1].([]any)
			for _, k := range keys {
				if asSet {
					asks = append(asks, []string{"GET", k.(string)}, []string{"PTTL", k.(string)})
				} else {
					asks = append(asks, []string{"DUMP", k.(string)}, []string{"PTTL", k.(string)})
				}
			}
			replies, err := c.Pipeline(asks...)
			if err != nil {
				t.Fatal(err)
			}
			for i, k := range keys {
				key, value := k.(string), replies[2*i].(string)
				ttl := max(0, replies[2*i+1].(int64))
				if asSet {
					out.add(out.node(key), "SET", key, value)
				} else {
					out.add(out.node(key), "RESTORE", key, strconv.FormatInt(ttl, 10), value)
				}
			}
			if cursor == "0" {
				break
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.close(t)
}

// elements draws how many elements a collection has.
type elements func(rnd *rand.Rand) int

// tenToThousand are collections of which most are over the limits of the compact
// encodings (redis.conf, "-max-listpack-entries").
func tenToThousand(rnd *rand.Rand) int { return 10 + rnd.IntN(991) }

// mostlySmall are collections of 70 on average, nearly all of them in one block
// of memory, which costs a source more to pack than a target to take.
func mostlySmall(rnd *rand.Rand) int { return min(10+int(rnd.ExpFloat64()*60), 1000) }

// mixed writes commands that make about size bytes of hashes, sorted sets,
// lists, sets and streams, a fifth of them with a TTL. The same seed gives the
// same data.
func mixed(t *testing.T, nodes int, size int64, length elements) (files []string, keys int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	out := newCommands(t, nodes)
	var written int64
	for ; written < size; keys++ {
		n := length(rnd)
		key := fmt.Sprintf("mixed:%d", keys)
		node := out.node(key)
		var args []string
		switch keys % 5 {
		case 0:
			args = []string{"HSET", key}
			for i := range n {
				args = append(args, "field:"+strconv.Itoa(i), strconv.FormatUint(rnd.Uint64(), 36))
			}
		case 1:
			args = []string{"ZADD", key}
			for i := range n {
				args = append(args, strconv.FormatFloat(rnd.NormFloat64()*1000, 'g', -1, 64), "member:"+strconv.Itoa(i))
			}
		case 2:
			args = []string{"RPUSH", key}
			for range n {
				args = append(args, strconv.FormatUint(rnd.Uint64(), 36))
			}
		case 3:
			args = []string{"SADD", key}
			for range n {
				args = append(args, strconv.FormatUint(rnd.Uint64(), 36))
			}
		case 4:
			for i := range n {
				value := strconv.FormatUint(rnd.Uint64(), 36)
				out.add(node, "XADD", key, fmt.Sprintf("%d-%d", 1_700_000_000_000+i, i), "temperature", value, "unit", "c")
				written += int64(len(value)) + 24
			}
		}
		for _, a := range args {
			written += int64(len(a)) + 4
		}
		if len(args) > 0 {
			out.add(node, args...)
		}
		if rnd.IntN(5) == 0 {
			out.add(node, "EXPIRE", key, strconv.Itoa(86400+rnd.IntN(86400)))
		}
	}
	return out.close(t), keys
}
