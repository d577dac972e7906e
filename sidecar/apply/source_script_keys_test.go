package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// TestSourceScriptSlots: a command of a script that takes keys of several slots
// cannot run on any node of a cluster. The shard stops with a key named that is
// not in the slot of the script; it does not wait, and nothing after the
// command is run.
func TestSourceScriptSlots(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"declared first":  "redis.call('SUNIONSTORE',KEYS[1],'x','y')",
		"own slot first":  "redis.call('MSET','{k}other',1,'x',2)",
		"own slot last":   "redis.call('MSET','x',1,'{k}other',2)",
		"swallowed":       "redis.pcall('RENAME',KEYS[1],'x')",
		"after its write": "redis.call('INCR',KEYS[1]) redis.call('ZUNIONSTORE',KEYS[1],2,'x','{k}other')",
		"another pattern": "redis.call('SORT',KEYS[1],'BY','x*','STORE','{k}other')",
	} {
		t.Run(name, func(t *testing.T) {
			s, w := oneNode(t)
			write(t, w, 200, "SADD", "x", "1")
			write(t, w, 300, "SADD", "y", "2")
			must(t, w.Flush(t.Context(), true))
			err := w.Write(t.Context(), command(t, "EVAL", body+" return redis.call('SET','{k}after','v')", "1", "k"), 0, at(400))
			var data *DataError
			switch {
			case !errors.As(err, &data):
				t.Errorf("it ended with %v", err)
			case name != "another pattern" && !strings.Contains(err.Error(), `"x"`):
				t.Errorf("%v does not name the key", err)
			}
			wantValue(t, s, "{k}after", nil)
			if state := checkpointState(t, s); state != "full" {
				t.Errorf("the checkpoint says %v", state)
			}
		})
	}
}

// TestSourceScriptKeys: where only declared keys may be touched, that is asked
// of every key of a command. Which ones those are says the server.
func TestSourceScriptKeys(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	run := func(args, keys []string) error {
		quoted := make([]string, len(args))
		for i, a := range args {
			quoted[i] = fmt.Sprintf("%q", a)
		}
		eval := command(t, append([]string{"EVAL", "return redis.pcall(" + strings.Join(quoted, ",") + ")", fmt.Sprint(len(keys))}, keys...)...)
		c := newLoose(framed(eval.Raw, len(eval.Args), direct, route.Slot([]byte("a")), 200, 200), eval.Raw)
		n := w.owner[c.slot]
		return w.runScript(n, n.c, &c, frontierOffset, true)
	}
	for _, text := range []string{
		"set {a}1 v", "incrby {a}1 1", "del {a}1 {a}2 {a}3", "unlink {a}1 {a}2", "exists {a}1 {a}2", "touch {a}1 {a}2",
		"mget {a}1 {a}2", "mset {a}1 v {a}2 w", "msetnx {a}1 v {a}2 w", "rename {a}1 {a}2", "renamenx {a}1 {a}2", "copy {a}1 {a}2 replace",
		"bitop and {a}1 {a}2 {a}3", "pfcount {a}1 {a}2", "pfmerge {a}1 {a}2 {a}3", "rpoplpush {a}1 {a}2", "lmove {a}1 {a}2 left right",
		"sinter {a}1 {a}2", "sinterstore {a}1 {a}2 {a}3", "sunionstore {a}1 {a}2", "sdiffstore {a}1 {a}2", "smove {a}1 {a}2 m",
		"zunion 2 {a}1 {a}2 withscores", "zinter 2 {a}1 {a}2", "zdiff 2 {a}1 {a}2", "zunionstore {a}1 2 {a}2 {a}3 weights 1 2", "zinterstore {a}1 1 {a}2 aggregate max",
		"zdiffstore {a}1 2 {a}2 {a}3", "zrangestore {a}1 {a}2 0 -1", "geosearchstore {a}1 {a}2 frommember m byradius 1 km",
		"georadius {a}1 1 1 1 km store {a}2", "georadiusbymember {a}1 m 1 km storedist {a}2", "sort {a}1 desc store {a}2", "sort {a}1",
		"xread count 1 streams {a}1 {a}2 0 0", "xreadgroup group g c streams {a}1 >", "xgroup create {a}1 g $ mkstream", "xinfo stream {a}1",
		"xadd {a}1 * f v", "xautoclaim {a}1 g c 0 0", "object encoding {a}1", "memory usage {a}1", "blpop {a}1 {a}2 1", "bzpopmin {a}1 {a}2 1",
		"lpop {a}1", "getex {a}1 persist", "smembers {a}1",
	} {
		args := strings.Fields(text)
		answer, err := s.TryDo(append([]string{"COMMAND", "GETKEYS"}, args...)...)
		if err != nil {
			if _, err := s.TryDo(args...); err != nil && strings.Contains(err.Error(), "nknown command") {
				continue // later than this server
			}
			t.Errorf("%s: %v", text, err)
			continue
		}
		var keys []string
		for _, k := range answer.([]any) {
			keys = append(keys, k.(string))
		}
		for i, k := range keys {
			others := append(slices.Delete(slices.Clone(keys), i, i+1), "{a}declared")
			if err := run(args, others); err == nil || !strings.Contains(err.Error(), "it does not declare: "+fmt.Sprintf("%q", k)) {
				t.Errorf("%s with key %s undeclared: %v", text, k, err)
			}
		}
		if err := run(args, keys); err != nil {
			t.Errorf("%s with all keys declared: %v", text, err)
		}
	}
	if err := run([]string{"time"}, []string{"{a}1"}); err != nil {
		t.Errorf("a command without keys: %v", err)
	}
}

// TestSourceScriptNumbers: a number that a script gives is the text that
// servers before 7.0 make of it, as a value and as the name of a key.
func TestSourceScriptNumbers(t *testing.T) {
	t.Parallel()
	const script = `for _,n in ipairs({1e14,0.1,-3.5,2^53,2^63,1e17,1e300,12345678901234567,-0.0,math.huge}) do
redis.call('RPUSH',KEYS[1],n)
end
redis.call('SET',100000000000000,1e15)
return redis.call('SET',KEYS[3],0.1)`
	// What Redis 6.0.16 with lua-replicate-commands no makes of it.
	want := []any{
		"100000000000000", "0.10000000000000001", "-3.5", "9007199254740992", "9.2233720368547758e+18", "1e+17",
		"1.0000000000000001e+300", "12345678901234568", "-0", "inf",
	}
	node, cluster := oneNode(t)
	must(t, cluster.Entail(t.Context(), [][]byte{[]byte("SET"), []byte("pending"), []byte("v")}, 0, at(150)))
	alone := testredis.Start(t)
	standalone := NewStandalone(options(alone.Addr))
	copied(t, standalone)
	keys := []string{"{100000000000000}l", "100000000000000", "{100000000000000}s"}
	for s, w := range map[*testredis.Server]Writer{node: cluster, alone: standalone} {
		write(t, w, 200, append([]string{"EVAL", script, "3"}, keys...)...)
		must(t, w.Flush(t.Context(), true))
		if got := s.Do(t, "LRANGE", keys[0], "0", "-1"); !slices.Equal(got.([]any), want) {
			t.Errorf("%v, want %v", got, want)
		}
		wantValue(t, s, keys[1], "1000000000000000")
		wantValue(t, s, keys[2], "0.10000000000000001")
	}
}

// TestDropScripts: scripts may be dropped once the checkpoint is past the last
// command that needs them; without a command to write it is written too.
func TestDropScripts(t *testing.T) {
	t.Parallel()
	node, cluster := oneNode(t)
	alone := testredis.Start(t)
	standalone := NewStandalone(options(alone.Addr))
	copied(t, standalone)
	for s, w := range map[*testredis.Server]Writer{node: cluster, alone: standalone} {
		must(t, w.KeepScript(t.Context(), "hash", "return 1"))
		write(t, w, 200, "EVAL", "return redis.call('INCR',KEYS[1])", "1", "n")
		w.Pass(at(300))
		must(t, w.Checkpoint(t.Context()))
		if got := s.Do(t, "HGET", wire.CheckpointKey("p", 0), wire.CkptOffset); got != "300" {
			t.Errorf("the checkpoint is at %v", got)
		}
		must(t, w.DropScripts(t.Context()))
		if _, ok, err := w.Script(t.Context(), "hash"); err != nil || ok {
			t.Errorf("the script is still there: %v, %v", ok, err)
		}
	}
}
