package sidecar

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
)

const (
	watchEvery = 500 * time.Millisecond
	// inSyncFor is how long the lag must have been under maxLag.
	inSyncFor = 2 * time.Second
	maxLag    = time.Second
	// stalled is how long an attached replica may give nothing while its
	// master moves on.
	stalled = 10 * time.Second
	// leaveMasterAfter is how often a session with a master looks for a
	// replica to go on with.
	leaveMasterAfter = 10 * time.Second
)

const masterSilent = "the shard's master cannot be asked for its offset: the lag is not known, and the copy does not count as in sync"

const targetSilent = "the target has applied nothing for more than 5 s of what was received: it hangs, or the network between"

// sample is the shard master's offset at a time.
type sample struct {
	at     time.Time
	offset int64
}

// watcher compares the applied offset with the master's own, which is not the
// server that the stream comes from when that is a replica.
type watcher struct {
	r         *Replicator
	c         *conn.Conn
	addr      string
	samples   []sample // offsets beyond the applied one, oldest first
	last      sample
	goodSince time.Time
	moved     time.Time // when bytes last came
	received  int64
	history   int64
	applied   int64
	progress  time.Time // when the target last had everything, or got further
	onMaster  time.Time // since when a session is attached to a master
}

// watchMaster runs until ctx ends.
func (r *Replicator) watchMaster(ctx context.Context) {
	w := &watcher{r: r, moved: time.Now()}
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			w.close()
			return
		case <-t.C:
			w.look(ctx)
		}
	}
}

func (w *watcher) close() {
	if w.c != nil {
		_ = w.c.Close()
		w.c = nil
	}
}

func (w *watcher) look(ctx context.Context) {
	if offset, ok := w.ask(ctx); ok {
		now := time.Now()
		// Offsets of another history (a full copy, a promotion that lost
		// bytes) say nothing about this one.
		if gen := w.r.history.Load(); gen != w.history || offset < w.last.offset {
			w.samples, w.history = nil, gen
		}
		w.last = sample{now, offset}
		if n := len(w.samples); n == 0 || w.samples[n-1].offset < offset {
			w.samples = append(w.samples, w.last)
		}
		w.r.seen.Store(&fence.Seen{Offset: offset, At: now})
	}
	if w.r.holding.Load() && w.r.applied.Load() >= w.last.offset || w.r.guarding.Load() && w.r.reached.Load() >= w.last.offset {
		if sp := w.r.waker.Load(); sp != nil {
			sp.Wake() // an idle stream has nothing else that would make it release
		}
	}
	w.judge()
	w.notice()
	w.leaveMaster(ctx)
}

// ask reads the master's offset; false when there is no master to ask now.
func (w *watcher) ask(ctx context.Context) (int64, bool) {
	m := w.r.master.Load()
	if m == nil || m.Addr != w.addr {
		w.close()
	}
	if m == nil {
		w.findMaster(ctx)
		return 0, false
	}
	if w.c == nil {
		o := w.r.cfg.Source
		o.DialTimeout, o.Timeout, o.Whole = 2*time.Second, 2*time.Second, true
		c, err := conn.Dial(ctx, m.Addr, o)
		if err != nil {
			w.findMaster(ctx)
			return 0, false
		}
		w.c, w.addr = c, m.Addr
	}
	info, err := w.c.Info("replication")
	if err != nil || info["role"] != "master" {
		w.close()
		w.findMaster(ctx)
		return 0, false
	}
	if id := w.r.replid.Load(); id != nil && w.r.session.Load() != nil && info["master_replid"] != *id {
		// An old master that is cut off from its shard says so of itself too;
		// its offset stands still.
		w.close()
		w.r.master.Store(nil)
		return 0, false
	}
	w.checkSlots()
	offset, err := strconv.ParseInt(info["master_repl_offset"], 10, 64)
	if err != nil || offset < 0 { // it is not known, and counts as silence
		w.close()
		return 0, false
	}
	return offset, true
}

// checkSlots ends the session when slots of the shard are moved at the source.
func (w *watcher) checkSlots() {
	sess := w.r.session.Load()
	if sess == nil || sess.Node.Slots == nil {
		return
	}
	var moving *psync.SlotsMovingError
	if err := psync.Settled(w.c, sess.Node.Slots); errors.As(err, &moving) && w.r.moved.Load() == nil {
		w.r.log.Warn("the source's slots are on the move", "master", w.c.Addr)
		w.r.moved.Store(moving)
		_ = sess.Close()
		if sp := w.r.waker.Load(); sp != nil {
			sp.Abort() // nothing of what was received is applied any more
		}
	}
}

func (w *watcher) findMaster(ctx context.Context) {
	if _, m, err := psync.Choose(ctx, w.r.cfg.SourceAddrs, w.r.cfg.Source, w.r.wanted(), psync.Position{}); err == nil && m != nil {
		w.r.master.Store(m)
	}
}

// leaveMaster ends a session with a master once a replica of it can go on
// with the stream: Sentinel and operators count who follows a master.
func (w *watcher) leaveMaster(ctx context.Context) {
	sess := w.r.session.Load()
	if sess == nil || sess.Node.Role != "master" || len(w.r.cfg.SourceAddrs) < 2 || w.r.st.Get().FullSync.Running {
		w.onMaster = time.Time{}
		return
	}
	if w.onMaster.IsZero() {
		w.onMaster = time.Now()
	}
	if time.Since(w.onMaster) < leaveMasterAfter {
		return
	}
	w.onMaster = time.Time{}
	pos := psync.Position{ReplID: sess.Node.ReplID, Offset: w.r.applied.Load()}
	nodes, _, err := psync.Choose(ctx, w.r.cfg.SourceAddrs, w.r.cfg.Source, w.r.wanted(), pos)
	if err != nil || nodes[0].Role != "slave" || !nodes[0].CanContinue(pos) {
		return
	}
	w.r.log.Info("leaving the master for its replica", "master", sess.Node.Addr, "replica", nodes[0].Addr)
	_ = sess.Close()
}

// judge works out the lag and whether the shard is in sync.
func (w *watcher) judge() {
	applied := w.r.applied.Load()
	var upTo time.Time
	for len(w.samples) > 0 && w.samples[0].offset <= applied {
		upTo, w.samples = w.samples[0].at, w.samples[1:]
	}
	if len(w.samples) == 0 && w.last.offset <= applied {
		upTo = w.last.at
	}
	if !upTo.IsZero() && w.history == w.r.history.Load() {
		w.r.upTo.Store(upTo.UnixMilli())
	}
	now := time.Now()
	behind, reached := false, w.r.reached.Load()
	for _, s := range w.samples {
		if s.offset > reached {
			behind = now.Sub(s.at) > maxLag
			break
		}
	}
	w.r.behind.Store(behind)
	var lag time.Duration
	if len(w.samples) > 0 {
		lag = now.Sub(w.samples[0].at)
	}
	if !w.last.at.IsZero() && now.Sub(w.last.at) > 2*watchEvery+maxLag/2 {
		lag = max(lag, now.Sub(w.last.at)) // nobody knows what the master has by now
	}
	if reached != w.applied || reached >= w.r.received.Load() {
		w.applied, w.progress = reached, now
	}
	w.r.st.Update(func(s *wire.Status) {
		streaming := s.Phase == wire.PhaseStreaming || s.Phase == wire.PhaseCatchingUp
		good := streaming && w.r.whole.Load() && !w.last.at.IsZero() && lag < maxLag && s.Error == ""
		switch {
		case !good:
			w.goodSince = time.Time{}
		case w.goodSince.IsZero():
			w.goodSince = now
		}
		setFinding(s, masterSilent, streaming && !w.last.at.IsZero() && now.Sub(w.last.at) > 5*time.Second)
		setFinding(s, targetSilent, streaming && s.Error == "" && now.Sub(w.progress) > 5*time.Second)
		s.AppliedOffset = applied
		s.Source.MasterOffset = w.last.offset
		s.Source.Offset = w.r.received.Load()
		s.LagBytes = max(w.last.offset-applied, 0)
		s.LagSeconds = float64(lag.Milliseconds()) / 1000
		s.InSync = good && now.Sub(w.goodSince) >= inSyncFor
		if s.InSync && s.Phase == wire.PhaseCatchingUp {
			s.Phase = wire.PhaseStreaming
		}
	})
}

// notice ends a session whose replica gives nothing while the master moves
// on: its own link is down, or it hangs.
func (w *watcher) notice() {
	received := w.r.received.Load()
	now := time.Now()
	sess := w.r.session.Load()
	sp := w.r.spool.Load()
	// While a snapshot comes, or while the target holds us back, silence is
	// not the source's.
	if received != w.received || w.last.offset <= received || sess == nil || w.r.st.Get().FullSync.Running || sp != nil && sp.Full() {
		w.received, w.moved = received, now
		return
	}
	if now.Sub(w.moved) < stalled {
		return
	}
	w.r.log.Warn("the source gives nothing while its master moves on; attaching again", "source", sess.Node.Addr)
	w.moved = now
	_ = sess.Close()
}
