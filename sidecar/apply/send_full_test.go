package apply

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// twoNodes is a cluster with a writer whose batches are full with four
// commands, and a key on each node.
func twoNodes(t *testing.T) (a, b *testredis.Server, w *Cluster, x, y string) {
	t.Helper()
	c := testredis.StartCluster(t, 2, 0)
	o := options(c.Addrs()...)
	o.BatchCount = 4
	w = NewCluster(o)
	copied(t, w)
	w.advanced = time.Now() // the frontiers of all nodes are not due
	return c.Masters()[0], c.Masters()[1], w, "{" + route.SlotTag(0) + "}x", "{" + route.SlotTag(route.SlotCount-1) + "}y"
}

// increments are commands of a stream: the key that is counted up by each.
type increments map[int64]string

func (in increments) write(t *testing.T, w Writer, from, to int64) {
	t.Helper()
	for end := from + 1; end <= to; end++ {
		if key := in[end]; key != "" {
			write(t, w, end, "INCR", key)
		}
	}
}

// sendFull sends the full batch of a node, as soon as the time allows it.
func sendFull(t *testing.T, w *Cluster) {
	t.Helper()
	w.flushedAt = time.Now()
	if sent, err := w.SendFull(t.Context()); !sent || err != nil {
		t.Fatalf("sent %v, %v", sent, err)
	}
}

// successor takes the shard as a new process does, and tells from where it reads
// the stream.
func successor(t *testing.T, w *Cluster) (next *Cluster, from int64) {
	t.Helper()
	next = NewCluster(w.o)
	ck, err := next.Take(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = next.Close() })
	next.Resume(ck.Pos)
	return next, ck.Pos.Offset
}

// crash takes the shard with another writer, which reads the stream again from
// the checkpoint.
func crash(t *testing.T, w *Cluster, in increments, to int64) {
	t.Helper()
	next, from := successor(t, w)
	in.write(t, next, from, to)
	must(t, next.Flush(t.Context(), true))
}

// TestNodeGoesAlone: a node whose batch is full does not wait for the others,
// what is applied is told for all of them, and a crash repeats nothing.
func TestNodeGoesAlone(t *testing.T) {
	t.Parallel()
	a, b, w, x, y := twoNodes(t)
	in := increments{150: x, 160: y, 170: y, 180: y, 190: y, 200: y, 210: x}
	in.write(t, w, 100, 190)
	if !w.Full() {
		t.Fatal("four commands are a full batch")
	}
	sendFull(t, w)
	if done, err := w.answerOf(t.Context(), w.owner[route.SlotCount-1]); !done || err != nil {
		t.Fatalf("done %v, %v", done, err)
	}
	wantValue(t, a, x, nil)
	wantValue(t, b, y, "4")
	if w.Applied().Offset != 100 {
		t.Errorf("applied up to %d, but the first command was not sent", w.Applied().Offset)
	}
	crash(t, w, in, 210)
	wantValue(t, a, x, "2")
	wantValue(t, b, y, "5")
}

// moveSlot moves a slot without keys.
func moveSlot(t *testing.T, from, to *testredis.Server, slot int) {
	t.Helper()
	n := strconv.Itoa(slot)
	idFrom, idTo := from.Do(t, "CLUSTER", "MYID").(string), to.Do(t, "CLUSTER", "MYID").(string)
	to.Do(t, "CLUSTER", "SETSLOT", n, "IMPORTING", idFrom)
	from.Do(t, "CLUSTER", "SETSLOT", n, "MIGRATING", idTo)
	for _, s := range []*testredis.Server{to, from} {
		s.Do(t, "CLUSTER", "SETSLOT", n, "NODE", idTo)
	}
}

// TestSlotMovesFromNodeAhead: the batch of a node that went alone is refused in
// the middle, since a slot has moved to the other node, which has an older
// command open. Nothing of it is lost, whether it is applied at once or after a
// crash.
func TestSlotMovesFromNodeAhead(t *testing.T) {
	t.Parallel()
	const moved = route.SlotCount - 2
	m := "{" + route.SlotTag(moved) + "}m"
	t.Run("goes on", func(t *testing.T) {
		a, b, w, x, y := twoNodes(t)
		in := increments{150: x, 160: y, 170: m, 180: y, 190: y, 200: x}
		moveSlot(t, b, a, moved)
		in.write(t, w, 100, 190)
		sendFull(t, w)
		in.write(t, w, 190, 200)
		must(t, w.Flush(t.Context(), true))
		wantValue(t, a, m, "1")
		wantValue(t, b, y, "3")
		wantValue(t, a, x, "2")
	})
	t.Run("crash", func(t *testing.T) {
		a, b, w, x, y := twoNodes(t)
		in := increments{150: m, 160: y, 165: x, 170: m, 180: y, 190: x}
		moveSlot(t, b, a, moved)
		in.write(t, w, 100, 180)
		sendFull(t, w)
		must(t, w.answers(t.Context()))
		w.advanced = time.Now()
		crash(t, w, in, 190)
		wantValue(t, a, m, "2")
		wantValue(t, b, y, "2")
		wantValue(t, a, x, "2")
	})
}

// TestSlotMovesToNodeCutOff: the batch of the node that a slot moves to never
// arrived, and is applied after the command of that slot, which is older.
func TestSlotMovesToNodeCutOff(t *testing.T) {
	t.Parallel()
	a, b, w, x, y := twoNodes(t)
	in := increments{150: x, 160: y, 170: y, 180: y, 190: y, 200: x}
	in.write(t, w, 100, 190)
	n := w.owner[route.SlotCount-1]
	must(t, n.c.Close())
	moveSlot(t, a, b, 0)
	sendFull(t, w)
	if _, err := w.answerOf(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	w.advanced, w.force = time.Now(), false
	must(t, w.Flush(t.Context(), true))
	wantValue(t, b, x, "1")
	wantValue(t, b, y, "4")
	crash(t, w, in, 200)
	wantValue(t, b, x, "2")
	wantValue(t, b, y, "4")
}

// TestRollbackKeepsWhatWasNoted: a command of a transaction that never ended has
// made a key pending in the target, since its slot is behind its node: there it
// stays.
func TestRollbackKeepsWhatWasNoted(t *testing.T) {
	t.Parallel()
	a, b, w, x, y := twoNodes(t)
	in := increments{160: y, 170: y, 180: y, 190: y}
	in.write(t, w, 100, 190)
	sendFull(t, w)
	must(t, w.answers(t.Context()))
	moveSlot(t, a, b, 0)
	next, _ := successor(t, w)
	must(t, next.Flush(t.Context(), true))
	next.Pass(at(110))
	for _, end := range []func(){next.Rollback, func() { next.Pass(at(160)) }} {
		next.Save()
		must(t, next.Entail(t.Context(), command(t, "SUNIONSTORE", x, y).Args, 0, at(150)))
		end()
		must(t, next.Flush(t.Context(), true))
		next.Resume(next.Applied())
	}
	if next.PendingCount() != 1 {
		t.Errorf("%d keys are pending, want %s; the target has noted %v", next.PendingCount(), x, b.Do(t, "SMEMBERS", next.pendingKey(next.owner[0].tag)))
	}
}

// TestSlotMovesToNodeAhead: a command that is open when its slot moves to a
// node that is ahead of it is applied, and does not set that node's frontier
// back.
func TestSlotMovesToNodeAhead(t *testing.T) {
	t.Parallel()
	a, b, w, x, y := twoNodes(t)
	in := increments{150: x, 160: y, 170: y, 180: y, 190: y, 200: x}
	in.write(t, w, 100, 190)
	sendFull(t, w)
	if done, err := w.answerOf(t.Context(), w.owner[route.SlotCount-1]); !done || err != nil {
		t.Fatalf("done %v, %v", done, err)
	}
	moveSlot(t, a, b, 0)
	must(t, w.holder.c.Close()) // as when its slot moves as well
	must(t, w.KeepScript(t.Context(), "a hash", "return 1"))
	must(t, w.Flush(t.Context(), true))
	wantValue(t, b, x, "1")
	w.advanced = time.Now()
	crash(t, w, in, 200)
	wantValue(t, b, x, "2")
	wantValue(t, b, y, "4")
}

// TestNodeAloneIsCutOff: a node whose connection ends with a batch is mended with
// the others, in order.
func TestNodeAloneIsCutOff(t *testing.T) {
	t.Parallel()
	a, b, w, x, y := twoNodes(t)
	in := increments{150: x, 160: y, 170: y, 180: y, 190: y, 200: x}
	in.write(t, w, 100, 190)
	sendFull(t, w)
	b.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	done, err := w.answerOf(t.Context(), w.owner[route.SlotCount-1])
	must(t, err)
	if done {
		t.Log("the batch was answered before the connection ended")
	}
	in.write(t, w, 190, 200)
	must(t, w.Flush(t.Context(), true))
	wantValue(t, a, x, "2")
	wantValue(t, b, y, "4")
	if w.Applied().Offset != 200 {
		t.Errorf("applied up to %d, want 200", w.Applied().Offset)
	}
}
