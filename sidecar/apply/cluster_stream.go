package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	told  bool   // what is ahead was noted before it, which is answered first
	out   []byte // what was sent
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
	careful        bool // see guarded
	packed         bool // in the script that is being sent, see pack
	kind           commandKind
}

type commandKind uint8

const (
	forwarded commandKind = iota
	direct                // a script of the source, which a script cannot run
	part                  // of a command that is too wide for a script; not to be done twice
	noted                 // SADD of pending keys; the set's name is put in when it is sent
	settled               // SREM of keys that are not pending any more
)

func (c *nodeCommand) ours() bool { return c.kind == noted || c.kind == settled }

func (b *nodeBatch) reset() {
	b.raw, b.cmds, b.plain = b.raw[:0], b.cmds[:0], true
	if cap(b.raw) > 4*BatchBytes {
		b.raw, b.out = nil, nil
	}
}

// Resume says where the stream begins.
func (t *Cluster) Resume(pos psync.Position) {
	t.now, t.flushed, t.committed, t.streaming = pos, pos, pos, true
	t.recorded, t.force, t.inTx, t.writing = pos.Offset, true, false, pos.Offset
	t.rewind(pos.Offset, t.floor)
	t.late = nil
	for _, n := range t.nodes {
		n.prev = nil
		n.cur.reset()
	}
}

// Save remembers where the open batches are in the stream.
func (t *Cluster) Save() {
	t.savedNow, t.inTx, t.sentInTx = t.now, true, false
	t.save()
}

// Rollback takes out of the open batches what came since Save. What was sent
// since then has run; the frontiers tell what is not to be repeated of it.
func (t *Cluster) Rollback() {
	for _, n := range t.nodes {
		n.cur.cut(t.savedNow.Offset)
	}
	t.late = slices.DeleteFunc(t.late, func(c looseCommand) bool { return c.end > t.savedNow.Offset })
	if t.sentInTx {
		t.added = nil // so may be the names of keys that became pending
	}
	t.now, t.inTx = t.savedNow, false
	t.rollback()
}

// cut takes the commands out that end after an offset; they are the last ones.
func (b *nodeBatch) cut(offset int64) {
	i := len(b.cmds)
	for i > 0 && b.cmds[i-1].end > offset {
		i--
	}
	if i < len(b.cmds) {
		b.raw, b.cmds, b.plain = b.raw[:b.cmds[i].from], b.cmds[:i], i == 0
	}
}

// Pass notes a position after commands without data.
func (t *Cluster) Pass(end psync.Position) {
	t.now, t.inTx = end, false
	if len(t.late) > 0 {
		return
	}
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
		if n.cur.full(&t.o) {
			return true
		}
	}
	return false
}

func (b *nodeBatch) full(o *Options) bool {
	return len(b.raw) >= BatchBytes || len(b.cmds) >= o.BatchCount
}

// Applied is the position up to which every node has everything.
func (t *Cluster) Applied() psync.Position { return t.committed }

// Ahead is the offset up to which some node may have something of the stream.
func (t *Cluster) Ahead() int64 { return t.ahead }

// Prefix is the offset up to which the target is a prefix of the history.
func (t *Cluster) Prefix() int64 { return t.complete(t.committed.Offset) }

// Write adds one command to the batch of the node that has its slot.
func (t *Cluster) Write(ctx context.Context, c *resp.Command, db int, end psync.Position) error {
	if db != 0 {
		return noDatabase(c.Args, db)
	}
	// Whatever is flushed on the way there is flushed up to before it.
	t.writing = end.Offset
	sent, err := t.write(ctx, c, t.now.Offset, end)
	if err != nil {
		return t.diverged(err)
	}
	if c.More {
		return nil // the position is before all parts until the last one
	}
	if t.now = end; !sent && !t.inTx {
		t.Pass(end)
	}
	return nil
}

func noDatabase(args [][]byte, db int) error {
	return &DataError{Command: string(args[0]), DB: db, Err: errors.New("a Redis Cluster has database 0 only")}
}

// write reports whether there is anything to be written.
func (t *Cluster) write(ctx context.Context, c *resp.Command, start int64, end psync.Position) (bool, error) {
	if len(c.Args) > 1 && route.ClassOf(c.Args[0]) == route.ClassPublish {
		return true, t.add(ctx, c.Raw, c.Args, forwarded, route.Slot(c.Args[1]), end.Offset, end.Offset)
	}
	judged := t.screen(c.Args, 0, end.Offset)
	var err error
	if t.keys, err = route.Keys(t.keys[:0], c.Args); err != nil {
		return false, err
	}
	switch {
	case len(t.keys) > 0:
	case route.ClassOf(c.Args[0]) == route.ClassEval:
		return false, &DataError{Command: string(c.Args[0]), Err: errors.New("a script of the source declares no keys, so no node of a cluster can be told to run it")}
	default:
		return false, &route.UnknownError{Name: string(c.Args[0])}
	}
	slot := route.Slot(c.Args[t.keys[0]])
	one := !route.Outside(c.Args)
	for _, k := range t.keys[1:] {
		one = one && route.Slot(c.Args[k]) == slot
	}
	per, splittable := route.Splittable(c.Args[0])
	wide := len(c.Args) > unpackLimit
	switch {
	case judged == leave:
		return false, nil
	case judged == entails:
		return t.entail(ctx, c.Args, start, end.Offset)
	case splittable && (!one || wide || judged == partly || c.Part):
		return true, t.addSplit(ctx, c, per, start, end.Offset)
	case !one && route.EqualFold(c.Args[0], "msetnx"):
		c.Args[0] = []byte("MSET") // it took effect on the source, so it did set them all
		return true, t.addSplit(ctx, c, 2, start, end.Offset)
	case !one:
		return t.entail(ctx, c.Args, start, end.Offset)
	case !wide:
		kind := forwarded
		if route.ClassOf(c.Args[0]) == route.ClassEval {
			kind = direct
		}
		return true, t.add(ctx, c.Raw, c.Args, kind, slot, end.Offset, end.Offset)
	}
	parts := splitWide(c.Args)
	if parts == nil || t.guard || end.Offset <= t.owner[slot].frontier {
		return t.entail(ctx, c.Args, start, end.Offset)
	}
	return true, t.addParts(ctx, parts, slot, start, end.Offset)
}

// addSplit cuts a command into one per key and leaves out the pending ones. Of
// each node's parts only the last moves the frontier: done in part, it is done
// again, which changes nothing. None does for a part of a longer command: the
// next command after it will.
func (t *Cluster) addSplit(ctx context.Context, c *resp.Command, per int, start, end int64) error {
	args := c.Args
	keys := make([]int, 0, len(t.keys))
	last := map[*clusterNode]int{}
	for _, k := range t.keys {
		if t.m[Key{0, string(args[k])}] == nil {
			last[t.owner[route.Slot(args[k])]] = len(keys)
			keys = append(keys, k)
		}
	}
	for i, k := range keys {
		parts := append([][]byte{args[0]}, args[k:k+per]...)
		slot := route.Slot(args[k])
		mark := start
		if last[t.owner[slot]] == i && !c.Part {
			mark = end
		}
		if err := t.add(ctx, framedArgs(parts), parts, forwarded, slot, end, mark); err != nil {
			return err
		}
	}
	return nil
}

// addParts adds the parts of a command that is too wide for a script. They are
// in one batch, so they are applied together or not at all; where they cannot
// be, its key becomes pending (see whole).
func (t *Cluster) addParts(ctx context.Context, parts [][][]byte, slot int, start, end int64) error {
	for i, p := range parts {
		mark := start
		if i == len(parts)-1 {
			mark = end
		}
		if err := t.add(ctx, framedArgs(p), p, part, slot, end, mark); err != nil {
			return err
		}
	}
	return nil
}

// framedArgs is a command as it goes to the socket.
func framedArgs(args [][]byte) []byte {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = string(a)
	}
	return resp.AppendCommand(nil, words...)
}

// add puts one command into the batch of its node, unless the node has it.
func (t *Cluster) add(ctx context.Context, raw []byte, args [][]byte, kind commandKind, slot int, end, mark int64) error {
	n := t.owner[slot]
	if n.done(slot, end) {
		return nil
	}
	cmd := framed(raw, len(args), kind, slot, end, mark)
	cmd.careful = kind == forwarded && t.guard && guarded(args)
	if kind == direct || end <= n.frontier {
		// A slot that is behind its node catches up one command at a time,
		// and a script of the source cannot run inside of ours.
		if err := t.Flush(ctx, true); err != nil {
			return err
		}
		return t.resolve(ctx, t.screenLoose([]looseCommand{newLoose(cmd, raw)}), nil)
	}
	b := n.cur
	if len(b.cmds) == 0 {
		b.reset()
	}
	cmd.deadline = deadline(args)
	b.put(cmd, raw)
	b.plain = b.plain && repeatable(args)
	return nil
}

// framed describes a command that is in raw from its beginning.
func framed(raw []byte, argc int, kind commandKind, slot int, end, mark int64) nodeCommand {
	body := 0
	for raw[body] != '\n' {
		body++
	}
	return nodeCommand{body: body + 1, to: len(raw), argc: argc, kind: kind, slot: slot, end: end, mark: mark}
}

// put appends a command; cmd is as framed made it.
func (b *nodeBatch) put(cmd nodeCommand, raw []byte) {
	at := len(b.raw)
	b.raw = append(b.raw, raw...)
	cmd.from, cmd.body, cmd.to = at, at+cmd.body, at+cmd.to
	b.cmds = append(b.cmds, cmd)
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

// flushEvery is how long a node may go on without the others: what Applied
// says moves only when all of them are flushed.
const flushEvery = 50 * time.Millisecond

// SendFull sends the batches of the nodes that are full, each after the one
// before it was answered. The other nodes are not waited for: each has a
// frontier of its own. Where keys may be pending the nodes go together.
func (t *Cluster) SendFull(ctx context.Context) (bool, error) {
	if t.inTx || t.force || t.guard || len(t.m) > 0 || len(t.late) > 0 || time.Since(t.flushedAt) > flushEvery {
		return false, nil
	}
	for _, n := range t.nodes {
		if !n.cur.full(&t.o) {
			continue
		}
		if done, err := t.answerOf(ctx, n); !done || err != nil {
			return false, err
		}
		t.send(n)
	}
	return true, nil
}

// Flush sends the open batches, each after the one before it was answered.
func (t *Cluster) Flush(ctx context.Context, wait bool) error {
	if err := t.answers(ctx); err != nil {
		return err
	}
	if err := t.advance(ctx); err != nil {
		return err
	}
	if err := t.catchUp(ctx); err != nil { // the nodes may be other ones now
		return err
	}
	for _, n := range t.nodes {
		if len(n.cur.cmds) > 0 {
			t.send(n)
		}
	}
	t.flushed, t.flushedAt = t.now, time.Now()
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

// Checkpoint applies the open batches and writes the checkpoint after them.
func (t *Cluster) Checkpoint(ctx context.Context) error {
	if err := t.Flush(ctx, true); err != nil {
		return err
	}
	t.force = true
	return t.advance(ctx)
}

// send writes the open batch of a node. A connection that fails shows when
// the answer is read.
func (t *Cluster) send(n *clusterNode) {
	b := n.cur
	t.sentInTx = t.sentInTx || t.inTx
	if n.cur = n.spare; n.cur == nil {
		n.cur = &nodeBatch{}
	}
	n.spare = nil
	n.cur.reset()
	n.prev = b
	t.ahead = max(t.ahead, b.cmds[len(b.cmds)-1].end)
	b.out = b.out[:0]
	if b.told = b.plain || b.passes(); b.told {
		b.out = resp.AppendCommand(b.out, t.tellAhead(n)...)
	}
	if b.plain {
		b.out = append(b.out, b.raw...)
	} else {
		b.out = t.script(b.out, n, frontierOffset, b.cmds, b.raw)
	}
	if n.c == nil {
		return
	}
	if err := t.o.write(n.c, b.out); err != nil {
		_ = n.c.Close()
		n.c = nil
	}
}

// tellAhead is the command that notes in a node how far the target may be.
func (t *Cluster) tellAhead(n *clusterNode) []string {
	return []string{"HSET", t.frontierKey(n.tag), frontierAhead, strconv.FormatInt(t.ahead, 10)}
}

// passes reports whether the frontier does not say of every command of the
// batch that it has run.
func (b *nodeBatch) passes() bool {
	for i := range b.cmds {
		if b.cmds[i].mark < b.cmds[i].end {
			return true
		}
	}
	return false
}

// advance writes the frontier of every node, at most once a second and only
// while nothing is in flight.
func (t *Cluster) advance(ctx context.Context) error {
	moved := t.committed.Offset > t.recorded || len(t.m) != t.recordedPending
	if !t.force && (!moved || time.Since(t.advanced) < time.Second) {
		return nil
	}
	var b backoff
	for {
		err := t.writeFrontiers()
		if err == nil {
			t.force = false
			t.recorded, t.recordedPending, t.advanced = t.committed.Offset, len(t.m), time.Now()
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
	fields := append(fence.Fields(t.o.Identity, t.committed, t.o.Seen()), fence.PendingField(len(t.m))...)
	_, err := t.holder.c.Do(append([]string{"HSET", key}, fields...)...)
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
