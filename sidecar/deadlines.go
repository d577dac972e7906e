package sidecar

import (
	"context"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/marks"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// holdWithin is how near a deadline must be to be held back: what the target
// could expire before the stream, which may have extended the key's life, has
// been applied.
const holdWithin = 6 * time.Hour

// deadlines remembers which keys have a deadline that is held back. Only the
// goroutine that applies uses it.
type deadlines struct {
	list *marks.List
	// unknown: a process before this one held some; only a walk over the
	// target finds them.
	unknown bool
}

func (d *deadlines) any() bool { return d.unknown || d.list != nil && d.list.Len() > 0 }

func (d *deadlines) reset() {
	if d.list != nil {
		d.list.Close()
	}
	*d = deadlines{}
}

// hold puts off the deadline of a snapshot's key that is near.
func (r *Replicator) hold(rec *rdb.Record, now time.Time) error {
	if rec.Expire == 0 || rec.Expire > now.Add(holdWithin).UnixMilli() {
		return nil
	}
	if r.held.list == nil {
		r.held.list = marks.NewList(r.dir)
	}
	rec.Expire += wire.HeldMillis
	return r.held.list.Add(rec.DB, rec.Key)
}

// inherit notes the keys that take over the deadline of another one while
// some are held.
func (r *Replicator) inherit(c *resp.Command, db int) error {
	if r.held.list == nil {
		return nil
	}
	if route.ClassOf(c.Args[0]) == route.ClassEval {
		r.held.unknown = true // it may rename and copy as well
	}
	for _, name := range []string{"rename", "renamenx", "copy", "move"} {
		if !route.EqualFold(c.Args[0], name) {
			continue
		}
		if len(c.Args) < 3 {
			return nil
		}
		to := c.Args[2]
		if name == "move" || name == "copy" && len(c.Args) > 3 {
			// Into another database: found by the walk.
			r.held.unknown = true
		}
		return r.held.list.Add(db, to)
	}
	return nil
}

// caughtUp reports whether everything that the shard's master had after the
// snapshot was written is applied.
func (r *Replicator) caughtUp() bool {
	s := r.seen.Load()
	return s != nil && s.At.After(r.copiedAt) && r.applied.Load() >= s.Offset
}

// release takes the hold off all deadlines. The stream is applied up to here,
// so what it has to say about these keys has been said.
func (r *Replicator) release(ctx context.Context) error {
	n := int64(0)
	one := func(db int, key []byte) error {
		n++
		return r.w.Release(ctx, db, key)
	}
	var err error
	if r.held.unknown {
		err = r.w.Scan(ctx, func(db int, key []byte) error {
			if !r.owns(key) {
				return nil
			}
			return one(db, key)
		})
	} else {
		err = r.held.list.Each(one)
	}
	if err == nil {
		err = r.w.Released(ctx)
	}
	if err != nil {
		return err
	}
	r.held.reset()
	r.log.Info("deadlines released", "keys", n)
	r.setHeld(false)
	return nil
}

// setHeld tells the watcher and the status.
func (r *Replicator) setHeld(held bool) {
	r.holding.Store(held)
	r.st.Update(func(s *wire.Status) { s.Complete = r.complete() })
}
