package bench

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// sourceArgs are those of a source that need not copy twice.
var sourceArgs = []string{"--repl-backlog-size", "256mb", "--client-output-buffer-limit", "replica 0 0 0"}

// side is one instance: a server, or the masters of a cluster.
type side struct {
	masters []*testredis.Server
	cluster bool
}

func standalone(t *testing.T, args ...string) side {
	t.Helper()
	return side{masters: []*testredis.Server{testredis.Start(t, args...)}}
}

func threeNodes(t *testing.T, args ...string) side {
	t.Helper()
	return side{masters: testredis.StartCluster(t, 3, 0, args...).Masters(), cluster: true}
}

// end stops the servers of a measurement: the next one starts with new ones,
// and memory is given back.
func (s side) end() {
	for _, m := range s.masters {
		m.Kill()
	}
}

// fence allows the replicators to write.
func (s side) fence(t *testing.T) {
	t.Helper()
	key := wire.FenceKey("bench")
	for _, m := range s.masters {
		if !s.cluster || m == s.masters[nodeOf(key, len(s.masters))] {
			m.Do(t, "SET", key, "1")
		}
	}
}

func nodeOf(key string, nodes int) int {
	return (&commands{files: make([]*os.File, nodes)}).node(key)
}

// keys counts the keys without ours.
func (s side) keys(t *testing.T) int64 {
	t.Helper()
	var n int64
	for _, m := range s.masters {
		n += m.Do(t, "DBSIZE").(int64)
		n -= int64(len(m.Do(t, "KEYS", wire.KeyPrefix+"*").([]any)))
	}
	return n
}

// target is the [target] table for a replicator that writes here.
func (s side) target() string {
	kind := "standalone"
	if s.cluster {
		kind = "cluster"
	}
	return fmt.Sprintf("type = %q\naddress = %q", kind, s.masters[0].Addr)
}

// links are the tasks of the replicators that copy this side: one a shard.
func (s side) links(target side) []link {
	var all []link
	for i, m := range s.masters {
		n := len(s.masters)
		slots := strconv.Itoa(i*16384/n) + "-" + strconv.Itoa((i+1)*16384/n-1)
		all = append(all, link{shard: i, slots: slots, source: m.Addr, target: target.target()})
	}
	return all
}

// offset is the master's own offset.
func offset(t *testing.T, s *testredis.Server) int64 {
	t.Helper()
	n, err := strconv.ParseInt(info(t, s, "replication", "master_repl_offset"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// complete waits until every replicator says that the copy is complete, and
// sums up what they used.
func complete(t *testing.T, all []*process, begin time.Time) usage {
	t.Helper()
	for _, p := range all {
		await(t, "the full copy", 20*time.Millisecond, func() (bool, error) {
			if err := p.failed(); err != nil {
				return false, err
			}
			s, err := p.status()
			return err == nil && s.Complete, nil // not listening yet
		})
	}
	return sum(t, all, begin)
}

func sum(t *testing.T, all []*process, begin time.Time) usage {
	t.Helper()
	total := usage{wall: time.Since(begin)}
	for _, p := range all {
		u := p.used(t)
		total.cpu += u.cpu
		total.rss += u.rss
	}
	return total
}

// inSync waits until every replicator is in sync, with no lag.
func inSync(t *testing.T, all []*process) {
	t.Helper()
	for _, p := range all {
		await(t, "in sync", 100*time.Millisecond, func() (bool, error) {
			if err := p.failed(); err != nil {
				return false, err
			}
			s, err := p.status()
			return err == nil && s.InSync && s.LagBytes == 0, nil
		})
	}
}

// same compares the number of keys, and a sample of the values, between two
// sides.
func same(t *testing.T, source, target side) {
	t.Helper()
	if want, got := source.keys(t), target.keys(t); want != got {
		t.Fatalf("the source has %d keys, the target %d", want, got)
	}
	for range 300 {
		key, ok := source.masters[0].Do(t, "RANDOMKEY").(string)
		if !ok {
			return
		}
		want := source.masters[0].Do(t, "DEBUG", "DIGEST-VALUE", key).([]any)[0]
		owner := target.masters[nodeOf(key, len(target.masters))]
		if got := owner.Do(t, "DEBUG", "DIGEST-VALUE", key).([]any)[0]; got != want {
			t.Fatalf("key %q differs", key)
		}
	}
}

// serverCPU is what the masters and their children have used so far.
func serverCPU(t *testing.T, sides []side) (all time.Duration) {
	t.Helper()
	for _, s := range sides {
		for _, m := range s.masters {
			for _, field := range []string{"used_cpu_user", "used_cpu_sys", "used_cpu_user_children", "used_cpu_sys_children"} {
				n, err := strconv.ParseFloat(info(t, m, "cpu", field), 64)
				if err != nil {
					t.Fatal(err)
				}
				all += time.Duration(n * float64(time.Second))
			}
		}
	}
	return all
}

// charge adds to a measurement what the servers used for it.
func charge(t *testing.T, f func() usage, sides ...side) usage {
	t.Helper()
	before := serverCPU(t, sides)
	u := f()
	u.servers = serverCPU(t, sides) - before
	return u
}
