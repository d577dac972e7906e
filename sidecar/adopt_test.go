package sidecar_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// moveSlots migrates the first slots of a cluster, with their keys, from one
// master to another.
func moveSlots(t *testing.T, c *testredis.Cluster, a, b *testredis.Server, slots int) {
	t.Helper()
	moveRange(t, c, a, b, 0, slots-1)
}

func moveRange(t *testing.T, c *testredis.Cluster, a, b *testredis.Server, from, to int) {
	t.Helper()
	idA, idB := a.Do(t, "CLUSTER", "MYID").(string), b.Do(t, "CLUSTER", "MYID").(string)
	for slot := from; slot <= to; slot++ {
		n := strconv.Itoa(slot)
		b.Do(t, "CLUSTER", "SETSLOT", n, "IMPORTING", idA)
		a.Do(t, "CLUSTER", "SETSLOT", n, "MIGRATING", idB)
		for {
			keys := a.Do(t, "CLUSTER", "GETKEYSINSLOT", n, "1").([]any)
			if len(keys) == 0 {
				break
			}
			// Somebody else may have deleted the key meanwhile: NOKEY.
			a.Do(t, "MIGRATE", "127.0.0.1", b.Addr[len("127.0.0.1:"):], keys[0].(string), "0", "5000")
		}
		for _, s := range append([]*testredis.Server{b, a}, c.Masters()...) {
			s.Do(t, "CLUSTER", "SETSLOT", n, "NODE", idB)
		}
	}
}

// following is a client of a cluster whose slots are on the move.
type following struct{ *testredis.Cluster }

func (f following) Do(t testing.TB, args ...string) any {
	t.Helper()
	for range 500 {
		reply, err := f.TryDo(args...)
		var refused testredis.ErrorReply
		if err == nil || !errors.As(err, &refused) {
			if err != nil {
				t.Errorf("cluster: %s: %v", args[0], err)
			}
			return reply
		}
		code, rest, _ := strings.Cut(string(refused), " ")
		switch code {
		case "ASK":
			_, addr, _ := strings.Cut(rest, " ")
			replies, err := askAt(addr, args)
			if err == nil {
				return replies
			}
		case "TRYAGAIN", "MOVED", "CLUSTERDOWN":
		default:
			if string(refused) != "ERR no such key" {
				t.Errorf("cluster: %s: %v", args[0], err)
			}
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("cluster: %s finds no node", args[0])
	return nil
}

func askAt(addr string, args []string) (any, error) {
	c, err := testredis.Dial(addr, "")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Do("ASKING"); err != nil {
		return nil, err
	}
	return c.Do(args...)
}

// waitSlots waits until a replicator that runs says that it is in sync with
// these slots.
func (r *running) waitSlots(t *testing.T, slots string) wire.Status {
	t.Helper()
	var s wire.Status
	testredis.Eventually(t, 90*time.Second, "the replicator to be in sync with the slots "+slots, func() bool {
		select {
		case err := <-r.done:
			t.Fatalf("the replicator ended: %v", err)
		default:
		}
		s = r.Status().Get()
		return s.InSync && s.Complete && s.Slots == slots
	})
	return s
}

// startLinks starts one replicator per master of a source cluster.
func startLinks(t *testing.T, links []link) []*running {
	t.Helper()
	var runs []*running
	for _, l := range links {
		runs = append(runs, start(t, l))
	}
	for _, r := range runs {
		r.waitInSync(t)
	}
	return runs
}

// TestSourceReshard moves slots of the source while it is written to, and
// replaces replicators meanwhile: the shards that are concerned follow by
// themselves, no key is lost and none is left over. A new plan with the slots
// of now copies nothing again.
func TestSourceReshard(t *testing.T) {
	t.Parallel()
	for to, makeTarget := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(to, func(t *testing.T) {
			src, dst := clusterSide(t), makeTarget(t)
			c := src.doer.(*testredis.Cluster)
			m := c.Masters()
			fence(t, dst)
			rnd := rand.New(rand.NewPCG(16, 5))
			writeSome(t, src, rnd, 3000)
			links := src.links(dst.target + "\nstale_keys = \"prune\"")
			runs := startLinks(t, links)
			done := make(chan struct{})
			go func() { defer close(done); writeSome(t, following{c}, rnd, 6000) }()
			moveRange(t, c, m[0], m[1], 0, 149)
			runs[0].finish(t) // the one that loses slots, in the middle
			moveRange(t, c, m[0], m[1], 150, 299)
			runs[1].finish(t) // the one that wins them
			runs[0] = start(t, links[0])
			runs[1] = start(t, links[1])
			moveRange(t, c, m[0], m[1], 300, 399)
			<-done
			for i, r := range runs {
				r.waitSlots(t, clusterSlots(t, m[i]))
			}
			if s := runs[2].Status().Get(); s.FullSync.Count != 1 {
				t.Errorf("the shard that is not concerned: %+v", s)
			}
			writeSome(t, src, rnd, 500)
			for i, r := range runs {
				r.waitSlots(t, clusterSlots(t, m[i]))
			}
			compare(t, contents(t, m...), contents(t, dst.masters...))
			// There and back again: nobody waits for anybody.
			moveRange(t, c, m[1], m[0], 100, 399)
			moveRange(t, c, m[2], m[1], 16000, 16100)
			for i, r := range runs {
				r.waitSlots(t, clusterSlots(t, m[i]))
			}
			compare(t, contents(t, m...), contents(t, dst.masters...))
			// Restarts find what the shards hold: under the old slots of
			// sync.toml, and under those of a new plan.
			for _, ls := range [][]link{links, src.links(dst.target)} {
				for i := range runs {
					runs[i].finish(t)
				}
				writeSome(t, src, rnd, 300)
				for i, l := range ls {
					runs[i] = start(t, l)
				}
				for i, r := range runs {
					if s := r.waitSlots(t, clusterSlots(t, m[i])); s.FullSync.Count != 0 {
						t.Errorf("shard %d copied again: %s", i, s.FullSync.Reason)
					}
				}
				compare(t, contents(t, m...), contents(t, dst.masters...))
			}
		})
	}
}

// TestMasterWithoutSlots moves all slots of a master away: its shard has
// nothing more to do and says so, another one has the keys.
func TestMasterWithoutSlots(t *testing.T) {
	t.Parallel()
	src, dst := clusterSide(t), standaloneSide(t)
	c := src.doer.(*testredis.Cluster)
	m := c.Masters()
	fence(t, dst)
	for _, n := range c.Nodes { // or it becomes a replica when it has lost the last one
		n.Do(t, "CONFIG", "SET", "cluster-allow-replica-migration", "no")
	}
	moveRange(t, c, m[2], m[0], 10922, 16283) // leaves 100
	rnd := rand.New(rand.NewPCG(3, 9))
	writeSome(t, src, rnd, 2000)
	runs := startLinks(t, src.links(dst.target+"\nstale_keys = \"prune\""))
	moveRange(t, c, m[2], m[0], 16284, 16383)
	runs[0].waitSlots(t, clusterSlots(t, m[0]))
	testredis.Eventually(t, 60*time.Second, "the shard without a master to say so", func() bool {
		s := runs[2].Status().Get()
		return s.Slots == "" && !s.InSync && !s.Complete && strings.Contains(s.Error, "no master left for this shard")
	})
	compare(t, contents(t, m...), contents(t, dst.masters...))
	// It gets slots again.
	moveRange(t, c, m[1], m[2], 10000, 10500)
	for i, r := range runs {
		r.waitSlots(t, clusterSlots(t, m[i]))
	}
	compare(t, contents(t, m...), contents(t, dst.masters...))
}

// TestSlotsNobodyFollows moves slots to a master that no replicator follows:
// the copy is not complete until one does.
func TestSlotsNobodyFollows(t *testing.T) {
	t.Parallel()
	src, dst := clusterSide(t), standaloneSide(t)
	c := src.doer.(*testredis.Cluster)
	m := c.Masters()
	fence(t, dst)
	writeSome(t, src, rand.New(rand.NewPCG(4, 9)), 2000)
	target := dst.target + "\nstale_keys = \"prune\""
	runs := startLinks(t, src.links(target)[:2])
	moveRange(t, c, m[0], m[2], 0, 100)
	now := clusterSlots(t, m[0])
	testredis.Eventually(t, 60*time.Second, "the shard to say that its slots are not copied", func() bool {
		s := runs[0].Status().Get()
		return s.Slots == now && s.Phase == wire.PhaseCatchingUp && !s.Complete && !s.InSync && strings.Contains(fmt.Sprint(s.Findings), "the slots 0-100 went to a master")
	})
	runs = append(runs, start(t, src.links(target)[2])) // as a new plan has it
	for i, r := range runs {
		if s := r.waitSlots(t, clusterSlots(t, m[i])); strings.Contains(fmt.Sprint(s.Findings), "went to a master") {
			t.Errorf("the finding stays: %v", s.Findings)
		}
	}
	compare(t, contents(t, m...), contents(t, dst.masters...))
}

// TestReshardDuringCopy moves slots while the first copy is being written:
// what was sent is answered before anything else, and the copy starts over.
func TestReshardDuringCopy(t *testing.T) {
	t.Parallel()
	for to, makeTarget := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(to, func(t *testing.T) {
			src, dst := clusterSide(t), makeTarget(t)
			c := src.doer.(*testredis.Cluster)
			m := c.Masters()
			fence(t, dst)
			for i := range 4500 {
				src.Do(t, "SET", "filler"+strconv.Itoa(i), "v")
			}
			var runs []*running
			for _, l := range src.links(dst.target + "\nstale_keys = \"prune\"") {
				l.extra = "max_commands_per_second = 300"
				runs = append(runs, start(t, l))
			}
			for _, r := range runs[:2] {
				testredis.Eventually(t, 30*time.Second, "the copy to run", func() bool { return r.Status().Get().FullSync.Keys > 0 })
			}
			moveRange(t, c, m[0], m[1], 0, 50)
			for i, r := range runs {
				r.waitSlots(t, clusterSlots(t, m[i]))
			}
			writeSome(t, src, rand.New(rand.NewPCG(5, 9)), 200)
			for i, r := range runs {
				r.waitSlots(t, clusterSlots(t, m[i]))
			}
			compare(t, contents(t, m...), contents(t, dst.masters...))
		})
	}
}
