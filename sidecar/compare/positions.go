package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/pause"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// positions compares what the source's masters have written with what the
// replicators' checkpoints in the target say.
type positions struct {
	cfg    *config.Config
	source masters
	target *target
}

const (
	// standstill is how long a checkpoint that is behind may not move before
	// waiting for it is given up. Without data it moves once a second.
	standstill = 8 * time.Second
	pollEvery  = 50 * time.Millisecond
)

// goal is the position that a shard has to reach.
type goal struct {
	id     fence.Identity
	replID string
	offset int64
}

// reached waits until the target has applied what the source had written when
// it was called; verify.Options.Barrier says more.
func (p *positions) reached(ctx context.Context) (why string, err error) {
	if p.cfg.Link == nil {
		return "sync.toml has no [link], so no replicator keeps a position", nil
	}
	goals, why, err := p.goals()
	if why != "" || err != nil {
		return why, err
	}
	for _, g := range goals {
		if why, err := p.wait(ctx, g); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// goals finds the shard of every master, by its slots, and asks the master
// for its offset.
func (p *positions) goals() ([]goal, string, error) {
	whole := make(route.SlotSet, route.SlotCount/64)
	for slot := range route.SlotCount {
		whole.Add(slot)
	}
	var goals []goal
	for shard := range p.source { // there are as many
		slots, err := look(p, func(l *apply.Looker) (string, error) { return l.Shard(p.cfg.Link.Pair, shard) })
		if err != nil {
			return nil, "", err
		}
		set, err := route.ParseSlots(slots)
		if err != nil {
			return nil, "", fmt.Errorf("slots in the checkpoint of shard %d: %w", shard, err)
		}
		if set.Count() == 0 {
			return nil, fmt.Sprintf("the target has no checkpoint of shard %d", shard), nil
		}
		g := goal{id: fence.Identity{Pair: p.cfg.Link.Pair, Shard: shard, Epoch: p.cfg.Link.Epoch, Slots: slots}}
		found := false
		for _, m := range p.source {
			if own := m.slots; own == nil && set.Equal(whole) || own != nil && own.Equal(set) {
				found = true
				if g.replID, g.offset, err = m.position(); err != nil {
					return nil, "", err
				}
			}
		}
		if !found {
			return nil, fmt.Sprintf("no master of the source serves the slots of shard %d", shard), nil
		}
		goals = append(goals, g)
	}
	return goals, "", nil
}

// position is what a master has written.
func (m master) position() (replID string, offset int64, err error) {
	replies, err := m.node.Pipeline(context.Background(), 0, [][]string{{"INFO", "replication"}})
	if err != nil {
		return "", 0, err
	}
	text, ok := replies[0].(string)
	if !ok {
		return "", 0, fmt.Errorf("INFO replication at %s: %v", m.addr, replies[0])
	}
	info := conn.Fields(text)
	if info["role"] != "master" {
		return "", 0, fmt.Errorf("%s is no master any more: run the comparison again", m.addr)
	}
	if offset, err = strconv.ParseInt(info["master_repl_offset"], 10, 64); err != nil {
		return "", 0, fmt.Errorf("INFO replication at %s: master_repl_offset: %w", m.addr, err)
	}
	return info["master_replid"], offset, nil
}

// wait waits until the checkpoint of a shard is at its goal.
func (p *positions) wait(ctx context.Context, g goal) (why string, err error) {
	last, moved := int64(-1), time.Now()
	for {
		ck, err := look(p, func(l *apply.Looker) (fence.Checkpoint, error) { return l.Checkpoint(g.id) })
		if err != nil {
			return "", err
		}
		switch {
		case !ck.Exists:
			return fmt.Sprintf("the checkpoint of shard %d is of another epoch", g.id.Shard), nil
		case !ck.Usable():
			return fmt.Sprintf("shard %d is being copied in full", g.id.Shard), nil
		case ck.Pos.ReplID == g.replID && ck.Pos.Offset >= g.offset:
			return "", nil
		case ck.Pos.Offset != last:
			last, moved = ck.Pos.Offset, time.Now()
		case time.Since(moved) > standstill:
			return fmt.Sprintf("shard %d is %d bytes behind and does not move", g.id.Shard, g.offset-ck.Pos.Offset), nil
		}
		if err := pause.For(ctx, pollEvery); err != nil {
			return "", err
		}
	}
}

// look reads from the target, and once more over new connections when the old
// ones are broken: they may have been idle for long.
func look[T any](p *positions, read func(*apply.Looker) (T, error)) (T, error) {
	out, err := read(p.target.look)
	if !broken(err) {
		return out, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*dialTimeout)
	defer cancel()
	again, err := apply.Look(ctx, p.target.options, p.target.cluster)
	if err != nil {
		return out, err
	}
	p.target.look.Close()
	p.target.look = again
	return read(again)
}

func broken(err error) bool {
	var readErr *resp.ReadError
	return conn.Broken(err) || errors.As(err, &readErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
