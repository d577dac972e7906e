package guard

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// RaiseFence makes the instance refuse every replicator of an epoch before
// this one: it sets the fence key, waits until a replica has it, ends the
// connections of older epochs on every pod that answers, and looks at the key
// and the roles again. A later epoch that it finds is a refusal. Any other
// error leaves the outcome open: it is to be called again.
//
// A pod that does not answer holds no master that anybody writes through: the
// fence stands on the master that holds the key, and a connection to a replica
// does not write.
func (s *Site) RaiseFence(ctx context.Context, epoch int64) error {
	before, err := s.Observe(ctx)
	if err != nil {
		return err
	}
	if before.Holder == "" {
		return s.wrap(errNotHolder)
	}
	// The key alone does not help against a batch that was read before it was
	// set: its sender's connection has to end, too.
	err = s.write(ctx, before.Holder, func(c *redisx.Client) error {
		_, _, err := c.RaiseFence(ctx, s.opts.Pair, epoch)
		return err
	})
	if err != nil {
		return err
	}
	err = s.each(ctx, "ending older connections", func(_ string, c *redisx.Client) error {
		_, err := c.KillOlder(ctx, s.opts.Pair, epoch)
		return err
	})
	var failed *PodsError
	if errors.As(err, &failed) {
		for _, p := range failed.Pods {
			if at := before.Pod(p.Pod); at.Err == nil || at.Role == topology.RolePrimary {
				return err // it answered a moment ago
			}
		}
	}
	after, err := s.Observe(ctx)
	if err != nil {
		return err
	}
	if after.Fence != epoch || after.Holder != before.Holder {
		return s.wrap(fmt.Errorf("the fence is at epoch %d on pod %q right after it was raised to %d on pod %q", after.Fence, after.Holder, epoch, before.Holder))
	}
	for _, old := range before.Shards {
		if now := after.Pod(old.Pod); now.Err != nil || now.Role != topology.RolePrimary || now.RunID != old.RunID {
			return s.wrap(fmt.Errorf("pod %s was a master when the fence was raised, and is none now", old.Pod))
		}
	}
	return nil
}

// KeepFence lets every data pod that keeps its data in snapshots alone begin
// one: a pod that restarts with an older one would bring an older fence back.
// It does not wait for their end.
func (s *Site) KeepFence(ctx context.Context) error {
	return s.each(ctx, "beginning a snapshot, which is to hold the fence", func(_ string, c *redisx.Client) error { return c.SnapshotSoon(ctx) })
}

func (s *Site) wrap(err error) error {
	return fmt.Errorf("%s: %s: %w", s.session.Client().Where(), s.inst.Ref(), err)
}

// Checkpoints reads those of the shards 0.. of the link that writes into this
// site; one with epoch 0 is not there.
func (s *Site) Checkpoints(ctx context.Context, shards int) ([]redisx.Checkpoint, error) {
	list := make([]redisx.Checkpoint, shards)
	err := s.onHolder(ctx, s.pod, func(c *redisx.Client) error {
		for shard := range list {
			checkpoint, _, err := c.Checkpoint(ctx, s.opts.Pair, shard)
			if err != nil {
				return err
			}
			list[shard] = checkpoint
		}
		return nil
	})
	return list, err
}

// onHolder runs f on the master that holds the keys of the pair now.
func (s *Site) onHolder(ctx context.Context, as func(context.Context, string, func(*redisx.Client) error) error, f func(*redisx.Client) error) error {
	state, err := s.Observe(ctx)
	if err != nil {
		return err
	}
	if state.Holder == "" {
		return s.wrap(errNotHolder)
	}
	return as(ctx, state.Holder, f)
}

// WriteCheckpoints makes the shards 0.. of the link that writes into this site
// go on from these positions under the epoch, which must be the fence's. A
// shard that has a checkpoint of this epoch is left alone.
func (s *Site) WriteCheckpoints(ctx context.Context, epoch int64, list []NewCheckpoint) error {
	return s.onHolder(ctx, s.write, func(c *redisx.Client) error {
		return c.WriteCheckpoints(ctx, s.opts.Pair, epoch, list)
	})
}

// NewCheckpoint is where a shard is to go on.
type NewCheckpoint = redisx.NewCheckpoint

// CarryCheckpoints moves complete checkpoints from one epoch to the other,
// which must be the fence's; those that are there already stay.
func (s *Site) CarryCheckpoints(ctx context.Context, shards int, from, to int64) error {
	return s.onHolder(ctx, s.write, func(c *redisx.Client) error {
		return c.CarryCheckpoints(ctx, s.opts.Pair, shards, from, to)
	})
}

// DropCheckpoints removes the checkpoints and incarnations of the shards 0..:
// a link that starts then copies in full.
func (s *Site) DropCheckpoints(ctx context.Context, shards int) error {
	var keys []any
	for shard := range shards {
		keys = append(keys, wire.CheckpointKey(s.opts.Pair, shard), wire.IncarnationKey(s.opts.Pair, shard))
	}
	if len(keys) == 0 {
		return nil
	}
	return s.onHolder(ctx, s.write, func(c *redisx.Client) error {
		_, err := c.Do(ctx, append([]any{"DEL"}, keys...)...)
		return err
	})
}

// Position is the end of a shard's replication stream.
type Position struct {
	Slots       topology.SlotSet
	Pod, ReplID string
	Offset      int64
	DB          int
	Resumable   bool   // a link can go on from here
	Why         string // not
}

// Positions finds the ends of the streams of all shards, for a link that is to
// go on from there. Outside of a cluster a key of ours is written for it.
func (s *Site) Positions(ctx context.Context) ([]Position, error) {
	state, err := s.Observe(ctx)
	if err != nil {
		return nil, err
	}
	if len(state.Shards) == 0 {
		return nil, s.wrap(errNotHolder)
	}
	var list []Position
	for _, shard := range state.Shards {
		p := Position{Slots: shard.Slots, Pod: shard.Pod, ReplID: shard.ReplID, Offset: shard.Offset, Resumable: true}
		if !state.Pod(shard.Pod).Backlog {
			p.Resumable, p.Why = false, "pod "+shard.Pod+": "+redisx.ErrNoBacklog.Error()
		}
		if p.Resumable && s.inst.Mode != topology.ModeCluster {
			err := s.write(ctx, shard.Pod, func(c *redisx.Client) error {
				at, err := c.SettlePosition(ctx, s.opts.Pair)
				p.ReplID, p.Offset, p.DB = at.ReplID, at.Offset, at.DB
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		list = append(list, p)
	}
	return list, nil
}
