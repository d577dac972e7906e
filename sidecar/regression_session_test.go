package sidecar_test

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// slowCopy starts a replicator whose snapshot takes about so many seconds,
// and returns when it runs. prepare writes more keys before it.
func slowCopy(t *testing.T, seconds int, prepare func(src *testredis.Server)) (src, dst *testredis.Server, r *running) {
	t.Helper()
	src, dst, l := pairOfServers(t)
	fence(t, dst)
	src.Do(t, "CONFIG", "SET", "repl-ping-replica-period", "3600") // only what a test writes moves offsets
	const perSecond = 800
	for i := range perSecond * (seconds + 1) { // the first ones go in one burst
		src.Do(t, "SET", "filler"+strconv.Itoa(i), "v")
	}
	if prepare != nil {
		prepare(src)
	}
	l.extra = "max_commands_per_second = " + strconv.Itoa(perSecond)
	r = start(t, l)
	testredis.Eventually(t, 10*time.Second, "the copy to run", func() bool { return r.Status().Get().FullSync.Running })
	return src, dst, r
}

// wantOneSession fails when the source was attached to more than once.
func wantOneSession(t *testing.T, s wire.Status) {
	t.Helper()
	if s.Stream.Reconnects != 0 || s.FullSync.Count != 1 || s.FullSync.Partial != 0 {
		t.Errorf("%d reconnects, %d full copies and %d partial resyncs, want one full copy only (%s)",
			s.Stream.Reconnects, s.FullSync.Count, s.FullSync.Partial, s.FullSync.Reason)
	}
}

// TestSnapshotOver10s: a snapshot takes longer than a source may be silent.
func TestSnapshotOver10s(t *testing.T) {
	t.Parallel()
	src, dst, r := slowCopy(t, 12, nil)
	began := time.Now()
	src.Do(t, "SET", "during", "v") // the master is ahead of what is received
	testredis.Eventually(t, 60*time.Second, "the end of the copy", func() bool { return !r.Status().Get().FullSync.Running })
	if took := time.Since(began); took < 10*time.Second {
		t.Fatalf("the snapshot took %v; nothing is shown", took)
	}
	wantOneSession(t, r.waitInSync(t))
	r.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst))
	r.finish(t)
}

// TestSnapshotIsNotAcknowledged: the source counts a replica that
// acknowledges an offset as a durable copy up to there.
func TestSnapshotIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	src, _, r := slowCopy(t, 4, func(src *testredis.Server) {
		first := testredis.StartReplica(t, src) // offsets count from the first replica on
		src.Do(t, "SET", "k", "v")
		first.Kill()
		testredis.Eventually(t, 5*time.Second, "the replica to be gone", func() bool { return infoField(t, src, "connected_slaves") == "0" })
	})
	time.Sleep(2500 * time.Millisecond) // two acknowledgements
	attached := infoField(t, src, "slave0")
	if !r.Status().Get().FullSync.Running {
		t.Fatal("the copy is already done; nothing is shown")
	}
	if !strings.Contains(attached, ",offset=0,") {
		t.Errorf("during the copy the source has heard: %s", attached)
	}
	wantOneSession(t, r.waitInSync(t))
	if attached := infoField(t, src, "slave0"); strings.Contains(attached, ",offset=0,") {
		t.Errorf("after the copy the source has heard: %s", attached)
	}
	r.finish(t)
}

// TestConditionalDeadline: the deadline of a key is held back when the source
// changes it under a condition, which the held one would not meet.
func TestConditionalDeadline(t *testing.T) {
	t.Parallel()
	conditions := map[string]string{"GT": "7200", "LT": "60", "XX": "9000"}
	src, dst, r := slowCopy(t, 3, func(src *testredis.Server) {
		for c := range conditions {
			src.Do(t, "SET", "when "+c, "v", "EX", "600")
		}
	})
	for c, seconds := range conditions {
		if src.Do(t, "EXPIRE", "when "+c, seconds, c) != int64(1) {
			t.Fatalf("EXPIRE %s did nothing at the source", c)
		}
	}
	if !r.Status().Get().FullSync.Running {
		t.Fatal("the copy is already done; nothing is shown")
	}
	r.waitInSync(t)
	r.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst))
	// A condition that is not met looks like a key that is gone, and that one
	// is fetched again: right too, but not when the source is.
	if stats, _ := src.Do(t, "INFO", "commandstats").(string); strings.Contains(stats, "cmdstat_dump:") {
		t.Error("a key was fetched again")
	}
	r.finish(t)
}

// TestSlowTargetKeepsTheSession: the target hangs until the spool is full and
// nothing more is read from the source. That is no silence of the source.
func TestSlowTargetKeepsTheSession(t *testing.T) {
	t.Parallel()
	src, dst, l := pairOfServers(t)
	fence(t, dst)
	l.extra = "spool_memory_bytes = 1000000\nspool_disk_bytes = 0"
	r := start(t, l)
	r.waitInSync(t)
	dst.Signal(t, syscall.SIGSTOP)
	value := strings.Repeat("0123456789", 20_000)
	for i := range 150 { // 30 MB: more than the sockets and the spool take
		src.Do(t, "SET", "k"+strconv.Itoa(i), value)
	}
	full := func() bool {
		return slices.ContainsFunc(r.Status().Get().Findings, func(f string) bool { return strings.Contains(f, "the spool is full") })
	}
	testredis.Eventually(t, 10*time.Second, "the spool to be full", full)
	time.Sleep(12 * time.Second)
	if !full() {
		t.Error("the spool is not full any more; nothing is shown")
	}
	dst.Signal(t, syscall.SIGCONT)
	testredis.Eventually(t, 30*time.Second, "the target to catch up", func() bool {
		s := r.Status().Get()
		return s.InSync && !full() && s.LagBytes == 0
	})
	wantOneSession(t, r.Status().Get())
	compare(t, contents(t, src), contents(t, dst))
	r.finish(t)
}

// TestFrozenMaster: the master of the shard hangs, while its replica still
// gives what it has. Nobody knows the lag then.
func TestFrozenMaster(t *testing.T) {
	t.Parallel()
	a := testredis.Start(t, debugArgs()...)
	b := testredis.StartReplica(t, a, debugArgs()...)
	dst := testredis.Start(t, debugArgs()...)
	fence(t, dst)
	a.Do(t, "SET", "k", "v")
	r := start(t, link{slots: "0-16383", sources: []string{a.Addr, b.Addr}, target: "address = " + strconv.Quote(dst.Addr)})
	if s := r.waitInSync(t); s.Source.Address != b.Addr {
		t.Fatalf("attached to %s, want the replica %s", s.Source.Address, b.Addr)
	}
	a.Signal(t, syscall.SIGSTOP)
	testredis.Eventually(t, 8*time.Second, "the lag to be unknown", func() bool {
		s := r.Status().Get()
		return !s.InSync && s.LagSeconds > 1
	})
	testredis.Eventually(t, 8*time.Second, "a finding", func() bool {
		return slices.ContainsFunc(r.Status().Get().Findings, func(f string) bool { return strings.Contains(f, "master cannot be asked") })
	})
	a.Signal(t, syscall.SIGCONT)
	wantOneSession(t, r.waitInSync(t))
	r.waitEqualOffsets(t, a)
	compare(t, contents(t, a), contents(t, dst))
	r.finish(t)
}

// TestPhaseAfterFence: the fence shuts the replicator out for a while, and
// lets it go on in the session that it has.
func TestPhaseAfterFence(t *testing.T) {
	t.Parallel()
	src, dst, l := pairOfServers(t)
	fence(t, dst)
	r := start(t, l)
	r.waitInSync(t)
	dst.Do(t, "SET", wire.FenceKey("p"), "2")
	dst.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	src.Do(t, "INCR", "n")
	testredis.Eventually(t, 10*time.Second, "the fence to hold", func() bool { return r.Status().Get().Phase == wire.PhaseFenced })
	if got := dst.Do(t, "GET", "n"); got != nil {
		t.Errorf("n is %v behind the fence", got)
	}
	fence(t, dst)
	testredis.Eventually(t, 15*time.Second, "to be streaming in sync", func() bool {
		s := r.Status().Get()
		return s.InSync && s.Phase == wire.PhaseStreaming
	})
	wantOneSession(t, r.Status().Get())
	compare(t, contents(t, src), contents(t, dst))
	r.finish(t)
}
