package apply

import (
	"context"
	"errors"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// adopt claims once. What others still hold is no reason to ask again here:
// the source may have moved on meanwhile.
func adopt(c *conn.Conn, id *fence.Identity, want func(map[int]fence.Holding) (route.SlotSet, error)) (got route.SlotSet, held *fence.HeldError, err error) {
	got, err = fence.Claim(c, *id, want)
	if err != nil && !errors.As(err, &held) {
		return nil, nil, err
	}
	id.Slots, id.Known = got.String(), true
	return got, held, nil
}

func heldError(held *fence.HeldError, err error) error {
	if err == nil && held != nil {
		return held
	}
	return err
}

// Adopt changes which slots the shard holds.
func (s *Standalone) Adopt(ctx context.Context, want func(map[int]fence.Holding) (route.SlotSet, error)) (got route.SlotSet, err error) {
	var held *fence.HeldError
	err = s.alone(ctx, func() (err error) {
		got, held, err = adopt(s.c, &s.o.Identity, want)
		return err
	})
	return got, heldError(held, err)
}

// Held reads what all shards of the pair hold.
func (s *Standalone) Held(ctx context.Context) (all map[int]fence.Holding, err error) {
	err = s.alone(ctx, func() (err error) {
		all, err = fence.Holdings(s.c, s.o.Identity)
		return err
	})
	return all, err
}

// Adopt changes which slots the shard holds.
func (t *Cluster) Adopt(ctx context.Context, want func(map[int]fence.Holding) (route.SlotSet, error)) (got route.SlotSet, err error) {
	var held *fence.HeldError
	err = t.again(ctx, func() (err error) {
		if t.holder.c == nil {
			return errGone
		}
		got, held, err = adopt(t.holder.c, &t.o.Identity, want)
		return err
	})
	return got, heldError(held, err)
}

// Held reads what all shards of the pair hold.
func (t *Cluster) Held(ctx context.Context) (all map[int]fence.Holding, err error) {
	err = t.again(ctx, func() (err error) {
		if t.holder.c == nil {
			return errGone
		}
		all, err = fence.Holdings(t.holder.c, t.o.Identity)
		return err
	})
	return all, err
}
