package apply

import (
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

// crash takes the shard with another writer, which reads the stream again from
// the checkpoint.
func crash(t *testing.T, w *Cluster, in increments, to int64) {
	t.Helper()
	next := NewCluster(w.o)
	ck, err := next.Take(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = next.Close() })
	next.Resume(ck.Pos)
	in.write(t, next, ck.Pos.Offset, to)
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
	idA, idB := a.Do(t, "CLUSTER", "MYID").(string), b.Do(t, "CLUSTER", "MYID").(string)
	b.Do(t, "CLUSTER", "SETSLOT", "0", "IMPORTING", idA)
	a.Do(t, "CLUSTER", "SETSLOT", "0", "MIGRATING", idB)
	for _, s := range []*testredis.Server{b, a} {
		s.Do(t, "CLUSTER", "SETSLOT", "0", "NODE", idB)
	}
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
