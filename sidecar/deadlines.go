package sidecar

import (
	"context"
	"strconv"
	"strings"
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
	// late: the stream has not caught up since the copy, so near deadlines that
	// it sets are held back too. noted: the checkpoint says that some are.
	late, noted bool
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
	rec.Expire += wire.HeldMillis
	return r.held.add(r.dir, rec.DB, rec.Key)
}

func (d *deadlines) add(dir string, db int, key []byte) error {
	if d.list == nil {
		d.list = marks.NewList(dir)
	}
	return d.list.Add(db, key)
}

// holdStream puts off the near deadline that a command of the stream sets
// while the stream has not caught up since the copy. It returns the command
// to run instead, nil for the same.
func (r *Replicator) holdStream(ctx context.Context, c *resp.Command, db int) error {
	if !r.held.late {
		return nil
	}
	args := later(c.Args, time.Now())
	if args == nil {
		return nil
	}
	if !r.held.noted {
		if err := r.w.HoldBack(ctx); err != nil {
			return err
		}
		r.held.noted = true
		r.setHeld(true)
	}
	c.Args = args
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = string(a)
	}
	c.Raw = resp.AppendCommand(nil, words...)
	return r.held.add(r.dir, db, args[1])
}

// later returns a command with its deadline put off, nil when it sets none
// that is near.
func later(args [][]byte, now time.Time) [][]byte {
	if len(args) < 3 {
		return nil
	}
	// Where the deadline stands, and what the unit and the form mean.
	form := func(name string, at int, unit time.Duration, relative bool, as string) [][]byte {
		n, err := strconv.ParseInt(string(args[at]), 10, 64)
		if err != nil || n <= 0 || n > 1<<45 {
			return nil // far away, or the target says what is wrong with it
		}
		ms := n * unit.Milliseconds()
		left := ms
		if !relative {
			left = ms - now.UnixMilli()
		}
		if left > holdWithin.Milliseconds() {
			return nil
		}
		out := append([][]byte(nil), args...)
		out[at] = strconv.AppendInt(nil, ms+wire.HeldMillis, 10)
		if at > 2 && route.EqualFold(args[0], "set") {
			out[at-1] = []byte(as)
		} else if name != "restore" {
			out[0] = []byte(as)
		}
		return out
	}
	name := strings.ToLower(string(args[0]))
	switch name {
	case "pexpireat":
		return form(name, 2, time.Millisecond, false, "PEXPIREAT")
	case "expireat":
		return form(name, 2, time.Second, false, "PEXPIREAT")
	case "pexpire":
		return form(name, 2, time.Millisecond, true, "PEXPIRE")
	case "expire":
		return form(name, 2, time.Second, true, "PEXPIRE")
	case "psetex":
		return form(name, 2, time.Millisecond, true, "PSETEX")
	case "setex":
		return form(name, 2, time.Second, true, "PSETEX")
	case "restore":
		relative := true
		for _, a := range args[min(4, len(args)):] {
			relative = relative && !route.EqualFold(a, "absttl")
		}
		return form(name, 2, time.Millisecond, relative, "")
	case "set":
		for i := 3; i+1 < len(args); i++ {
			switch strings.ToLower(string(args[i])) {
			case "px":
				return form(name, i+1, time.Millisecond, true, "PX")
			case "ex":
				return form(name, i+1, time.Second, true, "PX")
			case "pxat":
				return form(name, i+1, time.Millisecond, false, "PXAT")
			case "exat":
				return form(name, i+1, time.Second, false, "PXAT")
			}
		}
	}
	return nil
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
		return r.held.add(r.dir, db, to)
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
	r.held.reset() // late no more
	r.log.Info("deadlines released", "keys", n)
	r.setHeld(false)
	return nil
}

// setHeld tells the watcher and the status.
func (r *Replicator) setHeld(held bool) {
	r.holding.Store(held)
	r.st.Update(func(s *wire.Status) { s.Complete = r.complete() })
}
