package sidecar_test

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// asCommands makes every value but strings go as commands.
const asCommands = "rebuild_above_bytes = 1"

// stagingKeys are what a server holds of values being built.
func stagingKeys(t *testing.T, s *testredis.Server) []any {
	t.Helper()
	return s.Do(t, "KEYS", wire.KeyPrefix+"*:staging").([]any)
}

// calls is how often a server ran a command.
func calls(t *testing.T, s *testredis.Server, command string) int {
	t.Helper()
	_, rest, _ := strings.Cut(s.Do(t, "INFO", "commandstats").(string), "cmdstat_"+command+":calls=")
	text, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.Atoi(text) // 0 when it is not in the list
	return n
}

// seedStream makes a stream with everything that a stream can have.
func seedStream(t *testing.T, d doer, key string) {
	t.Helper()
	for i := range 250 {
		d.Do(t, "XADD", key, fmt.Sprintf("%d-%d", 10+i/2, i%2), "f", strconv.Itoa(i), "g"+strconv.Itoa(i%3), strings.Repeat("v", i))
	}
	d.Do(t, "XADD", key, "1000-18446744073709551615", "large", strings.Repeat("0123456789abcdef", 20000))
	d.Do(t, "XGROUP", "CREATE", key, "g", "0")
	d.Do(t, "XGROUP", "CREATE", key, "at 20", "20-0", "ENTRIESREAD", "7")
	d.Do(t, "XREADGROUP", "GROUP", "g", "c1", "COUNT", "20", "STREAMS", key, ">")
	d.Do(t, "XREADGROUP", "GROUP", "g", "c2", "COUNT", "5", "STREAMS", key, ">")
	d.Do(t, "XCLAIM", key, "g", "c2", "0", "11-0", "RETRYCOUNT", "7")
	d.Do(t, "XGROUP", "CREATECONSUMER", key, "g", "never read")
	d.Do(t, "XDEL", key, "11-1", "15-0", "1000-18446744073709551615") // the first two are pending
	d.Do(t, "XSETID", key, "5000-5", "ENTRIESADDED", "400", "MAXDELETEDID", "1000-18446744073709551615")
}

// streamText is everything that XINFO says of a stream, but for how the
// server stores it.
func streamText(t *testing.T, s *testredis.Server, key string) []any {
	t.Helper()
	info := s.Do(t, "XINFO", "STREAM", key, "FULL", "COUNT", "0").([]any)
	for i := 0; i+1 < len(info); i += 2 {
		if name := info[i].(string); strings.HasPrefix(name, "radix-tree") {
			info[i+1] = nil
		}
	}
	return info
}

// TestRebuild writes values of every type as commands: the digests, deadlines
// and groups are those of the source, and nothing is left behind, not even of
// an attempt before it.
func TestRebuild(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"standalone", "cluster"} {
		t.Run(to, func(t *testing.T) {
			src, dst := standaloneSide(t), standaloneSide(t)
			if to == "cluster" {
				dst = clusterSide(t)
			}
			fence(t, dst)
			seedData(t, src, to == "standalone")
			seedStream(t, src, "all of a stream")
			for i := range 20 {
				k := fmt.Sprintf("{%d}}{list", i) // a tag, and braces behind it
				src.Do(t, "RPUSH", k, "a", strings.Repeat("b", 100_000), "c")
				src.Do(t, "PEXPIRE", k, strconv.Itoa(600_000+i)) // held back until in sync
			}
			src.Do(t, "HSET", "large fields", strings.Repeat("f", 70_000), strings.Repeat("v", 9<<20), "n", "1")
			src.Do(t, "ZADD", "scores", "0.1", strings.Repeat("m", 66_000), "1e-320", "tiny", "1.7976931348623157e308", "huge", "inf", "i", "-inf", "j", "3", "k")
			left := wire.StagingKey("0000", "p", 0)
			if to == "standalone" {
				for _, db := range []string{"2", "0"} {
					dst.Do(t, "SELECT", db)
					dst.Do(t, "SET", left, "of a crashed attempt")
				}
			}
			dst.Do(t, "RPUSH", "hash:big", "another type, which has to go")
			l := src.links(dst.target + "\nstale_keys = \"prune\"\nstale_keys_max_share = 1.0")[0]
			l.extra = asCommands
			r := start(t, l)
			r.waitInSync(t)
			compare(t, contents(t, src.masters...), contents(t, dst.masters...))
			streams, renamed := 0, 0
			for _, m := range dst.masters {
				if keys := stagingKeys(t, m); len(keys) > 0 {
					t.Errorf("left behind: %q", keys)
				}
				renamed += calls(t, m, "rename")
				for _, key := range []string{"all of a stream", "stream"} {
					if got, err := m.TryDo("TYPE", key); err != nil || got != "stream" {
						continue
					}
					streams++
					a, b := streamText(t, src.masters[0], key), streamText(t, m, key)
					if !reflect.DeepEqual(a, b) {
						t.Errorf("%s: source %v\ntarget %v", key, a, b)
					}
				}
			}
			if renamed < 30 {
				t.Errorf("only %d values were written as commands", renamed)
			}
			if streams != 2 {
				t.Errorf("%d streams were found on the target", streams)
			}
			src.Do(t, "XADD", "stream", "*", "after", "the copy")
			src.Do(t, "HSET", "hash:big", "after", "the copy")
			r.waitEqualOffsets(t, src.masters[0])
			r.finish(t)
			compare(t, contents(t, src.masters...), contents(t, dst.masters...))
		})
	}
}

// TestRebuildBroken cuts the connection while a value is being built: nobody
// sees a part of it, and it is built again from its start.
func TestRebuildBroken(t *testing.T) {
	t.Parallel()
	src, dst := standaloneSide(t), standaloneSide(t)
	fence(t, dst)
	const fields = 200_000
	src.Do(t, "EVAL", `for i=1,ARGV[1] do redis.call('HSET','hash','field:'..i,'value '..i) end`, "0", strconv.Itoa(fields))
	src.Do(t, "PEXPIREAT", "hash", "33333333333333")
	caught := 0
	for attempt := 0; caught < 2 && attempt < 20; attempt++ {
		dst.Do(t, "DEL", "hash", wire.CheckpointKey("p", 0))
		l := src.links(dst.target + "\nstale_keys = \"prune\"\nstale_keys_max_share = 1.0")[0]
		l.extra = asCommands
		r := start(t, l)
		var cut bool
		testredis.Eventually(t, 60*time.Second, "the value to be there, in parts or whole", func() bool {
			if len(stagingKeys(t, dst.masters[0])) > 0 {
				// In one step, so that it is known what was there.
				dst.Do(t, "MULTI")
				dst.Do(t, "EXISTS", "hash")
				dst.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				cut = dst.Do(t, "EXEC").([]any)[0] == int64(0)
				return true
			}
			return dst.Do(t, "EXISTS", "hash") == int64(1)
		})
		r.waitInSync(t)
		r.finish(t)
		compare(t, contents(t, src.masters...), contents(t, dst.masters...))
		if keys := stagingKeys(t, dst.masters[0]); len(keys) > 0 {
			t.Errorf("left behind: %q", keys)
		}
		if cut {
			caught++
		}
	}
	if caught == 0 {
		t.Error("no connection was cut while a value was being built")
	}
}

// TestRebuildChain copies from a server that another pair is copying into:
// what is built there is data on the way to its name.
func TestRebuildChain(t *testing.T) {
	t.Parallel()
	src, mid, dst := standaloneSide(t), standaloneSide(t), standaloneSide(t)
	fence(t, mid)
	dst.Do(t, "SET", wire.FenceKey("q"), "1")
	first := src.links(mid.target + "\nstale_keys = \"prune\"\nstale_keys_max_share = 1.0")[0]
	second := mid.links(dst.target)[0]
	first.extra, second.extra, second.pair = asCommands, asCommands, "q"
	mid.Do(t, "SET", "there before", "v")
	r := start(t, second)
	r.waitInSync(t)
	seedData(t, src, true)
	seedStream(t, src, "all of a stream")
	q := start(t, first)
	q.waitInSync(t)
	if calls(t, mid.masters[0], "rename") < 10 {
		t.Error("nothing was built in the server between")
	}
	q.finish(t)
	end := streamOffset(t, mid.masters[0])
	testredis.Eventually(t, 60*time.Second, "the second replicator to have everything", func() bool {
		return r.Status().Get().AppliedOffset >= end
	})
	r.finish(t)
	compare(t, contents(t, src.masters...), contents(t, dst.masters...))
	if a, b := streamText(t, src.masters[0], "all of a stream"), streamText(t, dst.masters[0], "all of a stream"); !reflect.DeepEqual(a, b) {
		t.Errorf("source %v\ntarget %v", a, b)
	}
	if keys := stagingKeys(t, dst.masters[0]); len(keys) > 0 {
		t.Errorf("left behind: %q", keys)
	}
}

// streamOffset is where the stream of a server stands.
func streamOffset(t *testing.T, s *testredis.Server) int64 {
	t.Helper()
	_, rest, _ := strings.Cut(s.Do(t, "INFO", "replication").(string), "master_repl_offset:")
	text, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
