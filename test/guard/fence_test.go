package guard

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestOldReplicator: a replicator is frozen with a full buffer, and the fence
// of its target rises. Whatever happens to the target then, not one write of
// an older epoch lands, neither of the woken process nor of one that is
// started from its old file.
func TestOldReplicator(t *testing.T) {
	program := build(t)
	for name, run := range map[string]func(*testing.T) *target{"sentinel": sentinelTarget, "cluster": clusterTarget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, dst := testredis.Start(t), run(t)
			dst.raise(t, 1)
			old := startReplicator(t, program, dst.syncFile(t, source, 1))
			count(t, source, 20)
			old.until(t, "the copy is in sync", func(s wire.Status) bool { return s.InSync })
			freezeFull(t, source, old)

			dst.raise(t, 2)
			dst.failOver(t)
			before := dst.digests(t)
			old.signal(t, syscall.SIGCONT)
			old.fenced(t, dst, "says 2")
			dst.unchanged(t, before, "the master failed over right after the fence")

			dst.eachMaster(t, func(m *testredis.Server) { m.Do(t, "FLUSHALL") })
			old.fenced(t, dst, "no epoch key")
			dst.empty(t, "FLUSHALL")

			dst.raise(t, 2)
			old.until(t, "the fence is back", meets("says 2"))
			dst.evict(t)
			old.fenced(t, dst, "no epoch key")
			dst.empty(t, "eviction")

			dst.raise(t, 2)
			old.until(t, "the fence is back", meets("says 2"))
			dst.restartAll(t)
			old.fenced(t, dst, "no epoch key")
			dst.empty(t, "a restart of all servers")

			old.end(t)
			again := startReplicator(t, program, old.file)
			again.until(t, "there is no fence", meets("no epoch key"))
			dst.raise(t, 2)
			again.fenced(t, dst, "says 2")
			dst.eachMaster(t, func(m *testredis.Server) {
				for _, key := range m.Do(t, "KEYS", "*").([]any) {
					if key != wire.FenceKey("p") {
						t.Errorf("a replicator that was started again wrote %v", key)
					}
				}
			})
			again.end(t)

			// Nothing else kept them from writing.
			now := startReplicator(t, program, dst.syncFile(t, source, 2))
			now.until(t, "a replicator of this epoch is in sync", func(s wire.Status) bool { return s.InSync && s.LagBytes == 0 })
			sum := int64(0)
			dst.eachMaster(t, func(m *testredis.Server) { sum += m.Do(t, "DBSIZE").(int64) })
			if sum <= counters {
				t.Errorf("%d keys came, at least %d were to come", sum, counters)
			}
			now.end(t)
		})
	}
}

const counters = 500

// count increments every counter so many times.
func count(t *testing.T, source *testredis.Server, times int) {
	t.Helper()
	c, err := testredis.Dial(source.Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	batch := make([][]string, counters)
	for i := range batch {
		batch[i] = []string{"INCR", "n:" + strconv.Itoa(i)}
	}
	for range times {
		if _, err := c.Pipeline(batch...); err != nil {
			t.Fatal(err)
		}
	}
}

// freezeFull stops the replicator while commands come, and goes on until many
// bytes wait for it.
func freezeFull(t *testing.T, source *testredis.Server, r *replicator) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		count(t, source, 20)
	}()
	r.until(t, "the stream runs", func(s wire.Status) bool { return s.Stream.Commands > counters })
	r.signal(t, syscall.SIGSTOP)
	<-done
	behind := func() int {
		info := source.Do(t, "INFO", "replication").(string)
		return number(t, info, "master_repl_offset:") - number(t, info, ",offset=")
	}
	testredis.Eventually(t, 30*time.Second, "many bytes wait for the frozen replicator", func() bool {
		count(t, source, 20)
		return behind() > 500_000
	})
	t.Logf("%d bytes wait for the frozen replicator", behind())
}

// number reads the digits after a word.
func number(t *testing.T, text, word string) int {
	t.Helper()
	_, rest, found := strings.Cut(text, word)
	if !found {
		t.Fatalf("%q has no %q", text, word)
	}
	n, err := strconv.Atoi(rest[:strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fenced waits until the replicator has met the fence, and then until it has
// tried again: each time it reads three keys.
func (r *replicator) fenced(t *testing.T, dst *target, what string) {
	t.Helper()
	r.until(t, "the fence keeps it out: "+what, meets(what))
	tried := func() int {
		sum := 0
		dst.eachMaster(t, func(m *testredis.Server) {
			if stats := m.Do(t, "INFO", "commandstats").(string); strings.Contains(stats, "cmdstat_get:calls=") {
				sum += number(t, stats, "cmdstat_get:calls=")
			}
		})
		return sum
	}
	before := tried()
	testredis.Eventually(t, time.Minute, "it tries again", func() bool { return tried() > before+2 })
	r.until(t, "the fence still keeps it out: "+what, meets(what))
}

// meets the fence, and says why.
func meets(why string) func(wire.Status) bool {
	return func(s wire.Status) bool { return s.Phase == wire.PhaseFenced && strings.Contains(s.Error, why) }
}

// digests are sums of all that each master holds, our own keys among it.
func (d *target) digests(t *testing.T) []string {
	t.Helper()
	var all []string
	d.eachMaster(t, func(m *testredis.Server) { all = append(all, fmt.Sprint(m.Do(t, "DEBUG", "DIGEST"))) })
	slices.Sort(all)
	return all
}

func (d *target) unchanged(t *testing.T, before []string, when string) {
	t.Helper()
	if after := d.digests(t); !slices.Equal(before, after) {
		t.Errorf("%s: the target changed", when)
	}
}

func (d *target) empty(t *testing.T, after string) {
	t.Helper()
	d.eachMaster(t, func(m *testredis.Server) {
		if n := m.Do(t, "DBSIZE"); n != int64(0) {
			t.Errorf("after %s an old replicator wrote %v keys to %s", after, n, m.Addr)
		}
	})
}

// failOver kills the server with the fence and waits for its successor.
func (d *target) failOver(t *testing.T) {
	t.Helper()
	old := d.holder(t)
	if old == nil {
		t.Fatal("no master holds the fence")
	}
	for _, s := range d.sentinels {
		s.Do(t, "SENTINEL", "SET", "mymaster", "down-after-milliseconds", "1000")
	}
	d.lost = old
	old.Kill()
	testredis.Eventually(t, time.Minute, "a new master holds the fence", func() bool {
		now := d.holder(t)
		return now != nil && now != old && d.ok()
	})
	d.calm(t)
}

// evict lets the servers evict everything.
func (d *target) evict(t *testing.T) {
	t.Helper()
	d.eachMaster(t, func(m *testredis.Server) {
		m.Do(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
		m.Do(t, "CONFIG", "SET", "maxmemory", "1")
		testredis.Eventually(t, 10*time.Second, "everything is evicted", func() bool {
			_, _ = m.TryDo("SET", "{a}", "refused: no memory")
			return m.Do(t, "DBSIZE") == int64(0)
		})
		m.Do(t, "CONFIG", "SET", "maxmemory", "0")
		m.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	})
}
