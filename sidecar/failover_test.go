package sidecar_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// TestSourceFailover attaches to the replica, loses it, and follows a
// promotion: never with a second full copy.
func TestSourceFailover(t *testing.T) {
	t.Parallel()
	a := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	b := testredis.StartReplica(t, a, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	c := testredis.StartReplica(t, a, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	dst := testredis.Start(t, debugArgs()...)
	fence(t, dst)
	rnd := rand.New(rand.NewPCG(1, 9))
	writeSome(t, a, rnd, 500)
	r := start(t, link{slots: "0-16383", sources: []string{a.Addr, b.Addr, c.Addr}, target: "address = " + strconv.Quote(dst.Addr)})
	s := r.waitInSync(t)
	if s.Source.Role != "slave" {
		t.Errorf("attached to the %s at %s while a replica was there", s.Source.Role, s.Source.Address)
	}
	first, other := b, c
	if s.Source.Address == c.Addr {
		first, other = c, b
	}
	first.Kill() // the replica that it is attached to
	writeSome(t, a, rnd, 500)
	testredis.Eventually(t, 30*time.Second, "another pod", func() bool {
		s = r.Status().Get()
		return s.InSync && s.Source.Address != first.Addr
	})
	// The master dies, the other replica is promoted.
	testredis.Eventually(t, 10*time.Second, "the replica to have everything", func() bool {
		return infoField(t, a, "master_repl_offset") == infoField(t, other, "master_repl_offset")
	})
	a.Kill()
	other.Do(t, "REPLICAOF", "NO", "ONE")
	writeSome(t, other, rnd, 500)
	testredis.Eventually(t, 30*time.Second, "the promoted pod", func() bool {
		s = r.Status().Get()
		// The pod says that it is a master before it ends its replicas' sessions.
		return s.InSync && s.Source.Address == other.Addr && s.Source.Role == "master" && s.FullSync.Count+s.FullSync.Partial >= 3
	})
	compare(t, contents(t, other), contents(t, dst))
	if s.FullSync.Count != 1 {
		t.Errorf("%d full and %d partial resyncs, want 1 and at least 2", s.FullSync.Count, s.FullSync.Partial)
	}
	r.finish(t)
}

func infoField(t *testing.T, s *testredis.Server, name string) string {
	t.Helper()
	for _, line := range splitLines(s.Do(t, "INFO", "replication").(string)) {
		if len(line) > len(name) && line[:len(name)+1] == name+":" {
			return line[len(name)+1:]
		}
	}
	t.Fatalf("INFO replication has no %s", name)
	return ""
}

func splitLines(s string) []string {
	var out []string
	start := 0
	for i := range len(s) {
		if s[i] == '\r' {
			out = append(out, s[start:i])
			start = i + 2
		}
	}
	return out
}

// TestSentinelTargetFailover kills the target's master under writes: Sentinel
// promotes the replica, and nothing is lost or doubled.
func TestSentinelTargetFailover(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	m := testredis.Start(t, debugArgs()...)
	rep := testredis.StartReplica(t, m, debugArgs()...)
	sen := testredis.StartSentinel(t, m, "mymaster")
	sen.Do(t, "SENTINEL", "SET", "mymaster", "down-after-milliseconds", "1000")
	fence(t, m)
	rnd := rand.New(rand.NewPCG(4, 4))
	writeSome(t, src, rnd, 500)
	r := start(t, link{
		slots: "0-16383", sources: []string{src.Addr},
		target: fmt.Sprintf("sentinels = [%q]\nmaster_name = \"mymaster\"\naddress = %q", sen.Addr, m.Addr),
	})
	r.waitInSync(t)
	writeSome(t, src, rnd, 500)
	testredis.Eventually(t, 10*time.Second, "the link between the target's servers", func() bool {
		return infoField(t, m, "master_repl_offset") == infoField(t, rep, "master_repl_offset")
	})
	m.Kill()
	writeSome(t, src, rnd, 1000)
	testredis.Eventually(t, 60*time.Second, "the new master", func() bool {
		s := r.Status().Get()
		return s.InSync && s.Target.Address == rep.Addr
	})
	// Sentinel ended the promoted server's connections, the test's own too.
	testredis.Eventually(t, 5*time.Second, "a connection", func() bool { _, err := rep.TryDo("PING"); return err == nil })
	compare(t, contents(t, src), contents(t, rep))
	if s := r.Status().Get(); s.FullSync.Count != 1 {
		t.Errorf("%d full copies: %s", s.FullSync.Count, s.FullSync.Reason)
	}
	r.finish(t)
}

// TestClusterTargetFailover kills a master of the target under writes.
func TestClusterTargetFailover(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	dst := testredis.StartCluster(t, 3, 1, debugArgs()...)
	fence(t, dst)
	rnd := rand.New(rand.NewPCG(4, 5))
	writeSome(t, src, rnd, 500)
	r := start(t, link{
		slots: "0-16383", sources: []string{src.Addr},
		target: fmt.Sprintf("type = \"cluster\"\naddress = %q\ncandidates = [%q, %q]", dst.Addrs()[0], dst.Addrs()[0], dst.Addrs()[1]),
	})
	r.waitInSync(t)
	done := make(chan struct{})
	go func() { defer close(done); writeSome(t, src, rnd, 4000) }()
	time.Sleep(200 * time.Millisecond)
	dst.Masters()[2].Kill()
	<-done
	writeSome(t, src, rnd, 500)
	r.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst.Masters()[0], dst.Masters()[1], dst.Replicas(2)[0]))
	if s := r.Status().Get(); s.FullSync.Count != 1 {
		t.Errorf("%d full copies: %s", s.FullSync.Count, s.FullSync.Reason)
	}
	r.finish(t)
}

// TestClusterTargetReshard moves slots of the target while commands come.
func TestClusterTargetReshard(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	dst := testredis.StartCluster(t, 3, 0, debugArgs()...)
	fence(t, dst)
	rnd := rand.New(rand.NewPCG(6, 5))
	writeSome(t, src, rnd, 2000)
	r := start(t, link{
		slots: "0-16383", sources: []string{src.Addr},
		target: fmt.Sprintf("type = \"cluster\"\naddress = %q", dst.Addrs()[0]),
	})
	r.waitInSync(t)
	done := make(chan struct{})
	go func() { defer close(done); writeSome(t, src, rnd, 6000) }()
	moveSlots(t, dst, dst.Masters()[0], dst.Masters()[1], 400)
	<-done
	r.waitEqualOffsets(t, src)
	compareMoved(t, contents(t, src), contents(t, dst.Masters()...))
	if s := r.Status().Get(); s.FullSync.Count != 1 {
		t.Errorf("%d full copies: %s", s.FullSync.Count, s.FullSync.Reason)
	}
	// A restart reads the frontiers of the last generation.
	r.finish(t)
	src.Do(t, "INCR", "once")
	r = start(t, link{slots: "0-16383", sources: []string{src.Addr}, target: fmt.Sprintf("type = \"cluster\"\naddress = %q", dst.Addrs()[1])})
	if s := r.waitInSync(t); s.FullSync.Count != 0 {
		t.Errorf("a restart copied everything: %s", s.FullSync.Reason)
	}
	r.waitEqualOffsets(t, src)
	compareMoved(t, contents(t, src), contents(t, dst.Masters()...))
}

// TestClusterTargetNodes adds a node to the target, gives it slots, takes them
// away again and removes the node, all while commands come.
func TestClusterTargetNodes(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	dst := testredis.StartCluster(t, 3, 0, debugArgs()...)
	old := dst.Masters()
	fence(t, dst)
	rnd := rand.New(rand.NewPCG(8, 5))
	writeSome(t, src, rnd, 2000)
	r := start(t, link{
		slots: "0-16383", sources: []string{src.Addr},
		target: fmt.Sprintf("type = \"cluster\"\naddress = %q", dst.Addrs()[0]),
	})
	r.waitInSync(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				writeSome(t, src, rnd, 200)
			}
		}
	}()

	// Without its last slot it stays a master, since slots are taken one by one.
	added := testredis.Start(t, append(debugArgs(), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-allow-replica-migration", "no")...)
	added.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", "10")
	dst.Nodes = append(dst.Nodes, added)
	old[0].Do(t, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(added.Port))
	testredis.Eventually(t, 30*time.Second, "every node to know the new one", func() bool {
		for _, s := range dst.Nodes {
			if strings.Count(s.Do(t, "CLUSTER", "NODES").(string), " connected") < 4 || !strings.Contains(s.Do(t, "CLUSTER", "INFO").(string), "cluster_state:ok") {
				return false
			}
		}
		return true
	})
	moveSlots(t, dst, old[0], added, 300)
	keys := added.Do(t, "DBSIZE").(int64)
	testredis.Eventually(t, 30*time.Second, "a write to come to the new node", func() bool {
		for slot := range 300 {
			src.Do(t, "INCR", "{"+route.SlotTag(slot)+"}added")
		}
		return added.Do(t, "DBSIZE").(int64) >= keys+300
	})
	moveSlots(t, dst, added, old[1], 300)
	id := added.Do(t, "CLUSTER", "MYID").(string)
	for _, s := range old {
		s.Do(t, "CLUSTER", "FORGET", id)
	}
	added.Kill()
	close(stop)
	<-done
	writeSome(t, src, rnd, 500)
	r.waitEqualOffsets(t, src)
	compareMoved(t, contents(t, src), contents(t, old...))
	if s := r.Status().Get(); s.FullSync.Count != 1 {
		t.Errorf("%d full copies: %s", s.FullSync.Count, s.FullSync.Reason)
	}
	r.finish(t)
}
