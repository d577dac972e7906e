package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/marks"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// errFound ends a scan that only wants to know whether there is a key.
var errFound = errors.New("found")

// snapshot writes a full copy and makes the target complete.
func (r *Replicator) snapshot(ctx context.Context, sess *psync.Session, w *window.Window, established bool) error {
	began := time.Now()
	r.full = true
	r.held.reset()
	set, err := r.prepare(ctx, sess, established)
	if err != nil {
		return err
	}
	if set != nil {
		defer set.Close()
	}
	if err := r.w.BeginSnapshot(ctx); err != nil {
		return err
	}
	if err := r.dropScripts(ctx); err != nil {
		return err
	}
	copied := &copyState{r: r, ctx: ctx, set: set, pos: sess.Pos, began: began}
	if err := copied.read(w, sess); err != nil {
		return err
	}
	if set != nil {
		if err := r.sweep(ctx, sess, set); err != nil {
			return err
		}
	}
	if err := r.w.EndSnapshot(ctx, copied.pos, r.held.any()); err != nil {
		return err
	}
	r.copiedAt = time.Now()
	r.held.late, r.held.noted = true, r.held.any()
	sess.Pos = copied.pos
	r.full, r.why = false, reason{}
	r.setHeld(r.held.any())
	r.applied.Store(sess.Pos.Offset)
	r.st.Update(func(s *wire.Status) {
		s.FullSync.Running = false
		s.FullSync.Keys = copied.keys
		s.AppliedOffset = sess.Pos.Offset
	})
	r.log.Info("full copy done", "keys", copied.keys, "bytes", copied.bytes, "seconds", fmt.Sprintf("%.1f", time.Since(began).Seconds()))
	return nil
}

// prepare looks whether the target holds keys of this link and returns the
// set to mark the snapshot's keys in, or nil when nothing can be stale or
// stale keys are kept.
func (r *Replicator) prepare(ctx context.Context, sess *psync.Session, established bool) (*marks.Set, error) {
	r.st.Update(func(s *wire.Status) {
		if s.Phase != wire.PhaseDraining {
			s.Phase = wire.PhaseFullSync
		}
		s.InSync, s.Complete = false, false
		s.FullSync.Running, s.FullSync.Keys, s.FullSync.Bytes, s.FullSync.StaleKeys = true, 0, 0, 0
		s.FullSync.TotalKeys = 0
		s.FullSync.TotalBytes = sess.Size
		r.why.begun(&s.FullSync)
	})
	r.log.Info("full copy begins", "source", sess.Node.Addr, "reason", r.why.text, "bytes", sess.Size, "diskless", sess.Marker != "")
	policy := r.cfg.SyncFile.Target.StaleKeys
	if policy == config.StaleKeep {
		return nil, nil
	}
	err := r.w.Scan(ctx, func(_ int, key []byte) error {
		if r.owns(key) {
			return errFound
		}
		return nil
	})
	if err == nil {
		return nil, nil
	}
	if !errors.Is(err, errFound) {
		return nil, err
	}
	if policy == config.StaleRefuse && !established {
		return nil, stopf("the target already holds keys in the slots of this link and no policy for them was chosen (target.stale_keys = \"prune\" or \"keep\")")
	}
	return marks.New(r.dir), nil
}

// owns reports whether a key of the target belongs to this link: it is in its
// slots and not one of ours.
func (r *Replicator) owns(key []byte) bool {
	if bytes.HasPrefix(key, []byte(wire.KeyPrefix)) {
		return false
	}
	return r.slots == nil || r.slots.Has(route.Slot(key))
}

// copyState is one snapshot being written.
type copyState struct {
	r    *Replicator
	ctx  context.Context //nolint:containedctx // lives as long as the one call that made it
	set  *marks.Set
	pos  psync.Position
	keys int64

	bytes    int64
	options  rdb.RestoreOptions
	version  int
	began    time.Time
	reported time.Time
}

// read consumes the snapshot and its framing.
func (c *copyState) read(w *window.Window, sess *psync.Session) error {
	sc, err := rdb.NewScanner(w)
	if err != nil {
		return sourceOr(err)
	}
	sc.SpillTo(c.r.dir)
	defer w.SpillAbove(0, nil)
	c.version = sc.Version()
	c.options = rdb.RestoreOptions{
		Footer:  rdb.FooterVersion(sc.Version(), c.r.w.RDBVersion()),
		Replace: c.r.cfg.Advanced.RestoreBehavior == config.RestoreRewrite,
		Access:  true,
	}
	var rec rdb.Record
	for {
		if err := sc.Next(&rec); err != nil {
			return sourceOr(err)
		}
		c.bytes = sc.Read()
		if rec.Kind == rdb.KindEnd {
			break
		}
		if err := c.record(&rec); err != nil {
			return err
		}
		size := len(rec.Value) + len(rec.Key)
		if rec.Big != nil {
			size += int(rec.Big.Size())
		}
		if err := c.r.throttle(c.ctx, size, 1); err != nil {
			return err
		}
		if c.keys&1023 == 0 && time.Since(c.reported) > 200*time.Millisecond {
			c.report()
		}
	}
	if sess.Size > 0 && c.bytes != sess.Size {
		return &SourceError{&rdb.FormatError{Offset: c.bytes, Reason: fmt.Sprintf("it ends here, but %d bytes were announced", sess.Size)}}
	}
	if sess.Marker != "" {
		p, err := w.Next(len(sess.Marker))
		if err != nil {
			return sourceOr(err)
		}
		if string(p) != sess.Marker {
			return &SourceError{&rdb.FormatError{Offset: c.bytes, Reason: "the end marker is not the announced one"}}
		}
	}
	c.report()
	return c.r.w.Settle(c.ctx)
}

// sourceOr marks an error of reading from the source as one; a snapshot that
// is damaged, or of an unknown kind, is none.
func sourceOr(err error) error {
	var format *rdb.FormatError
	if errors.As(err, &format) || errors.Is(err, window.ErrTooLarge) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || isSourceError(err) {
		return &SourceError{err}
	}
	return err
}

func (c *copyState) report() {
	c.reported = time.Now()
	c.r.st.Update(func(s *wire.Status) { s.FullSync.Keys, s.FullSync.Bytes = c.keys, c.bytes })
}

func (c *copyState) record(rec *rdb.Record) error {
	switch rec.Kind {
	case rdb.KindAux:
		return c.aux(rec)
	case rdb.KindResize:
		c.r.st.Update(func(s *wire.Status) { s.FullSync.TotalKeys += rec.Count })
		return nil
	case rdb.KindFunction:
		for _, server := range c.r.w.Servers() {
			if !server.Functions() {
				return stopf("the functions of %s cannot be written to the target (%s): it has no functions, which begin with Redis 7.0", c.r.sourceServer(), server)
			}
		}
		return c.r.w.Everywhere(c.ctx, "FUNCTION", "LOAD", "REPLACE", string(rec.Value))
	case rdb.KindKey:
	case rdb.KindEnd:
		return nil
	}
	if c.r.ours(rec.Key) {
		return nil // what an opposite link wrote into the source
	}
	if c.set != nil {
		if err := c.set.Add(rec.DB, rec.Key); err != nil {
			return err
		}
	}
	c.keys++
	if err := c.r.hold(rec, c.began); err != nil {
		return err
	}
	return c.r.writeValue(c.ctx, rec, c.version, c.options)
}

func (c *copyState) aux(rec *rdb.Record) error {
	switch string(rec.Key) {
	case "repl-stream-db":
		db, err := strconv.Atoi(string(rec.Value))
		if err == nil && db >= 0 { // -1: nothing was selected yet
			c.pos.DB = db
		}
	case "lua": // scripts of a source before 7.0, which EVALSHA may name
		if err := c.r.keepScript(c.ctx, string(rec.Value)); err != nil {
			return err
		}
		return c.r.w.Everywhere(c.ctx, "SCRIPT", "LOAD", string(rec.Value))
	}
	return nil
}

// sweep removes the keys of this link that the snapshot did not have.
func (r *Replicator) sweep(ctx context.Context, sess *psync.Session, set *marks.Set) error {
	if sess.Node.Slots != nil {
		now := psync.Probe(ctx, sess.Node.Addr, r.cfg.Source)
		if now.Err != nil {
			return &SourceError{now.Err}
		}
		if !now.Slots.Equal(sess.Node.Slots) {
			return &SourceError{&psync.SlotsChangedError{Want: sess.Node.Slots, Have: now.Slots, Addr: now.Addr}}
		}
	}
	stale := marks.NewList(r.dir)
	defer stale.Close()
	err := r.w.Scan(ctx, func(db int, key []byte) error {
		if !r.owns(key) {
			return nil
		}
		return set.Check(db, key)
	})
	if err != nil {
		return err
	}
	own, err := set.Stale(stale.Add)
	if err != nil {
		return err
	}
	share := float64(stale.Len()) / float64(max(own, 1))
	if limit := r.cfg.MaxShare; limit < 1 && (share > limit || set.Count() == 0 && own > 0) {
		return stopf("%d of the %d keys that the target has in the slots of this link are not on the source (%.1f %%; its snapshot has %d keys); more than stale_keys_max_share = %g allows; nothing was removed",
			stale.Len(), own, 100*share, set.Count(), limit)
	}
	last, batch := 0, [][]byte(nil)
	flush := func() error {
		err := r.w.Delete(ctx, last, batch)
		batch = batch[:0]
		return err
	}
	err = stale.Each(func(db int, key []byte) error {
		if db != last || len(batch) == 500 {
			if err := flush(); err != nil {
				return err
			}
			last = db
		}
		batch = append(batch, bytes.Clone(key))
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	r.st.Update(func(s *wire.Status) { s.FullSync.StaleKeys = stale.Len() })
	r.log.Info("stale keys removed", "keys", stale.Len(), "of", own)
	return r.w.Settle(ctx)
}

// throttle keeps to the limits of advanced.max_*_per_second.
func (r *Replicator) throttle(ctx context.Context, n, commands int) error {
	if r.limit != nil {
		for n > 0 {
			step := min(n, r.limit.Burst())
			if err := r.limit.WaitN(ctx, step); err != nil {
				return err
			}
			n -= step
		}
	}
	if r.limitN != nil {
		return r.limitN.WaitN(ctx, commands)
	}
	return nil
}
