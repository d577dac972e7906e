package apply

import (
	"context"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// readPending reads the pending keys of one part of the generation.
func (t *Cluster) readPending(p *genPart) error {
	key := t.pendingKey(p.Tag)
	r, err := t.owner[route.Slot([]byte(key))].c.Do("SMEMBERS", key)
	if err != nil {
		return err
	}
	for _, e := range r.Elems {
		t.stale = append(t.stale, Key{0, e.Text})
	}
	return nil
}

// carryPending writes the names of all pending keys beside the frontiers of a
// generation that is about to begin.
func (t *Cluster) carryPending() error {
	for _, k := range t.stale {
		if err := t.carryOne(k); err != nil {
			return err
		}
	}
	for k := range t.m {
		if err := t.carryOne(k); err != nil {
			return err
		}
	}
	return nil
}

func (t *Cluster) carryOne(k Key) error {
	n := t.owner[route.Slot([]byte(k.Name))]
	_, err := n.c.Do("SADD", t.pendingKey(n.tag), k.Name)
	return err
}

// expired makes a key pending that was to have a deadline and was not there.
// The script noted it. Commands on it that came after are in batches already.
func (t *Cluster) expired(name string) {
	t.pend(Key{0, name}, t.committed.Offset, max(t.now.Offset, t.writing))
}

// Entail passes a command and makes the keys that it writes pending.
func (t *Cluster) Entail(ctx context.Context, args [][]byte, db int, end psync.Position) error {
	if db != 0 {
		return noDatabase(args, db)
	}
	t.writing = end.Offset
	sent, err := t.entail(ctx, args, t.now.Offset, end.Offset)
	if err != nil {
		return t.diverged(err)
	}
	if t.now = end; !sent && !t.inTx {
		t.Pass(end)
	}
	return nil
}

// entail makes the keys that a command writes pending, in the step that passes
// the command. A node that passed it before has noted its keys, or they are
// settled since.
func (t *Cluster) entail(ctx context.Context, args [][]byte, start, end int64) (sent bool, err error) {
	keys, err := t.written(args, 0)
	if err != nil {
		return false, err
	}
	return t.entailKeys(ctx, keys, start, end)
}

func (t *Cluster) entailKeys(ctx context.Context, keys []Key, start, end int64) (sent bool, err error) {
	var fresh []Key
	last := map[*clusterNode]int{}
	for _, k := range keys {
		slot := route.Slot([]byte(k.Name))
		if n := t.owner[slot]; !n.done(slot, end) {
			last[n] = len(fresh)
			fresh = append(fresh, k)
		}
	}
	for i, k := range fresh {
		slot := route.Slot([]byte(k.Name))
		mark := start
		if last[t.owner[slot]] == i {
			mark = end
		}
		note := [][]byte{[]byte("SADD"), []byte(k.Name)}
		if err := t.add(ctx, framedArgs(note), note, noted, slot, end, mark); err != nil {
			return true, err
		}
		t.pendInTx(k, start, end)
	}
	return len(fresh) > 0, nil
}

// screenLoose looks at commands again that were taken before some key became
// pending.
func (t *Cluster) screenLoose(list []looseCommand) []looseCommand {
	if len(t.m) == 0 {
		return list
	}
	kept := list[:0:0]
	for _, c := range list {
		if c.ours() {
			kept = append(kept, c)
			continue
		}
		args := parseArgs(c.raw)
		switch t.screen(args, 0, c.end) {
		case pass:
			kept = append(kept, c)
		case leave:
		case partly:
			raw := t.without(args, 0)
			rest := framed(raw, len(parseArgs(raw)), c.kind, c.slot, c.end, c.mark)
			kept = append(kept, newLoose(rest, raw))
		case entails:
			keys, err := t.written(args, 0)
			if err != nil {
				continue // screen has found its keys
			}
			kept = append(kept, t.note(c.slot, c.end, c.mark, keys))
		}
	}
	return kept
}

// note makes keys of one slot pending and returns the command that says so.
func (t *Cluster) note(slot int, end, mark int64, keys []Key) looseCommand {
	words := []string{"SADD"}
	for _, k := range keys {
		t.pend(k, t.committed.Offset, end)
		words = append(words, k.Name)
	}
	raw := resp.AppendCommand(nil, words...)
	return newLoose(framed(raw, len(words), noted, slot, end, mark), raw)
}

// whole replaces parts of wide commands, some of which may have been applied,
// by the note that their keys are pending: applied one by one they would be
// applied again after a crash in between.
func (t *Cluster) whole(loose []looseCommand) []looseCommand {
	var out []looseCommand
	for i := 0; i < len(loose); i++ {
		c := loose[i]
		if c.kind != part {
			out = append(out, c)
			continue
		}
		for i+1 < len(loose) && loose[i+1].kind == part && loose[i+1].end == c.end && loose[i+1].slot == c.slot {
			i++
		}
		if t.owner[c.slot].done(c.slot, c.end) {
			continue
		}
		out = append(out, t.note(c.slot, c.end, c.end, []Key{{0, c.key}}))
		out = append(out, t.screenLoose(loose[i+1:])...)
		return t.whole(out)
	}
	return out
}

// Put writes fetched values. The names go with the frontier: before it moves,
// the stream would be read again from a place that the values are ahead of.
func (t *Cluster) Put(ctx context.Context, values []Fetched, write func(Fetched) error) error {
	put, err := t.writeFetched(ctx, t, values, write)
	if err != nil {
		return err
	}
	at := t.now.Offset
	var slow []looseCommand
	for _, v := range put {
		slot := route.Slot([]byte(v.Name))
		raw := resp.AppendCommand(nil, "SREM", v.Name)
		cmd := framed(raw, 2, settled, slot, at, at)
		n := t.owner[slot]
		if at < n.frontier { // it is behind; the node's frontier stays
			slow = append(slow, newLoose(cmd, raw))
			continue
		}
		n.cur.put(cmd, raw)
		n.cur.plain = false
	}
	if err := t.Flush(ctx, true); err != nil {
		return err
	}
	if len(slow) > 0 {
		if err := t.resolve(ctx, slow, nil); err != nil {
			return t.diverged(err)
		}
	}
	for _, v := range put {
		delete(t.m, v.Key)
	}
	return nil
}
