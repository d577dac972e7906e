package apply

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// drill is a stream that is applied to a cluster while its slots move, its
// connections end and its writers crash.
type drill struct {
	t      *testing.T
	rnd    *rand.Rand
	nodes  *testredis.Cluster
	w      *Cluster
	stream []pushed
	at     int // commands of the stream that were written
	inTx   bool
	slots  []int                     // of the keys
	owner  map[int]*testredis.Server // of slots
	moving int                       // slot, -1 for none
	to     *testredis.Server         // where it goes
	counts map[string]int
}

// pushed is one command of the stream, RPUSH key offset.
type pushed struct {
	key          string
	begins, ends bool // a transaction
}

func offsetOf(commands int) int64 { return 100 + 10*int64(commands) }

// TestSlotsMoveUnderBatches compares what a stream has left in a cluster with
// what is in the stream. SEED of a failure repeats its decisions, but not how
// they fall together with what the servers do.
func TestSlotsMoveUnderBatches(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			d := newDrill(t, seed)
			for d.at < len(d.stream) {
				d.step()
			}
			d.finishMove()
			d.flush(true)
			for d.at < len(d.stream) { // it was rewound
				d.step()
			}
			t.Log(d.counts)
			if d.counts["went alone"] == 0 || d.counts["crashed"] == 0 || d.counts["slots moved"] == 0 {
				t.Errorf("%v: nothing was put to the test", d.counts)
			}
			d.compare()
		})
	}
}

func newDrill(t *testing.T, seed uint64) *drill {
	t.Helper()
	d := &drill{t: t, rnd: rand.New(rand.NewPCG(seed, 5)), nodes: testredis.StartCluster(t, 3, 0), moving: -1}
	d.owner, d.counts = map[int]*testredis.Server{}, map[string]int{}
	o := options(d.nodes.Addrs()...)
	o.BatchCount = 6
	d.w = NewCluster(o)
	copied(t, d.w)
	for i := range 12 {
		slot := 17 + 1400*i
		d.slots = append(d.slots, slot)
		d.owner[slot] = d.nodes.NodeAt(d.w.owner[slot].addr)
	}
	hot, left := 0, 0 // left: commands of the open transaction
	for i := range 1500 {
		if d.rnd.IntN(30) == 0 {
			hot = d.rnd.IntN(len(d.slots))
		}
		slot := d.slots[hot]
		if d.rnd.IntN(3) == 0 {
			slot = d.slots[d.rnd.IntN(len(d.slots))]
		}
		c := pushed{key: "{" + route.SlotTag(slot) + "}"}
		switch {
		case left > 0:
			left--
			c.ends = left == 0
		case d.rnd.IntN(40) == 0 && i < 1480:
			c.begins, left = true, 1+d.rnd.IntN(8)
		}
		d.stream = append(d.stream, c)
	}
	return d
}

// step writes one command, sends as the stream does, and disturbs.
func (d *drill) step() {
	c := d.stream[d.at]
	if c.begins {
		d.w.Save()
		d.inTx = true
	}
	d.at++
	end := offsetOf(d.at)
	write(d.t, d.w, end, "RPUSH", c.key, strconv.FormatInt(end, 10))
	if c.ends && d.inTx {
		d.w.Pass(at(end))
		d.inTx = false
	}
	if d.w.Applied().Offset > end {
		d.t.Fatalf("applied up to %d, written up to %d", d.w.Applied().Offset, end)
	}
	if d.w.Full() && !d.inTx {
		d.sendFull()
	}
	switch n := d.rnd.IntN(400); {
	case n < 3:
		d.crash()
	case n < 10:
		d.counts["connections ended"]++
		for _, m := range d.nodes.Masters() {
			if d.rnd.IntN(2) == 0 {
				m.Do(d.t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			}
		}
	case n < 30:
		d.move()
	case n < 34:
		d.endSession()
	case n < 36 && !d.inTx:
		d.flush(true)
	}
}

func (d *drill) sendFull() {
	d.w.flushedAt = time.Now()
	if d.rnd.IntN(12) == 0 {
		d.w.flushedAt = time.Time{}
	}
	switch sent, err := d.w.SendFull(d.t.Context()); {
	case err != nil:
		d.rewound(err)
	case sent:
		d.counts["went alone"]++
	default:
		d.flush(false)
	}
}

// flush reports whether the stream goes on where it was.
func (d *drill) flush(wait bool) bool {
	err := d.w.Flush(d.t.Context(), wait)
	if err != nil {
		d.rewound(err)
	}
	return err == nil
}

func (d *drill) rewound(err error) {
	d.t.Helper()
	if !errors.Is(err, ErrRewound) {
		d.t.Fatalf("after %d commands: %v", d.at, err)
	}
	d.crash()
}

// crash takes the shard with another writer and reads the stream again.
func (d *drill) crash() {
	d.counts["crashed"]++
	next, from := successor(d.t, d.w)
	d.w = next
	d.readFrom(from)
}

func (d *drill) readFrom(offset int64) {
	d.at, d.inTx = int(offset-100)/10, false
	if offset != offsetOf(d.at) {
		d.t.Fatalf("%d is not the end of a command", offset)
	}
}

// endSession is the source's connection that ends, in the middle of a
// transaction or not.
func (d *drill) endSession() {
	d.counts["sessions ended"]++
	if d.inTx {
		d.w.Rollback()
	}
	if d.inTx = false; d.flush(true) {
		d.w.Resume(d.w.Applied())
		d.readFrom(d.w.Applied().Offset)
	}
}

// move begins to move a slot, goes on with it, or comes to its end.
func (d *drill) move() {
	switch {
	case d.moving < 0:
		d.beginMove()
	case d.rnd.IntN(2) == 0:
		d.migrate(1)
	default:
		d.finishMove()
	}
}

func (d *drill) beginMove() {
	slot := d.slots[d.rnd.IntN(len(d.slots))]
	ours := d.rnd.IntN(4) == 0 // a slot with a frontier, or with the keys of the pair
	if ours {
		slot = route.Slot([]byte("{" + d.w.nodes[d.rnd.IntN(len(d.w.nodes))].tag + "}"))
		if d.rnd.IntN(4) == 0 {
			slot = route.Slot([]byte(wire.FenceKey("p")))
		}
		if d.owner[slot] == nil { // it has not moved
			d.owner[slot] = d.nodes.NodeAt(d.w.owner[slot].addr)
		}
	}
	to := d.nodes.Masters()[d.rnd.IntN(3)]
	from := d.owner[slot]
	if keys, _ := from.Do(d.t, "CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slot)).(int64); to == from || ours && keys == 0 {
		return
	}
	d.moving, d.to = slot, to
	n := strconv.Itoa(slot)
	to.Do(d.t, "CLUSTER", "SETSLOT", n, "IMPORTING", from.Do(d.t, "CLUSTER", "MYID").(string))
	from.Do(d.t, "CLUSTER", "SETSLOT", n, "MIGRATING", to.Do(d.t, "CLUSTER", "MYID").(string))
	if ours { // what waits for keys of two nodes would wait for ever: nobody else moves them on
		d.finishMove()
	}
}

func (d *drill) migrate(keys int) {
	from := d.owner[d.moving]
	host, port, err := net.SplitHostPort(d.to.Addr)
	must(d.t, err)
	for _, k := range from.Do(d.t, "CLUSTER", "GETKEYSINSLOT", strconv.Itoa(d.moving), strconv.Itoa(keys)).([]any) {
		from.Do(d.t, "MIGRATE", host, port, k.(string), "0", "5000")
	}
}

func (d *drill) finishMove() {
	if d.moving < 0 {
		return
	}
	d.migrate(1000)
	d.awaitEpochs()
	id := d.to.Do(d.t, "CLUSTER", "MYID").(string)
	d.to.Do(d.t, "CLUSTER", "SETSLOT", strconv.Itoa(d.moving), "NODE", id)
	for _, m := range d.nodes.Masters() {
		m.Do(d.t, "CLUSTER", "SETSLOT", strconv.Itoa(d.moving), "NODE", id)
	}
	d.owner[d.moving], d.moving = d.to, -1
	d.counts["slots moved"]++
}

// awaitEpochs waits until the node that takes a slot knows how many epochs there
// were. Else it may take the one of another node, which then gives way with a
// higher epoch and claims what it has handed over; keys are lost
// (cluster.c, clusterHandleConfigEpochCollision).
func (d *drill) awaitEpochs() {
	epoch := func(s *testredis.Server) int {
		_, after, _ := strings.Cut(s.Do(d.t, "CLUSTER", "INFO").(string), "cluster_current_epoch:")
		text, _, _ := strings.Cut(after, "\r\n")
		n, err := strconv.Atoi(text)
		must(d.t, err)
		return n
	}
	for _, m := range d.nodes.Masters() {
		for deadline := time.Now().Add(20 * time.Second); epoch(d.to) < epoch(m); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				d.t.Fatalf("%s does not hear of the epochs of %s", d.to.Addr, m.Addr)
			}
		}
	}
}

func (d *drill) compare() {
	want := map[string][]any{}
	for i, c := range d.stream {
		want[c.key] = append(want[c.key], strconv.FormatInt(offsetOf(i+1), 10))
	}
	for key, list := range want {
		got := d.owner[route.Slot([]byte(key))].Do(d.t, "LRANGE", key, "0", "-1").([]any)
		if i := firstDifference(got, list); i >= 0 {
			d.t.Errorf("%s has %d elements, want %d; they differ from element %d on", key, len(got), len(list), i)
		}
	}
}

func firstDifference(a, b []any) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}
