package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// When slots are moved at the source, keys leave one stream as DEL and come
// into another one as RESTORE, and nothing orders the two. So both shards stop
// applying as soon as they notice, mark their copies as incomplete, and wait
// until the source has settled. Then each works out which master it goes with
// (route.Match), lets go of the slots that this master does not have, takes
// those that it has once their holder has let go of them (fence.Claim), and
// copies all of its slots again. The slots of the link in sync.toml stay as
// they are; what a shard holds is in the target. An apply that writes the new
// slots into sync.toml changes nothing more.
//
// What notices: the master says so of its slots, every half a second; a
// RESTORE-ASKING in the stream, which only MIGRATE sends; a command whose key
// is not in the slots that the shard holds.

// settleFor is how long the masters of the source must have had the same slots
// with none on the move: tools move one slot after the other.
const settleFor = 3 * time.Second

// settling is what the source said when it was last asked.
type settling struct {
	slots string
	since time.Time
}

// wanted are the slots that a pod of the source must serve; nil: any.
func (r *Replicator) wanted() route.SlotSet {
	if r.cfg.Link == nil {
		return nil
	}
	if p := r.want.Load(); p != nil {
		return *p
	}
	return r.cfg.Slots
}

// readSlots notes what the shard holds.
func (r *Replicator) readSlots(text string) error {
	if r.cfg.Link == nil {
		return nil
	}
	slots, err := route.ParseSlots(text)
	if err != nil {
		return fmt.Errorf("the slots of the shard in the target: %w", err)
	}
	r.setSlots(slots)
	return nil
}

func (r *Replicator) setSlots(slots route.SlotSet) {
	r.slots = slots
	r.want.Store(&slots)
	r.st.Update(func(s *wire.Status) { s.Slots = slots.String() })
}

// complete reports whether the target holds all that this shard is to copy, as
// it was at one moment. It is not while values are fetched from the source;
// the copy as such is whole then, and the lag says how old.
func (r *Replicator) complete() bool {
	whole := !r.full && !r.held.any() && !r.hole
	r.whole.Store(whole)
	return whole && r.w.PendingCount() == 0
}

// follow is called with the reason why no pod of the source serves exactly the
// slots of the shard. Unless it is for another reason than slots, it takes
// over what its master has now. The error that it returns is what the shard
// waits for; after it, attaching is tried again.
func (r *Replicator) follow(ctx context.Context, cause error) error {
	var changed *psync.SlotsChangedError
	if r.cfg.Link == nil || !errors.As(cause, &changed) && r.slots.Count() > 0 {
		return cause
	}
	masters, err := psync.Masters(ctx, r.cfg.SourceAddrs, r.cfg.Source)
	if err != nil {
		r.settle = settling{}
		return errors.Join(cause, err)
	}
	sets, text := make([]route.SlotSet, len(masters)), ""
	for i := range masters {
		sets[i] = masters[i].Slots
		text += masters[i].NodeID + " " + sets[i].String() + "\n"
	}
	if text != r.settle.slots {
		r.settle = settling{text, time.Now()}
	}
	if time.Since(r.settle.since) < settleFor {
		return cause
	}
	// From here on a checkpoint would be of slots that are not the shard's.
	if !r.full {
		r.full, r.why = true, reason{wire.CauseSlotsMoved, cause.Error()}
		r.whole.Store(false)
		r.st.Update(func(s *wire.Status) { s.Complete, s.InSync = false, false })
	}
	if err := r.w.BeginSnapshot(ctx); err != nil {
		return r.rewound(ctx, err)
	}
	got, err := r.w.Adopt(ctx, func(held map[int]fence.Holding) (route.SlotSet, error) {
		all := map[int]route.SlotSet{r.id.Shard: r.slots}
		for shard, h := range held {
			all[shard] = h.Slots
		}
		if m, ok := route.Match(all, sets)[r.id.Shard]; ok {
			return sets[m], nil
		}
		return route.NewSlotSet(), nil
	})
	var others *fence.HeldError
	if err != nil && !errors.As(err, &others) {
		return r.rewound(ctx, err)
	}
	if !got.Equal(r.slots) {
		r.log.Warn("the slots of the shard have changed at the source", "before", r.slots.String(), "now", got.String())
		r.setSlots(got)
	}
	switch {
	case others != nil:
		return &SourceError{others}
	case got.Count() == 0:
		return &SourceError{errors.New("the source has no master left for this shard: all of its slots are with other shards; run plan and apply")}
	}
	return &SourceError{errors.New("the slots of the shard have changed at the source; copying them again")}
}

// rewound takes the shard again when the target lost writes. Nothing has to be
// repeated: the checkpoint is void anyway.
func (r *Replicator) rewound(ctx context.Context, err error) error {
	if !errors.Is(err, apply.ErrRewound) {
		return err
	}
	if _, takeErr := r.take(ctx); takeErr != nil {
		return takeErr
	}
	return &SourceError{err}
}

// findHoles looks whether every slot of the link is still held by a shard of
// the pair: what went to a master that no replicator follows is not copied any
// more, and the target as a whole is not complete.
func (r *Replicator) findHoles(ctx context.Context) error {
	if r.cfg.Link == nil || r.slots.Equal(r.cfg.Slots) && !r.hole {
		return nil
	}
	held, err := r.w.Held(ctx)
	if err != nil {
		return err
	}
	left := r.cfg.Slots
	for _, h := range held {
		left = left.Minus(h.Slots)
	}
	was := r.hole
	r.hole = left.Count() > 0
	if r.hole == was {
		return nil
	}
	r.st.Update(func(s *wire.Status) {
		s.Complete = r.complete()
		setFinding(s, r.holeText, false)
		if r.hole {
			r.holeText = fmt.Sprintf("the slots %s went to a master of the source that no replicator of the pair follows: they are not copied any more; run plan and apply", left)
			setFinding(s, r.holeText, true)
		}
	})
	return nil
}
