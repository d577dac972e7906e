package sidecar_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	fencing "github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
)

func (r *running) waitEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("the replicator still runs: %+v", r.Status().Get())
		return nil
	}
}

func pairOfServers(t *testing.T) (src, dst *testredis.Server, l link) {
	src, dst = testredis.Start(t, debugArgs()...), testredis.Start(t, debugArgs()...)
	return src, dst, link{slots: "0-16383", sources: []string{src.Addr}, target: "address = " + strconv.Quote(dst.Addr)}
}

// TestStaleKeys copies onto a target that holds other keys, under each policy.
func TestStaleKeys(t *testing.T) {
	t.Parallel()
	fill := func(t *testing.T, stale int) (src, dst *testredis.Server, l link) {
		src, dst, l = pairOfServers(t)
		fence(t, dst)
		for i := range 100 {
			src.Do(t, "SET", "k"+strconv.Itoa(i), "new")
			dst.Do(t, "SET", "k"+strconv.Itoa(i), "old")
		}
		for i := range stale {
			dst.Do(t, "SET", "stale"+strconv.Itoa(i), "x")
		}
		return src, dst, l
	}
	t.Run("refuse", func(t *testing.T) {
		_, dst, l := fill(t, 1)
		err := start(t, l).waitEnd(t)
		if err == nil || !strings.Contains(err.Error(), "no policy") {
			t.Fatalf("got %v", err)
		}
		if v := dst.Do(t, "GET", "k1"); v != "old" {
			t.Errorf("it wrote before it refused: %v", v)
		}
	})
	t.Run("keep", func(t *testing.T) {
		_, dst, l := fill(t, 50)
		l.target += "\nstale_keys = \"keep\""
		start(t, l).waitInSync(t)
		if dst.Do(t, "EXISTS", "stale1") != int64(1) || dst.Do(t, "GET", "k1") != "new" {
			t.Error("a key of the target is gone, or one of the source did not come")
		}
	})
	t.Run("prune", func(t *testing.T) {
		src, dst, l := fill(t, 5)
		l.target += "\nstale_keys = \"prune\""
		dst.Do(t, "SELECT", "2")
		dst.Do(t, "SET", "stale in two", "x")
		dst.Do(t, "SELECT", "0")
		if s := start(t, l).waitInSync(t); s.FullSync.StaleKeys != 6 {
			t.Errorf("removed %d keys, want 6", s.FullSync.StaleKeys)
		}
		compare(t, contents(t, src), contents(t, dst))
	})
	t.Run("more than the share", func(t *testing.T) {
		_, dst, l := fill(t, 20)
		l.target += "\nstale_keys = \"prune\""
		err := start(t, l).waitEnd(t)
		if err == nil || !strings.Contains(err.Error(), "20 of the 120 keys") {
			t.Fatalf("got %v", err)
		}
		if dst.Do(t, "EXISTS", "stale1") != int64(1) {
			t.Error("a key was removed")
		}
	})
	t.Run("empty source", func(t *testing.T) {
		src, dst, l := fill(t, 0)
		src.Do(t, "FLUSHALL")
		l.target += "\nstale_keys = \"prune\"\nstale_keys_max_share = 0.99"
		if err := start(t, l).waitEnd(t); err == nil || !strings.Contains(err.Error(), "its snapshot has 0 keys") {
			t.Fatalf("got %v", err)
		}
		if dst.Do(t, "DBSIZE").(int64) < 100 {
			t.Error("an empty source emptied the target")
		}
		l.target = strings.Replace(l.target, "0.99", "1.0", 1)
		start(t, l).waitInSync(t)
		if n := len(contents(t, dst)); n != 0 {
			t.Errorf("%d keys are left after the share was acknowledged", n)
		}
	})
	t.Run("other shards", func(t *testing.T) {
		src, dst, l := fill(t, 5)
		l.slots = "0-8191" // of a source that is no cluster every key comes; the sweep keeps to the slots
		l.target += "\nstale_keys = \"prune\"\nstale_keys_max_share = 1.0"
		dst.Do(t, "SET", "{stale}foreign", "x")
		dst.Do(t, "SET", "foo", "x") // slot 12182
		start(t, l).waitInSync(t)
		if dst.Do(t, "EXISTS", "foo") != int64(1) {
			t.Error("a key outside of the link's slots was removed")
		}
		_ = src
	})
}

// TestFence starts replicators that may not write.
func TestFence(t *testing.T) {
	t.Parallel()
	src, dst, l := pairOfServers(t)
	l.extra = "drain_seconds = 3600" // a fenced replicator does not take it
	src.Do(t, "SET", "k", "v")
	r := start(t, l)
	testredis.Eventually(t, 10*time.Second, "the fence to be seen", func() bool {
		return r.Status().Get().Phase == wire.PhaseFenced
	})
	if n := dst.Do(t, "DBSIZE"); n != int64(0) {
		t.Fatalf("%v keys were written without an epoch key", n)
	}
	dst.Do(t, "SET", wire.FenceKey("p"), "2")
	time.Sleep(300 * time.Millisecond)
	if s := r.Status().Get(); !strings.Contains(s.Error, "epoch 1") || dst.Do(t, "EXISTS", "k") != int64(0) {
		t.Fatalf("under another epoch: %+v", s)
	}
	dst.Do(t, "SET", wire.FenceKey("p"), "1") // as the plugin does on apply
	r.waitInSync(t)

	// A second process takes the shard: the first must not write again.
	second := start(t, l)
	second.waitInSync(t)
	src.Do(t, "INCR", "n")
	if err := r.waitEnd(t); err == nil || !strings.Contains(err.Error(), "superseded") {
		t.Fatalf("the first replicator ended with %v", err)
	}
	testredis.Eventually(t, 10*time.Second, "the write to arrive once", func() bool { return dst.Do(t, "GET", "n") == "1" })

	// The epoch moves on while it runs and its connections are ended.
	dst.Do(t, "SET", wire.FenceKey("p"), "2")
	dst.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	src.Do(t, "SET", "late", "v")
	testredis.Eventually(t, 10*time.Second, "the fence to be seen", func() bool {
		return second.Status().Get().Phase == wire.PhaseFenced
	})
	if dst.Do(t, "EXISTS", "late") != int64(0) {
		t.Error("a write of an older epoch landed")
	}
	if s := second.Status().Get(); s.InSync {
		t.Error("a fenced replicator says that it is in sync")
	}
	// What it has read can go nowhere: it ends at once, and not as if it had drained.
	second.stop()
	var fenced *fencing.FencedError
	if err := second.waitEnd(t); !errors.As(err, &fenced) || fenced.Want != 1 || fenced.Have != "2" {
		t.Errorf("the fenced replicator ended with %v", err)
	}
	if dst.Do(t, "EXISTS", "late") != int64(0) {
		t.Error("a write of an older epoch landed while it ended")
	}
}

// TestFlush: what an operator does to a source must not empty its copy.
func TestFlush(t *testing.T) {
	t.Parallel()
	src, dst, l := pairOfServers(t)
	fence(t, dst)
	seedData(t, src, true)
	r := start(t, l)
	r.waitInSync(t)
	n := len(contents(t, dst))
	src.Do(t, "FLUSHALL")
	if err := r.waitEnd(t); err == nil || !strings.Contains(err.Error(), "FLUSHALL") {
		t.Fatalf("got %v", err)
	}
	if now := len(contents(t, dst)); now != n {
		t.Fatalf("%d of %d keys are left", now, n)
	}
	src.Do(t, "SET", "after", "v")
	l.target += "\nstale_keys_max_share = 1.0"
	r = start(t, l)
	r.waitInSync(t)
	compare(t, contents(t, src), contents(t, dst))
	if dst.Do(t, "GET", wire.FenceKey("p")) != "1" {
		t.Error("the fence went with the flush")
	}
	if s := r.Status().Get(); s.FullSync.Count != 0 {
		t.Error("it took a full copy to get over the flush")
	}
}

// TestNotTheData: commands of the stream that must not reach the target.
func TestNotTheData(t *testing.T) {
	t.Parallel()
	src, dst, l := pairOfServers(t)
	fence(t, dst)
	r := start(t, l)
	r.waitInSync(t)
	src.Do(t, "PUBLISH", "__sentinel__:hello", "127.0.0.1,1,2,3,mymaster,127.0.0.1,1,0")
	src.Do(t, "SET", wire.KeyPrefix+"{p}:0:checkpoint", "what an opposite link writes")
	for range 3 {
		src.Do(t, "INCR", "n")
		if got := src.Do(t, "WAIT", "1", "2000"); got != int64(1) { // sends GETACK
			t.Errorf("WAIT counts %v replicas", got)
		}
	}
	src.Do(t, "FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)")
	src.Do(t, "SET", "last", "v")
	testredis.Eventually(t, 10*time.Second, "the last write", func() bool { return dst.Do(t, "GET", "last") == "v" })
	if dst.Do(t, "GET", "n") != "3" {
		t.Errorf("n is %v, want 3", dst.Do(t, "GET", "n"))
	}
	if v := dst.Do(t, "TYPE", wire.CheckpointKey("p", 0)); v != "hash" {
		t.Errorf("the checkpoint was overwritten by the source: it is a %v", v)
	}
	if dst.Do(t, "FCALL", "f", "0") != int64(1) {
		t.Error("the function did not come")
	}
	src.Do(t, "SWAPDB", "0", "1")
	if err := r.waitEnd(t); err == nil || !strings.Contains(err.Error(), "SWAPDB") {
		t.Errorf("SWAPDB: %v", err)
	}
}
