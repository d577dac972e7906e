package apply

import (
	"context"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// WriteAll adds the commands to the open batch, which applies all of them or
// none.
func (s *Standalone) WriteAll(ctx context.Context, commands []rewrite.Command, db int, end psync.Position) error {
	for _, args := range commands {
		if err := s.Write(ctx, &resp.Command{Raw: framedArgs(args), Args: args}, db, end); err != nil {
			return err
		}
	}
	return nil
}

// WriteAll adds the commands to the batches of the nodes that have their
// slots. Of each node's commands only the last moves the frontier: done in
// part, they are done again.
func (t *Cluster) WriteAll(ctx context.Context, commands []rewrite.Command, db int, end psync.Position) error {
	if len(commands) == 1 {
		return t.Write(ctx, &resp.Command{Raw: framedArgs(commands[0]), Args: commands[0]}, db, end)
	}
	slots := make([]int, len(commands))
	last := map[*clusterNode]int{}
	start := t.now.Offset
	for i, args := range commands {
		keys, err := route.Keys(nil, args)
		if err != nil {
			return t.diverged(err)
		}
		if len(keys) != 1 || db != 0 || len(args) > unpackLimit {
			return t.entailAll(ctx, commands, end)
		}
		slots[i] = -1
		switch t.screen(args, 0, end.Offset) {
		case leave, partly:
		case entails:
			return t.entailAll(ctx, commands, end)
		case pass:
			slots[i] = route.Slot(args[keys[0]])
			last[t.owner[slots[i]]] = i
		}
	}
	t.writing = end.Offset
	for i, args := range commands {
		if slots[i] < 0 {
			continue // part of a value that will be fetched
		}
		mark := start
		if last[t.owner[slots[i]]] == i {
			mark = end.Offset
		}
		if err := t.add(ctx, framedArgs(args), args, forwarded, slots[i], end.Offset, mark); err != nil {
			return t.diverged(err)
		}
	}
	if t.now = end; len(last) == 0 && !t.inTx {
		t.Pass(end)
	}
	return nil
}

// entailAll makes what the commands write pending.
func (t *Cluster) entailAll(ctx context.Context, commands []rewrite.Command, end psync.Position) error {
	var all []Key
	for _, args := range commands {
		keys, err := t.written(args, 0)
		if err != nil {
			return t.diverged(err)
		}
		all = append(all, keys...)
	}
	t.writing = end.Offset
	sent, err := t.entailKeys(ctx, all, t.now.Offset, end.Offset)
	if err != nil {
		return t.diverged(err)
	}
	if t.now = end; !sent && !t.inTx {
		t.Pass(end)
	}
	return nil
}
