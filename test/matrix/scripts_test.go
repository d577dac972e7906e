package matrix

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/test/servers"
)

// script counts and, in the order in which a server that replicates scripts
// gives them, takes members out of a set and puts them into a list, beside
// numbers in its form: run twice, or given another order, it leaves something
// else.
const script = `local n=redis.call('INCR',KEYS[1])
redis.call('SADD',KEYS[2],'zeta'..n,'a'..n,'mm'..n,'k'..n)
local m=redis.call('SMEMBERS',KEYS[2])
redis.call('SREM',KEYS[2],m[1],m[2])
redis.call('RPUSH',KEYS[3],m[1],ARGV[1],n/10,n*1e14,math.random(1000))
return redis.call('LTRIM',KEYS[3],-100,-1)`

// TestKilledInScripts: a source before 7.0 with lua-replicate-commands no (as
// all before 5.0) replicates scripts as scripts, by their text first and then
// by their hash. The replicator is killed in the
// middle of them, again and again, and each has run once: no full copy mends
// anything.
func TestKilledInScripts(t *testing.T) {
	if os.Getenv("MATRIX") == "" {
		t.Skip("NOT RUN: takes minutes and fetches servers; set MATRIX=1 (make matrix)")
	}
	for _, c := range []struct {
		target  string
		masters int
	}{{"redis-6.0", 3}, {"redis-7.0", 3}, {"redis-8.0", 0}, {"valkey-9.1", 3}} {
		t.Run(fmt.Sprintf("to %s, %d masters", c.target, c.masters), func(t *testing.T) {
			src := startEnd(t, servers.Get(t, "redis-6.0"), 0)
			dst := startEnd(t, servers.Get(t, c.target), c.masters)
			src.everywhere(t, "CONFIG", "SET", "repl-backlog-size", "67108864")
			src.everywhere(t, "CONFIG", "SET", "lua-replicate-commands", "no")
			replica := startReplica(t, src)
			dst.unfence(t)
			killInScripts(t, src, dst)
			stats, err := replica.client(0).Info(t.Context(), "commandstats").Result()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(stats, "cmdstat_evalsha:") {
				t.Errorf("the source has replicated no script; nothing is shown:\n%s", stats)
			}
		})
	}
}

func killInScripts(t *testing.T, src, dst *end) {
	ctx := t.Context()
	r := startReplicator(t, src.addrs[0], dst.kind(), dst.addrs[0])
	defer func() { r.kill() }()
	inSync := func() {
		t.Helper()
		end := src.offset(t)
		if err := r.await(func(s wire.Status) bool { return s.Complete && s.AppliedOffset >= end }); err != nil {
			t.Fatal(err)
		}
	}
	inSync()
	c := src.client(0)
	sha := ""
	ran := 0
	run := func() {
		tag := fmt.Sprintf("{%d}", ran%50)
		keys := []string{tag + "n", tag + "set", tag + "list"}
		var err error
		if sha == "" {
			if err = c.Eval(ctx, script, keys, "v").Err(); err == nil {
				sha, err = c.ScriptLoad(ctx, script).Result()
			}
		} else {
			err = c.EvalSha(ctx, sha, keys, ran).Err()
		}
		if err != nil {
			t.Fatalf("the script: %v", err)
		}
		ran++
	}
	const kills = 8
	for range kills {
		for until := time.Now().Add(500 * time.Millisecond); time.Now().Before(until); {
			run()
		}
		r.kill()
		for range 20 {
			run()
		}
		r = startReplicator(t, src.addrs[0], dst.kind(), dst.addrs[0])
	}
	inSync()
	s, err := r.status()
	if err != nil {
		t.Fatal(err)
	}
	if s.FullSync.Count != 0 || s.Delivery != wire.ExactlyOnce {
		t.Errorf("%d full copies (%s), delivery %s", s.FullSync.Count, s.FullSync.Reason, s.Delivery)
	}
	diffs := difference(contents(t, src), contents(t, dst), measure{between: 2 * time.Second})
	for i, d := range diffs {
		if i == 10 {
			break
		}
		t.Error(d.String())
	}
	t.Logf("%d scripts, %d kills, %d keys differ", ran, kills, len(diffs))
}
