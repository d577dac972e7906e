package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// nodeBatch is a run of commands for one node.
type nodeBatch struct {
	raw  []byte
	cmds []nodeCommand
	// plain: every command can be repeated at any time, so no script is needed.
	plain bool
	out   []byte // what was sent, where it is not raw
}

// nodeCommand is one command in raw.
type nodeCommand struct {
	from, body, to int // the framing of the array ends at body
	argc           int
	slot           int
	end            int64  // offset after it
	mark           int64  // the frontier when it has run: end, except for parts of a split command
	key            string // only of loose commands
	deadline       bool
	direct         bool // a script of the source, which a script cannot run
}

// batchMark is the size of a batch at Save.
type batchMark struct {
	b         *nodeBatch
	raw, cmds int
	plain     bool
}

func (b *nodeBatch) reset() {
	b.raw, b.cmds, b.plain = b.raw[:0], b.cmds[:0], true
	if cap(b.raw) > 4*BatchBytes {
		b.raw, b.out = nil, nil
	}
}

// Resume says where the stream begins.
func (t *Cluster) Resume(pos psync.Position) {
	t.now, t.flushed, t.committed = pos, pos, pos
	t.recorded, t.force, t.inTx = pos.Offset, true, false
	for _, n := range t.nodes {
		n.prev = nil
		n.cur.reset()
	}
}

// Save remembers the open batches.
func (t *Cluster) Save() {
	t.saved = t.saved[:0]
	for _, n := range t.nodes {
		t.saved = append(t.saved, batchMark{n.cur, len(n.cur.raw), len(n.cur.cmds), n.cur.plain})
	}
	t.savedNow, t.inTx = t.now, true
}

// Rollback returns to what Save remembered.
func (t *Cluster) Rollback() {
	for _, m := range t.saved {
		if m.b == nil {
			continue // it was sent; its frontier tells what is not to be repeated
		}
		m.b.raw, m.b.cmds, m.b.plain = m.b.raw[:m.raw], m.b.cmds[:m.cmds], m.plain
	}
	t.now, t.inTx = t.savedNow, false
}

// Pass notes a position after commands without data.
func (t *Cluster) Pass(end psync.Position) {
	t.now, t.inTx = end, false
	for _, n := range t.nodes {
		if n.prev != nil || len(n.cur.cmds) > 0 {
			return
		}
	}
	t.flushed, t.committed = end, end
}

// Full reports whether a node's batch should be sent.
func (t *Cluster) Full() bool {
	for _, n := range t.nodes {
		if len(n.cur.raw) >= BatchBytes || len(n.cur.cmds) >= t.o.BatchCount {
			return true
		}
	}
	return false
}

// Missing returns the keys that were to have a deadline and are not there.
func (t *Cluster) Missing() []Missing {
	m := t.missing
	t.missing = nil
	return m
}

// Applied is the position up to which every node has everything.
func (t *Cluster) Applied() psync.Position { return t.committed }

// CrossSlotError says that a command of the source needs keys of several slots
// of the target. Since 7.2 not even a script may do that on one node.
type CrossSlotError struct {
	Command string
	Key     string
}

func (e *CrossSlotError) Error() string {
	return fmt.Sprintf("%s of key %q needs keys in different slots of the target cluster; give its keys one hash tag on the source", e.Command, e.Key)
}

// Write adds one command to the batch of the node that has its slot.
func (t *Cluster) Write(ctx context.Context, c *resp.Command, db int, end psync.Position) error {
	if db != 0 {
		return &DataError{Command: string(c.Args[0]), DB: db, Err: errors.New("a Redis Cluster has database 0 only")}
	}
	// Whatever is flushed on the way there is flushed up to before it.
	if err := t.write(ctx, c, t.now.Offset, end); err != nil {
		return t.diverged(err)
	}
	t.now = end
	return nil
}

func (t *Cluster) write(ctx context.Context, c *resp.Command, start int64, end psync.Position) error {
	if len(c.Args) > 1 && route.ClassOf(c.Args[0]) == route.ClassPublish {
		return t.add(ctx, c.Raw, c.Args, route.Slot(c.Args[1]), end.Offset, end.Offset)
	}
	var err error
	if t.keys, err = route.Keys(t.keys[:0], c.Args); err != nil {
		return err
	}
	if len(t.keys) == 0 {
		return &route.UnknownError{Name: string(c.Args[0])}
	}
	slot := route.Slot(c.Args[t.keys[0]])
	one := true
	for _, k := range t.keys[1:] {
		one = one && route.Slot(c.Args[k]) == slot
	}
	_, splittable := route.Splittable(c.Args[0])
	switch parts := splitWide(c.Args); {
	case one && parts != nil:
		return t.addParts(ctx, parts, slot, start, end.Offset)
	case len(c.Args) > unpackLimit && !splittable:
		return &DataError{
			Command: string(c.Args[0]), Key: string(c.Args[t.keys[0]]),
			Err: fmt.Errorf("%d arguments are more than can be applied exactly once to a cluster (%d)", len(c.Args), unpackLimit),
		}
	case one && len(c.Args) <= unpackLimit:
		return t.add(ctx, c.Raw, c.Args, slot, end.Offset, end.Offset)
	}
	if per, ok := route.Splittable(c.Args[0]); ok {
		return t.addSplit(ctx, c.Args, per, start, end.Offset)
	}
	return &CrossSlotError{Command: string(c.Args[0]), Key: string(c.Args[t.keys[0]])}
}

// addSplit cuts a command into one per key. Of each node's parts only the
// last moves the frontier: done in part, it is done again, which changes
// nothing.
func (t *Cluster) addSplit(ctx context.Context, args [][]byte, per int, start, end int64) error {
	last := map[*clusterNode]int{}
	for i, k := range t.keys {
		last[t.owner[route.Slot(args[k])]] = i
	}
	keys := append([]int(nil), t.keys...)
	for i, k := range keys {
		parts := append([][]byte{args[0]}, args[k:k+per]...)
		slot := route.Slot(args[k])
		mark := start
		if last[t.owner[slot]] == i {
			mark = end
		}
		if err := t.add(ctx, appendArgs(nil, parts), parts, slot, end, mark); err != nil {
			return err
		}
	}
	return nil
}

func (t *Cluster) addParts(ctx context.Context, parts [][][]byte, slot int, start, end int64) error {
	for i, p := range parts {
		mark := start
		if i == len(parts)-1 {
			mark = end
		}
		if err := t.add(ctx, appendArgs(nil, p), p, slot, end, mark); err != nil {
			return err
		}
	}
	return nil
}

func appendArgs(dst []byte, args [][]byte) []byte {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = string(a)
	}
	return resp.AppendCommand(dst, words...)
}

// add puts one command into the batch of its node, unless the node has it.
func (t *Cluster) add(ctx context.Context, raw []byte, args [][]byte, slot int, end, mark int64) error {
	n := t.owner[slot]
	if n.done(slot, end) {
		return nil
	}
	body := 0
	for raw[body] != '\n' {
		body++
	}
	direct := route.ClassOf(args[0]) == route.ClassEval
	cmd := nodeCommand{body: body + 1, to: len(raw), argc: len(args), slot: slot, end: end, mark: mark, direct: direct}
	if direct || end <= n.frontier {
		// A slot that is behind its node catches up one command at a time,
		// and a script of the source cannot run inside of ours.
		if err := t.Flush(ctx, true); err != nil {
			return err
		}
		return t.resolve(ctx, []looseCommand{newLoose(cmd, raw)}, nil)
	}
	b := n.cur
	if len(b.cmds) == 0 {
		b.reset()
	}
	at := len(b.raw)
	b.raw = append(b.raw, raw...)
	cmd.from, cmd.body, cmd.to = at, at+cmd.body, at+cmd.to
	b.cmds = append(b.cmds, cmd)
	b.cmds[len(b.cmds)-1].deadline = deadline(args)
	b.plain = b.plain && repeatable(args)
	return nil
}

// repeatable reports whether a command may be applied again at any later time
// before the commands after it are applied again too.
func repeatable(args [][]byte) bool {
	switch {
	case route.EqualFold(args[0], "set"):
		return len(args) == 3
	case route.EqualFold(args[0], "del"), route.EqualFold(args[0], "unlink"):
		return true
	}
	return false
}

// Flush sends the open batches, each after the one before it was answered.
func (t *Cluster) Flush(ctx context.Context, wait bool) error {
	if err := t.answers(ctx); err != nil {
		return err
	}
	if err := t.advance(ctx); err != nil {
		return err
	}
	for _, n := range t.nodes {
		if len(n.cur.cmds) > 0 {
			t.send(n)
		}
	}
	t.flushed = t.now
	if t.inTx {
		t.flushed = t.savedNow // no checkpoint inside a transaction
	}
	if !wait {
		return nil
	}
	if err := t.answers(ctx); err != nil {
		return err
	}
	return t.advance(ctx)
}

// send writes the open batch of a node. A connection that fails shows when
// the answer is read.
func (t *Cluster) send(n *clusterNode) {
	b := n.cur
	for i := range t.saved {
		if t.saved[i].b == b {
			t.saved[i].b = nil
		}
	}
	if n.cur = n.spare; n.cur == nil {
		n.cur = &nodeBatch{}
	}
	n.spare = nil
	n.cur.reset()
	n.prev = b
	out := b.raw
	if !b.plain {
		b.out = t.script(b.out[:0], n, b)
		out = b.out
	}
	if n.c == nil {
		return
	}
	if _, err := n.c.Write(out); err != nil {
		_ = n.c.Close()
		n.c = nil
	}
}

// advance writes the frontier of every node, at most once a second and only
// while nothing is in flight.
func (t *Cluster) advance(ctx context.Context) error {
	if !t.force && (t.committed.Offset <= t.recorded || time.Since(t.advanced) < time.Second) {
		return nil
	}
	var b backoff
	for {
		err := t.writeFrontiers()
		if err == nil {
			t.force = false
			t.recorded, t.advanced = t.committed.Offset, time.Now()
			return nil
		}
		if serverSaid(err) && transient(err) && !resp.IsCode(err, "READONLY", "MOVED", "CLUSTERDOWN", "MASTERDOWN", "NOPERM", "NOAUTH") {
			if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
				return err
			}
			continue
		}
		if !transient(err) {
			return err
		}
		if _, err := t.recover(ctx, err); err != nil {
			return err
		}
	}
}

func (t *Cluster) writeFrontiers() error {
	offset := strconv.FormatInt(t.committed.Offset, 10)
	for _, n := range t.nodes {
		if n.c == nil {
			return errGone
		}
		// committed covers every slot, also those that were behind; what the
		// node has beyond it stays.
		if t.committed.Offset >= n.frontier {
			if _, err := n.c.Do("HSET", t.frontierKey(n.tag), frontierOffset, offset); err != nil {
				return err
			}
			n.frontier, n.behind = t.committed.Offset, nil
		}
	}
	key := wire.CheckpointKey(t.o.Identity.Pair, t.o.Identity.Shard)
	_, err := t.holder.c.Do(append([]string{"HSET", key}, fence.Fields(t.o.Identity, t.committed, t.o.Seen())...)...)
	return err
}

// diverged makes a refused command void the checkpoint.
func (t *Cluster) diverged(err error) error {
	var data *DataError
	if !errors.As(err, &data) || t.holder == nil || t.holder.c == nil || unreadable(err) {
		return err
	}
	key := wire.CheckpointKey(t.o.Identity.Pair, t.o.Identity.Shard)
	if _, markErr := t.holder.c.Do(append([]string{"HSET", key}, fence.FullFields(t.o.Identity)...)...); markErr != nil {
		return errors.Join(err, fmt.Errorf("marking the target as incomplete: %w", markErr))
	}
	return err
}
