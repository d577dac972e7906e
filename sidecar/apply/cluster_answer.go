package apply

import (
	"context"
	"errors"
	"math"
	"sort"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// answered is what the answers to batches have left to do.
type answered struct {
	loose  []looseCommand // not applied
	cause  error          // why; nil when there are none
	broken bool           // a connection is gone with its answers
	upTo   int64          // end of the last command in flight
}

// answers reads the answers of all batches in flight and does again, in
// order, what was not applied.
func (t *Cluster) answers(ctx context.Context) error {
	known := len(t.m)
	var all answered
	for _, n := range t.nodes {
		if err := t.readAnswer(n, &all); err != nil {
			return err
		}
	}
	return t.mend(ctx, &all, known)
}

// answerOf reads the answer of one node's batch in flight. It is done when
// everything was applied; else the answers of all nodes are read and mended.
func (t *Cluster) answerOf(ctx context.Context, n *clusterNode) (done bool, err error) {
	known := len(t.m)
	var all answered
	if err := t.readAnswer(n, &all); err != nil {
		return false, err
	}
	if !all.broken && len(all.loose) == 0 && len(t.m) == known {
		return true, nil
	}
	for _, o := range t.nodes {
		if o == n {
			continue
		}
		if err := t.readAnswer(o, &all); err != nil {
			return false, err
		}
	}
	return false, t.mend(ctx, &all, known)
}

// readAnswer reads the answer of a node's batch in flight, if there is one. An
// error is one that ends the copy.
func (t *Cluster) readAnswer(n *clusterNode, all *answered) error {
	if n.prev == nil {
		return nil
	}
	all.upTo = max(all.upTo, n.prev.cmds[len(n.prev.cmds)-1].end)
	left, err := t.answer(n)
	switch {
	case err == nil:
	case errors.As(err, new(*resp.ReadError)):
		all.broken, all.cause = true, err
		return nil
	case transient(err):
		all.cause = err
	default:
		return t.diverged(err)
	}
	all.loose = append(all.loose, left...)
	n.spare, n.prev = n.prev, nil
	return nil
}

// mend applies what the answers of all nodes have left. known is how many
// pending keys there were before them.
func (t *Cluster) mend(ctx context.Context, all *answered, known int) error {
	var open []looseCommand
	if all.broken || len(all.loose) > 0 {
		// Some nodes were ahead of what others have open. It is done in its place
		// of the stream: a node's frontier may not pass what is open, and the
		// slots of these may be that node's by now.
		open = t.takeOpen(all.upTo)
	}
	if all.broken {
		more, err := t.recover(ctx, all.cause)
		if err != nil {
			return err
		}
		all.loose = append(all.loose, more...)
	}
	all.loose = append(all.loose, t.screenLoose(open)...)
	if len(all.loose) > 0 {
		if err := t.resolve(ctx, all.loose, all.cause); err != nil {
			return t.diverged(err)
		}
	}
	t.committed = t.flushed
	if len(t.m) > known {
		t.divide() // what is open may have to be left out
	}
	return t.catchUp(ctx)
}

// catchUp applies the open commands that divide has taken out of the batches,
// and those between them.
func (t *Cluster) catchUp(ctx context.Context) error {
	for len(t.late) > 0 {
		sortLoose(t.late)
		late := t.screenLoose(t.takeOpen(t.late[len(t.late)-1].end))
		if err := t.resolve(ctx, late, nil); err != nil {
			return t.diverged(err)
		}
	}
	return nil
}

// answer reads the answer to a node's batch and returns the commands that were
// not applied.
func (t *Cluster) answer(n *clusterNode) ([]looseCommand, error) {
	if n.c == nil {
		return nil, errGone
	}
	b := n.prev
	if b.plain {
		return b.answerPlain(n)
	}
	if b.told {
		// Where it is refused, so is the script, which writes the same key, or
		// its commands are; a full memory lets DEL pass, which the next note tells.
		if err := resp.SkipReply(n.c.W); errors.As(err, new(*resp.ReadError)) {
			return nil, err
		}
	}
	r, err := resp.ReadReply(n.c.W)
	if err != nil {
		return nil, &resp.ReadError{Err: err}
	}
	if err := r.Err(); err != nil { // the script did not start
		if !transient(err) {
			return nil, &DataError{Command: "a batch at " + n.addr, Err: err}
		}
		return b.loose(0), err
	}
	if r.Kind == ':' {
		n.moved(b.cmds[0].slot, b.cmds[len(b.cmds)-1].mark)
		return nil, nil
	}
	failed, missing, err := scriptAnswer(&r, len(b.cmds))
	if err != nil {
		return nil, err
	}
	for _, i := range missing {
		t.expired(b.take(i).key)
	}
	if failed == nil {
		n.moved(b.cmds[0].slot, b.cmds[len(b.cmds)-1].mark)
		return nil, nil
	}
	at, err := failed.at, failed.err
	if at > 0 {
		n.moved(b.cmds[at-1].slot, b.cmds[at-1].mark)
	}
	if !transient(err) {
		return nil, dataError(b.raw, at, err)
	}
	return b.loose(at), err
}

func (b *nodeBatch) answerPlain(n *clusterNode) (left []looseCommand, first error) {
	if first = resp.SkipReply(n.c.W); first != nil { // to HSET of frontierAhead
		if errors.As(first, new(*resp.ReadError)) || !transient(first) {
			return nil, first
		}
	}
	for i := range b.cmds {
		err := resp.SkipReply(n.c.W)
		if err != nil && errors.As(err, new(*resp.ReadError)) {
			return nil, err
		}
		if err != nil && !transient(err) {
			return nil, dataError(b.raw, i, err)
		}
		if first == nil {
			first = err
		}
		// What came after a refused command is done again after it, also what
		// was done already: it can be repeated.
		if first != nil {
			left = append(left, b.take(i))
		}
	}
	return left, first
}

// looseCommand is a command outside of a batch.
type looseCommand struct {
	nodeCommand
	raw []byte
}

func (b *nodeBatch) take(i int) looseCommand {
	c := b.cmds[i]
	raw := b.raw[c.from:c.to]
	c.body -= c.from
	c.to -= c.from
	c.from = 0
	return newLoose(c, raw)
}

// newLoose copies a command out of its buffer and finds its first key.
func newLoose(c nodeCommand, raw []byte) looseCommand {
	l := looseCommand{c, append([]byte(nil), raw...)}
	args := parseArgs(l.raw)
	l.deadline = deadline(args)
	if keys, err := route.Keys(nil, args); err == nil && len(keys) > 0 {
		l.key = string(args[keys[0]])
	} else if len(args) > 1 {
		l.key = string(args[1]) // a channel
	}
	return l
}

// loose returns copies of the commands from i on.
func (b *nodeBatch) loose(i int) []looseCommand {
	var list []looseCommand
	for ; i < len(b.cmds); i++ {
		list = append(list, b.take(i))
	}
	return list
}

// recover connects again after a lost connection and returns the commands in
// flight that were not applied.
func (t *Cluster) recover(ctx context.Context, cause error) ([]looseCommand, error) {
	old := append([]*clusterNode(nil), t.nodes...)
	if err := t.reconnect(ctx, cause); err != nil {
		return nil, err
	}
	for _, o := range old {
		if t.node(o.id, o.runID) == nil {
			// A failover: what the old master had acknowledged, and did not
			// note in a frontier, may be lost.
			return nil, ErrRewound
		}
	}
	var loose []looseCommand
	for _, n := range t.nodes {
		if n.prev == nil {
			continue
		}
		for i, c := range n.prev.cmds {
			if o := t.owner[c.slot]; c.kind == settled || !o.done(c.slot, c.end) {
				loose = append(loose, n.prev.take(i))
			}
		}
		n.spare, n.prev = n.prev, nil
	}
	return loose, nil
}

func (t *Cluster) node(id, runID string) *clusterNode {
	for _, n := range t.nodes {
		if n.id == id && n.runID == runID {
			return n
		}
	}
	return nil
}

// reconnect takes the shard again, until it works. Open batches are divided
// anew.
func (t *Cluster) reconnect(ctx context.Context, cause error) error {
	var b backoff
	err := cause
	for {
		if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
			return err
		}
		var ck fence.Checkpoint
		if ck, err = t.connect(ctx); err != nil {
			continue
		}
		if !ck.Usable() {
			return ErrRewound
		}
		t.o.Waiting(nil)
		t.divide()
		return nil
	}
}

// divide puts the commands of the open batches to the nodes that have their
// slots now, and leaves out those on keys that have become pending. One whose
// slot has moved to a node that is ahead of it is late: a batch would set that
// node's frontier back.
func (t *Cluster) divide() {
	all := t.takeOpen(math.MaxInt64)
	sortLoose(all)
	for _, c := range t.screenLoose(all) {
		n := t.owner[c.slot]
		switch {
		case c.kind != settled && n.done(c.slot, c.end):
		case c.end < n.frontier || c.end == n.frontier && c.kind != settled:
			t.late = append(t.late, c)
		default:
			n.cur.put(c.nodeCommand, c.raw)
			n.cur.plain = false
		}
	}
}

// takeOpen takes the open commands that end up to an offset out of the batches.
func (t *Cluster) takeOpen(upTo int64) []looseCommand {
	var taken, rest []looseCommand
	for _, c := range t.late {
		if c.end <= upTo {
			taken = append(taken, c)
		} else {
			rest = append(rest, c)
		}
	}
	t.late = rest
	for _, n := range t.nodes {
		i := sort.Search(len(n.cur.cmds), func(i int) bool { return n.cur.cmds[i].end > upTo })
		if i == 0 {
			continue
		}
		open := n.cur.loose(0)
		taken = append(taken, open[:i]...)
		n.cur.reset()
		for _, c := range open[i:] {
			n.cur.put(c.nodeCommand, c.raw)
			n.cur.plain = false
		}
	}
	return taken
}

func sortLoose(all []looseCommand) {
	sort.SliceStable(all, func(i, k int) bool { return all[i].end < all[k].end })
}
