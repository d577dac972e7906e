package apply

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// oneNode starts a cluster of one master and a writer that has copied into it.
func oneNode(t *testing.T, change ...func(*Options)) (*testredis.Server, *Cluster) {
	t.Helper()
	s := testredis.StartCluster(t, 1, 0).Nodes[0]
	o := options(s.Addr)
	for _, f := range change {
		f(&o)
	}
	w := NewCluster(o)
	copied(t, w)
	return s, w
}

// due lets the next flush write the frontiers, as if a second had passed.
func due(w *Cluster) { w.advanced = time.Time{} }

// TestEvalAfterAdvance: the flush before a script of the source writes the
// frontiers, which may not cover the script itself.
func TestEvalAfterAdvance(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	ctx := t.Context()
	w.Pass(at(114)) // a PING
	due(w)
	must(t, w.Flush(ctx, true))
	due(w)
	write(t, w, 200, "EVAL", "return redis.call('INCR',KEYS[1])", "1", "n")
	must(t, w.Flush(ctx, true))
	wantValue(t, s, "n", "1")
}

// TestRefusedPlainBatchKeepsOrder: the target has no memory for the SET of a
// key, takes the DEL after it, and has memory again.
func TestRefusedPlainBatchKeepsOrder(t *testing.T) {
	t.Parallel()
	var s *testredis.Server
	refused := 0
	s, w := oneNode(t, func(o *Options) {
		o.Waiting = func(err error) {
			if err != nil && strings.Contains(err.Error(), "OOM") {
				refused++
				s.Do(t, "CONFIG", "SET", "maxmemory", "0")
			}
		}
	})
	s.Do(t, "CONFIG", "SET", "maxmemory", "1")
	write(t, w, 150, "SET", "a", "1")
	write(t, w, 200, "DEL", "a")
	must(t, w.Flush(t.Context(), true))
	if refused == 0 {
		t.Fatal("the target refused nothing; nothing is shown")
	}
	wantValue(t, s, "a", nil)
}

// again replaces w by a writer after a restart and returns its checkpoint.
func again(t *testing.T, s *testredis.Server, w *Cluster) (*Cluster, psync.Position) {
	t.Helper()
	must(t, w.Close())
	w = NewCluster(options(s.Addr))
	t.Cleanup(func() { _ = w.Close() })
	ck, err := w.Take(t.Context())
	must(t, err)
	if !ck.Usable() {
		t.Fatalf("no usable checkpoint after the restart: %+v", ck)
	}
	w.Resume(ck.Pos)
	return w, ck.Pos
}

// TestWideCommand: a command with more arguments than a script can hand on,
// and that cannot be cut, makes its key pending; the commands before it in the
// batch run once, and a restart still knows that the value is to be fetched.
func TestWideCommand(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	ctx := t.Context()
	args := []string{"ZADD", "{t}z", "NX"}
	for i := range 4000 {
		args = append(args, strconv.Itoa(i), "m"+strconv.Itoa(i))
	}
	write(t, w, 150, "INCR", "{t}n")
	write(t, w, 200, args...)
	write(t, w, 220, "ZREM", "{t}z", "m1") // part of the value that will be fetched
	must(t, w.Flush(ctx, true))
	if got := w.Prefix(); got != 150 {
		t.Errorf("the target is said to be a prefix up to %d, want 150", got)
	}
	next := NewCluster(w.o)
	ck, err := next.Take(ctx)
	must(t, err)
	defer func() { _ = next.Close() }()
	if got := next.Pending(10); !ck.Usable() || len(got) != 1 || got[0].Name != "{t}z" {
		t.Errorf("after a restart at %+v %v are pending", ck, got)
	}
	wantValue(t, s, "{t}n", "1")
	next.Resume(ck.Pos)
	old := Fetched{Key: Key{Name: "{t}z"}, Offset: 190}
	must(t, next.Put(ctx, []Fetched{old}, nil))
	if next.PendingCount() != 1 {
		t.Error("a value that is older than the command was taken")
	}
}

// TestWideCommandInPieces: a wide command that can be cut is applied as a
// whole, or its key becomes pending; its parts are not done one by one.
func TestWideCommandInPieces(t *testing.T) {
	t.Parallel()
	var s *testredis.Server
	s, w := oneNode(t, func(o *Options) {
		o.Waiting = func(err error) {
			if err != nil && strings.Contains(err.Error(), "OOM") {
				s.Do(t, "CONFIG", "SET", "maxmemory", "0")
			}
		}
	})
	ctx := t.Context()
	args := []string{"RPUSH", "{t}l"}
	for i := range 20000 {
		args = append(args, strconv.Itoa(i))
	}
	write(t, w, 150, "INCR", "{t}n")
	write(t, w, 200, args...)
	must(t, w.Flush(ctx, true))
	if n := s.Do(t, "LLEN", "{t}l"); n != int64(20000) || w.PendingCount() != 0 {
		t.Errorf("the list has %v elements, %d keys are pending", n, w.PendingCount())
	}
	s.Do(t, "CONFIG", "SET", "maxmemory", "1") // the batch is refused and done one by one
	write(t, w, 300, args...)
	write(t, w, 310, "RPOP", "{t}l")
	write(t, w, 320, "INCR", "{t}n")
	must(t, w.Flush(ctx, true))
	if got := w.Pending(10); len(got) != 1 || got[0].Name != "{t}l" {
		t.Errorf("%v are pending", got)
	}
	wantValue(t, s, "{t}n", "2")
	if got := w.Prefix(); got > 300 {
		t.Errorf("the target is said to be a prefix up to %d", got)
	}
}

// TestWideMSetIsCut: a command of many keys is cut, and what is beside it
// runs once, also when a restart comes right after it.
func TestWideMSetIsCut(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	ctx := t.Context()
	args := []string{"MSET"}
	for i := range 5000 {
		args = append(args, "{t}"+strconv.Itoa(i), "v")
	}
	write(t, w, 150, "INCR", "{t}n")
	write(t, w, 200, args...)
	write(t, w, 250, "INCR", "{t}n")
	must(t, w.Flush(ctx, true))
	_, pos := again(t, s, w)
	if pos.Offset != 250 {
		t.Errorf("a restart asks for %d, want 250", pos.Offset)
	}
	wantValue(t, s, "{t}n", "2")
	wantValue(t, s, "{t}4999", "v")
}

// TestGenerationAfterRestartedCopy: a copy was begun by a process that died;
// the next one copies another, shorter history and dies too. The frontiers of
// the history before do not count for it.
func TestGenerationAfterRestartedCopy(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	ctx := t.Context()
	for i := range int64(98) {
		write(t, w, 150+50*i, "INCR", "a")
	}
	must(t, w.Flush(ctx, true))
	must(t, w.BeginSnapshot(ctx))
	must(t, w.Close())

	o := options(s.Addr)
	o.Identity.Token = "second"
	w = NewCluster(o)
	defer w.Close()
	_, err := w.Take(ctx)
	must(t, err)
	must(t, w.BeginSnapshot(ctx))
	end := psync.Position{ReplID: otherHistory, Offset: 100}
	must(t, w.EndSnapshot(ctx, end, false))

	if _, pos := again(t, s, w); pos.Offset != 100 || pos.ReplID != otherHistory {
		t.Errorf("the copy ended at %d of %.3s; a restart asks for %d of %.3s", end.Offset, end.ReplID, pos.Offset, pos.ReplID)
	}
}

// TestFlushInsideTransaction: a transaction that the source's end cuts off
// comes again as a whole; no checkpoint lies inside of it, and what was sent
// of it is not applied twice.
func TestFlushInsideTransaction(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	ctx := t.Context()
	w.Save()
	write(t, w, 150, "INCR", "a")
	due(w)
	must(t, w.Flush(ctx, true))
	if got := w.Applied().Offset; got != 100 {
		t.Errorf("inside the transaction %d counts as applied, want 100", got)
	}
	w.Rollback()
	w.Save()
	write(t, w, 150, "INCR", "a")
	write(t, w, 200, "INCR", "b")
	w.Pass(at(214)) // EXEC
	must(t, w.Flush(ctx, true))
	wantValue(t, s, "a", "1")
	wantValue(t, s, "b", "1")
	if got := w.Applied().Offset; got != 214 {
		t.Errorf("after the transaction %d counts as applied, want 214", got)
	}
}

// TestClusterFailoverBetweenChunks: a master of the target fails over in the
// middle of a snapshot, and the new one lacks an acknowledged chunk.
func TestClusterFailoverBetweenChunks(t *testing.T) {
	t.Parallel()
	c := testredis.StartCluster(t, 1, 1)
	m, r := c.Nodes[0], c.Nodes[1]
	ctx := t.Context()
	w := NewCluster(options(c.Addrs()...))
	_, err := w.Take(ctx)
	must(t, err)
	defer w.Close()
	must(t, w.BeginSnapshot(ctx))
	must(t, restore(ctx, w, "first"))
	must(t, w.Settle(ctx))
	testredis.Eventually(t, 5*time.Second, "the replica has the key", func() bool {
		return m.Do(t, "WAIT", "1", "0") == int64(1)
	})
	m.Kill()
	r.Do(t, "CLUSTER", "FAILOVER", "TAKEOVER")
	r.Do(t, "READWRITE")
	err = restore(ctx, w, "second")
	if err == nil {
		err = w.EndSnapshot(ctx, at(100), false)
	}
	if !errors.Is(err, ErrRewound) {
		t.Errorf("the snapshot ended with %v, want %v", err, ErrRewound)
	}
	if got := checkpointState(t, r); got == wire.CkptStateStream {
		t.Error("the new master has a usable checkpoint")
	}
}

// TestGuardWhileSlotMoves: a guarded command looks for its key first, and the
// key's slot is on the move: that is one more command to be done elsewhere,
// after those before it, which are not done again.
func TestGuardWhileSlotMoves(t *testing.T) {
	t.Parallel()
	c := testredis.StartCluster(t, 2, 0)
	w := NewCluster(options(c.Nodes[0].Addr))
	copied(t, w)
	slot := route.Slot([]byte("k"))
	from := c.NodeAt(w.owner[slot].addr)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	before := "n" // a key of the same node
	for i := 0; w.owner[route.Slot([]byte(before))] != w.owner[slot]; i++ {
		before = "n" + strconv.Itoa(i)
	}
	from.Do(t, "SET", before, "1")
	n := strconv.Itoa(slot)
	to.Do(t, "CLUSTER", "SETSLOT", n, "IMPORTING", from.Do(t, "CLUSTER", "MYID").(string))
	from.Do(t, "CLUSTER", "SETSLOT", n, "MIGRATING", to.Do(t, "CLUSTER", "MYID").(string))
	w.Guard(true)
	write(t, w, 150, "INCR", before)
	write(t, w, 200, "APPEND", "k", "x")
	must(t, w.Flush(t.Context(), true))
	wantValue(t, from, before, "2")
	if w.PendingCount() != 1 {
		t.Errorf("%d keys are pending, want k", w.PendingCount())
	}
}
