package apply

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// forgetful passes connections on, and once cuts one that asked for something
// with the mark, after the server has answered and before the answer is seen.
type forgetful struct {
	addr string
	mark []byte
	cuts atomic.Int64
}

func startForgetful(t *testing.T, to, mark string) *forgetful {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	f := &forgetful{addr: l.Addr().String(), mark: []byte(mark)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.pass(c, to)
		}
	}()
	return f
}

func (f *forgetful) pass(c net.Conn, to string) {
	defer c.Close()
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer up.Close()
	var asked atomic.Bool
	go func() {
		defer up.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if bytes.Contains(buf[:n], f.mark) {
				asked.Store(true)
			}
			if _, err := up.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := up.Read(buf)
		if err != nil || asked.Load() && f.cuts.CompareAndSwap(0, 1) {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestSourceScriptOnce: a script of a source before 7.0 moves the frontier
// with what it writes. The answer to it is lost, then the process is.
func TestSourceScriptOnce(t *testing.T) {
	t.Parallel()
	s := testredis.StartCluster(t, 1, 0).Nodes[0]
	p := startForgetful(t, s.Addr, "the script")
	w := NewCluster(options(p.addr)) // a node is reached where it was asked
	copied(t, w)
	const script = "local x=redis.call('INCR',KEYS[1]) return redis.call('RPUSH',KEYS[2],ARGV[1],x) -- the script"
	write(t, w, 200, "EVAL", script, "2", "{a}n", "{a}l", "v")
	if p.cuts.Load() != 1 {
		t.Fatal("no answer was lost; nothing is shown")
	}
	wantValue(t, s, "{a}n", "1")
	for end := int64(300); end < 320; end++ {
		write(t, w, end, "EVAL", script, "2", "{a}n", "{a}l", "v")
		// No flush: what a killed process leaves.
		next, pos := again(t, s, w)
		if w = next; pos.Offset != end {
			t.Fatalf("the frontier is at %d after the script that ends at %d", pos.Offset, end)
		}
	}
	wantValue(t, s, "{a}n", "21")
	if n := s.Do(t, "LLEN", "{a}l"); n != int64(42) {
		t.Errorf("the list has %v elements, want 42", n)
	}
}

// TestSourceScriptSees: a script is given what a source before 7.0 gave it.
func TestSourceScriptSees(t *testing.T) {
	t.Parallel()
	const script = `if #KEYS~=1 or #ARGV~=2 then return redis.call('SET',KEYS[1],'arguments') end
redis.call('SADD',KEYS[1],'zeta','b','a','mm','x')
local m=table.concat(redis.call('SMEMBERS',KEYS[1]),',')
local ok,e=pcall(redis.call,'INCR',KEYS[1])
local r=redis.pcall('INCR',KEYS[1])
redis.call('DEL',KEYS[1])
return redis.call('SET',KEYS[1],m..' '..tostring(ok)..type(e)..type(r.err)..redis.sha1hex('')..ARGV[2]..math.random(1000)) -- a comment`
	// What Redis 6.0.16 with lua-replicate-commands no makes of it.
	const expected = "a,b,mm,x,zeta falsestringstringda39a3ee5e6b4b0d3255bfef95601890afd80709w171"
	node, cluster := oneNode(t)
	alone := testredis.Start(t)
	standalone := NewStandalone(options(alone.Addr))
	copied(t, standalone)
	for s, w := range map[*testredis.Server]Writer{node: cluster, alone: standalone} {
		write(t, w, 200, "EVAL", script, "1", "k", "v", "w")
		write(t, w, 300, "EVAL", "redis.call('APPEND',KEYS[1],'!') return redis.call('INCR',KEYS[1])", "1", "k") // fails after its first command
		must(t, w.Flush(t.Context(), true))
		wantValue(t, s, "k", expected+"!")
	}
}

// TestSourceScriptUndeclared: a script may touch a key that it does not declare
// where that is safe; else the copy stops, and is void.
func TestSourceScriptUndeclared(t *testing.T) {
	t.Parallel()
	other := "b"
	for i := 0; route.Slot([]byte(other)) < 8192; i++ {
		other = fmt.Sprint("b", i)
	}
	own := "a"
	for i := 0; route.Slot([]byte(own)) >= 8192; i++ {
		own = fmt.Sprint("a", i)
	}
	const script = "redis.call('INCR',KEYS[1]) return redis.call('INCR',ARGV[1])"
	t.Run("on the node", func(t *testing.T) {
		s, w := oneNode(t)
		write(t, w, 200, "EVAL", script, "1", "a", "b")
		wantValue(t, s, "b", "1")
	})
	t.Run("being fetched", func(t *testing.T) {
		s, w := oneNode(t)
		must(t, w.Entail(t.Context(), [][]byte{[]byte("SET"), []byte("b"), []byte("v")}, 0, at(150)))
		must(t, w.Flush(t.Context(), true))
		stops(t, w, s, 200, script, "a", "b")
	})
	t.Run("on another node", func(t *testing.T) {
		c := testredis.StartCluster(t, 2, 0)
		w := NewCluster(options(c.Nodes[0].Addr))
		copied(t, w)
		stops(t, w, c.NodeAt(w.holder.addr), 200, script, own, other)
	})
	t.Run("swallowed", func(t *testing.T) {
		c := testredis.StartCluster(t, 2, 0)
		w := NewCluster(options(c.Nodes[0].Addr))
		copied(t, w)
		stops(t, w, c.NodeAt(w.holder.addr), 200, "redis.pcall('INCR',ARGV[1]) return redis.call('INCR',KEYS[1])", own, other)
	})
}

// stops wants the script to be refused for its second key, and the checkpoint
// to be void afterwards.
func stops(t *testing.T, w *Cluster, holder *testredis.Server, end int64, script, key, other string) {
	t.Helper()
	err := w.Write(t.Context(), command(t, "EVAL", script, "1", key, other), 0, at(end))
	var data *DataError
	if !errors.As(err, &data) || !strings.Contains(err.Error(), fmt.Sprintf("%q", other)) {
		t.Fatalf("%v, want a refusal that names key %q", err, other)
	}
	if state := checkpointState(t, holder); state != "full" {
		t.Errorf("the checkpoint says %v", state)
	}
}

// TestSourceScriptWaits: what the target refuses for a time is waited out, and
// the script runs once.
func TestSourceScriptWaits(t *testing.T) {
	t.Parallel()
	var s *testredis.Server
	refused := 0
	s, w := oneNode(t, func(o *Options) {
		o.Waiting = func(err error) {
			if err != nil && strings.Contains(err.Error(), "OOM") {
				refused++
				s.Do(t, "CONFIG", "SET", "maxmemory", "0")
			}
		}
	})
	s.Do(t, "CONFIG", "SET", "maxmemory", "1")
	write(t, w, 200, "EVAL", "redis.call('GET',KEYS[1]) redis.pcall('APPEND',KEYS[1],'x') return redis.call('APPEND',KEYS[1],'y')", "1", "a")
	if refused == 0 {
		t.Fatal("the target refused nothing; nothing is shown")
	}
	wantValue(t, s, "a", "xy")
}

// TestOpenBatchesMove: a new script of the source finds another division of the
// slots than the batches that are open. Nothing of them is lost.
func TestOpenBatchesMove(t *testing.T) {
	t.Parallel()
	c := testredis.StartCluster(t, 2, 0)
	a, b := c.Masters()[0], c.Masters()[1]
	w := NewCluster(options(c.Addrs()...))
	copied(t, w)
	x, y := "{"+route.SlotTag(0)+"}x", "{"+route.SlotTag(route.SlotCount-1)+"}y"
	write(t, w, 150, "INCR", x)
	write(t, w, 200, "INCR", y)

	moveSlot(t, a, b, 0)
	must(t, w.holder.c.Close()) // as when its slot moves as well
	must(t, w.KeepScript(t.Context(), "a hash", "return 1"))
	write(t, w, 300, "INCR", y)
	must(t, w.Flush(t.Context(), true))
	wantValue(t, b, x, "1")
	wantValue(t, b, y, "2")
}

// TestScriptErrors: what servers say inside of a script is waited out where it
// passes, and stops the shard where it does not. None of it is taken for an
// error that the source has met.
func TestScriptErrors(t *testing.T) {
	t.Parallel()
	for text, code := range map[string]string{
		"ERR Script attempted to access a non local key in a cluster node script: 1, on @user_script:1.":                                                         "MOVED",
		"ERR Unable to execute command 'sunionstore' in script because undeclared keys were accessed during rehashing of the slot script: 1, on @user_script:1.": "TRYAGAIN",
		"ERR Script attempted to access a slot not served script: 1, on @user_script:1.":                                                                         "CLUSTERDOWN",
		"ERR Script attempted to execute a write command while the cluster is down and readonly script: 1, on @user_script:1.":                                   "CLUSTERDOWN",
		"ERR Command 'sunionstore' in script attempted to access keys that don't hash to the same slot script: 1, on @user_script:1.":                            "ERR",
	} {
		err := targetError(text)
		if !resp.IsCode(err, code) || transient(err) != (code != "ERR") {
			t.Errorf("%s: %v, transient %v", text, err, transient(err))
		}
	}
}
