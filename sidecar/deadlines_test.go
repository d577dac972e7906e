package sidecar_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// The tests with deadlines of a second or two are not parallel: beside others
// they would find their keys expired too early.

// TestDeadlineDuringCopy: a key whose time runs out while the snapshot is
// being written, and that the source has kept alive meanwhile, is not lost; a
// held deadline is the true one in the end, also after a restart in between
// and for a key that was renamed.
func TestDeadlineDuringCopy(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run("restart "+strconv.FormatBool(restart), func(t *testing.T) {
			src, dst, l := pairOfServers(t)
			fence(t, dst)
			for i := range 3000 {
				src.Do(t, "SET", "filler"+strconv.Itoa(i), "v")
			}
			src.Do(t, "SET", "kept", "v", "PX", "2500")
			src.Do(t, "SET", "extended", "v", "PX", "2500")
			src.Do(t, "SET", "gone", "v", "PX", "2500")
			src.Do(t, "SET", "minutes", "v", "PX", "600000")
			src.Do(t, "SET", "{r}a", "v", "PX", "600000")
			l.extra = "max_commands_per_second = 800" // about 3 s of copying
			r := start(t, l)
			time.Sleep(1200 * time.Millisecond)
			if !r.Status().Get().FullSync.Running {
				t.Fatal("the copy is already done; nothing is shown")
			}
			src.Do(t, "PERSIST", "kept")
			src.Do(t, "PEXPIRE", "extended", "500000")
			src.Do(t, "RENAME", "{r}a", "{r}b")
			// Set by the stream, over before it is applied, and lifted in time.
			for _, set := range [][]string{{"PEXPIRE", "new1", "400"}, {"SET", "new2", "v", "PX", "400"}, {"PSETEX", "new3", "400", "v"}, {"EXPIRE", "new4", "1"}} {
				src.Do(t, "APPEND", set[1], "v")
				src.Do(t, set...)
				src.Do(t, "APPEND", set[1], "w")
				src.Do(t, "PERSIST", set[1])
			}
			if restart {
				for r.Status().Get().FullSync.Running {
					time.Sleep(5 * time.Millisecond)
				}
				r.finish(t)
				r = start(t, l)
			}
			s := r.waitInSync(t)
			if want := map[bool]int64{false: 1, true: 0}[restart]; s.FullSync.Count != want {
				t.Errorf("%d full copies", s.FullSync.Count)
			}
			compare(t, contents(t, src), contents(t, dst))
			if src.Do(t, "EXISTS", "gone") != int64(0) || dst.Do(t, "GET", "kept") != "v" {
				t.Error("the test did not show what it is for")
			}
			r.finish(t)
		})
	}
}

// TestDeadlineWhileAway: the target lets keys expire while no replicator runs,
// and the source has kept them alive. They come back, with what happened to
// them since.
func TestDeadlineWhileAway(t *testing.T) {
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			src := testredis.Start(t, debugArgs()...)
			dst := target(t)
			fence(t, dst)
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
			r := start(t, l)
			r.waitInSync(t)
			for i := range 20 {
				n := strconv.Itoa(i)
				src.Do(t, "RPUSH", "l"+n, "a", "b")
				src.Do(t, "PEXPIRE", "l"+n, "1500")
				src.Do(t, "SET", "s"+n, "v", "PX", "1500")
			}
			testredis.Eventually(t, 10*time.Second, "the keys to come", func() bool {
				s := r.Status().Get()
				return s.InSync && len(contents(t, dst.masters...)) == 40
			})
			r.finish(t)
			for i := range 20 {
				n := strconv.Itoa(i)
				src.Do(t, "PERSIST", "l"+n)
				src.Do(t, "GETEX", "s"+n, "EX", "3600")
				src.Do(t, "RPUSH", "l"+n, "c")
				src.Do(t, "APPEND", "s"+n, "w")
			}
			testredis.Eventually(t, 10*time.Second, "the target to let the keys expire", func() bool {
				return len(contents(t, dst.masters...)) == 0
			})
			r = start(t, l)
			r.waitInSync(t)
			for i := range 20 {
				src.Do(t, "RPUSH", "l"+strconv.Itoa(i), "d")
			}
			r.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst.masters...))
			if s := r.Status().Get(); s.FullSync.Count != 0 {
				t.Errorf("%d full copies", s.FullSync.Count)
			}
			r.finish(t)
		})
	}
}

// TestWrittenAfterItsTime: while no replicator runs, the target lets keys
// expire that the source writes to before it extends their lives. They come
// back whole, and so does what was made from them.
func TestWrittenAfterItsTime(t *testing.T) {
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			src := testredis.Start(t, debugArgs()...)
			dst := target(t)
			fence(t, dst)
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
			r := start(t, l)
			r.waitInSync(t)
			const ms = "4000"
			for i := range 10 {
				n := strconv.Itoa(i)
				src.Do(t, "HSET", "h"+n, "a", "1", "b", "2")
				src.Do(t, "RPUSH", "l"+n, "a", "b", "c")
				src.Do(t, "SADD", "{t}"+n, "a", "b")
				for _, key := range []string{"h" + n, "l" + n, "{t}" + n} {
					src.Do(t, "PEXPIRE", key, ms)
				}
				src.Do(t, "SET", "s"+n, "v", "PX", ms)
			}
			r.waitEqualOffsets(t, src)
			r.finish(t)
			for i := range 10 {
				n := strconv.Itoa(i)
				src.Do(t, "HSET", "h"+n, "c", "3")
				src.Do(t, "LSET", "l"+n, "2", "z") // an error where the list is not there, or short
				src.Do(t, "SET", "s"+n, "w", "KEEPTTL")
				src.Do(t, "RENAME", "{t}"+n, "{t}renamed"+n)
				src.Do(t, "SADD", "{t}renamed"+n, "c")
				for _, key := range []string{"h" + n, "l" + n, "s" + n, "{t}renamed" + n} {
					src.Do(t, "PEXPIRE", key, "5000000")
				}
				src.Do(t, "HSET", "created"+n, "a", "1")
				src.Do(t, "HINCRBY", "created"+n, "a", "1")
			}
			if src.Do(t, "EXISTS", "h0", "l9") != int64(2) {
				t.Skip("this machine is too slow: the keys expired on the source")
			}
			testredis.Eventually(t, 10*time.Second, "the target to let the keys expire", func() bool {
				return len(contents(t, dst.masters...)) == 0
			})
			r = start(t, l)
			r.waitEqualOffsets(t, src)
			// From here on new keys are nothing to wonder about.
			for i := range 10 {
				src.Do(t, "RPUSH", "l"+strconv.Itoa(i), "d")
				src.Do(t, "HSET", "later"+strconv.Itoa(i), "a", "1")
			}
			r.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst.masters...))
			if s := r.Status().Get(); s.FullSync.Count != 0 {
				t.Errorf("%d full copies", s.FullSync.Count)
			}
			r.finish(t)
		})
	}
}

// TestInSyncAfterLostBytes: a promoted replica has fewer bytes than the master
// that is gone had; the lag is not measured against the lost ones for ever.
func TestInSyncAfterLostBytes(t *testing.T) {
	t.Parallel()
	a := testredis.Start(t, debugArgs()...)
	b := testredis.StartReplica(t, a, debugArgs()...)
	dst := testredis.Start(t, debugArgs()...)
	fence(t, dst)
	a.Do(t, "SET", "k", "v")
	r := start(t, link{slots: "0-16383", sources: []string{a.Addr, b.Addr}, target: "address = " + strconv.Quote(dst.Addr)})
	r.waitInSync(t)
	b.Signal(t, syscall.SIGSTOP)
	for i := range 2000 {
		a.Do(t, "SET", "lost"+strconv.Itoa(i), "v")
	}
	time.Sleep(1200 * time.Millisecond) // the watcher sees the master's offset
	a.Kill()
	b.Signal(t, syscall.SIGCONT)
	b.Do(t, "REPLICAOF", "NO", "ONE")
	testredis.Eventually(t, 40*time.Second, "to be in sync with the promoted one", func() bool {
		s := r.Status().Get()
		return s.InSync && s.Source.Address == b.Addr && strconv.FormatInt(s.AppliedOffset, 10) == infoField(t, b, "master_repl_offset")
	})
	compare(t, contents(t, b), contents(t, dst))
	r.finish(t)
}
