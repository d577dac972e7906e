// Package sidecar is the replicator: it copies one shard of a source into a
// target and keeps the copy current. replicator.go holds the loop from
// session to session, snapshot.go the full copy, stream.go the commands after
// it, lag.go the comparison with the shard's master.
//
// Bytes flow from the source's socket through the spool into the window,
// where the RDB scanner or the command reader looks at them in place, and
// from there, framed, into the writer of the target.
package sidecar

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/spool"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/status"
)

// Replicator copies one shard.
type Replicator struct {
	cfg *config.Config
	id  fence.Identity
	log *slog.Logger
	st  *status.Tracker
	w   apply.Writer
	dir string

	slots  route.SlotSet // that the shard holds, or of the source node without [link]
	want   atomic.Pointer[route.SlotSet]
	settle settling
	hole   bool // slots of the link are held by no shard
	// holeText is the finding about them, holesAt when it was looked for them.
	holeText string
	lookedAt time.Time // at the target, by the stream (lookEvery)
	dropped  dropped
	master   atomic.Pointer[psync.Node]
	limit    *rate.Limiter // bytes
	limitN   *rate.Limiter // commands

	received atomic.Int64 // offset read from the source's socket
	applied  atomic.Int64
	seen     atomic.Pointer[fence.Seen]
	upTo     atomic.Int64           // fence.Seen.UpTo, Unix milliseconds; 0 while not known
	history  atomic.Int64           // counts the histories that offsets belonged to
	replid   atomic.Pointer[string] // of the session's stream
	session  atomic.Pointer[psync.Session]
	spool    atomic.Pointer[spool.Spool] // of the session
	waker    atomic.Pointer[spool.Spool]
	holding  atomic.Bool // deadlines are held back
	held     deadlines
	moved    atomic.Pointer[psync.SlotsMovingError]
	unfenced wire.Phase                        // to return to when the fence lets this epoch write
	fencedBy atomic.Pointer[fence.FencedError] // what keeps it from writing now
	draining atomic.Bool                       // SIGTERM came
	giveUp   func()                            // ends the drain
	copiedAt time.Time                         // when the snapshot was written
	guard    guard
	reached  atomic.Int64 // applied, except for pending keys
	behind   atomic.Bool  // for more than a moment, says the watcher
	guarding atomic.Bool  // for the watcher
	whole    atomic.Bool  // complete, except for pending keys
	bulk     *bulk.Store  // large arguments of the stream
	scripts  scripts      // of a source before 7.0
	full     bool         // the target is not a complete copy
	why      reason       // of the next full copy
}

// New prepares a replicator; nothing is connected yet.
func New(cfg *config.Config, version string, log *slog.Logger) (*Replicator, error) {
	token := make([]byte, 8)
	if _, err := rand.Read(token); err != nil {
		return nil, fmt.Errorf("making a token for the incarnation: %w", err)
	}
	r := &Replicator{cfg: cfg, log: log, slots: cfg.Slots}
	r.id = fence.Identity{Token: hex.EncodeToString(token)}
	if l := cfg.Link; l != nil {
		r.id.Pair, r.id.Shard, r.id.Epoch, r.id.Link = l.Pair, l.Shard, l.Epoch, cfg.Slots.String()
		r.id.Slots = r.id.Link
	}
	r.dir = cfg.Advanced.Dir
	if err := os.MkdirAll(r.dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the working folder (advanced.dir): %w", err)
	}
	// The folder may be shared with a RedisShake; ours are unnamed files in
	// a folder of our own.
	r.dir = filepath.Join(r.dir, "redis-sync")
	if err := os.MkdirAll(r.dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the working folder (advanced.dir): %w", err)
	}
	longest := cfg.Advanced.TargetMaxBulkLen
	if longest > 0 {
		longest = max(longest, redisMaxBulk)
	}
	r.bulk = bulk.New(r.dir, longest)
	s := wire.Status{Version: version, Pair: r.id.Pair, Shard: r.id.Shard, Epoch: r.id.Epoch, Slots: cfg.Slots.String()}
	if cfg.Link != nil {
		s.Site = cfg.Link.Site
	}
	s.Findings = append(s.Findings, cfg.Warnings...)
	r.st = status.New(s)
	r.limit, r.limitN = limiter(cfg.Advanced.MaxBytesPerSec), limiter(cfg.Advanced.MaxCommandsPerS)
	if cfg.Advanced.NCPU > 0 {
		runtime.GOMAXPROCS(cfg.Advanced.NCPU)
	}
	return r, nil
}

func limiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(min(perSecond, 1<<30)))
}

// Status is the tracker, for serving.
func (r *Replicator) Status() *status.Tracker { return r.st }

// errDrained ends the loop after SIGTERM.
var errDrained = errors.New("drained")

// Run copies until ctx ends; then it applies what was read, within the bound
// of advanced.drain_seconds, and returns nil, or the *fence.FencedError that
// kept it from applying it, at once. Any other return is an error that waiting does not
// mend.
func (r *Replicator) Run(ctx context.Context) error {
	hard, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r.giveUp = func() { cancel(errDrained) }
	stop := context.AfterFunc(ctx, func() {
		r.st.SetPhase(wire.PhaseDraining)
		r.draining.Store(true)
		if s := r.session.Load(); s != nil {
			_ = s.Close() // the reader of the socket ends; what is spooled is drained
		}
		if r.fencedBy.Load() != nil { // what it has read can go nowhere, and a switch may wait for its end
			r.giveUp()
		}
		time.AfterFunc(time.Duration(r.cfg.Advanced.DrainSeconds)*time.Second, r.giveUp)
	})
	defer stop()
	err := r.run(ctx, hard)
	if errors.Is(err, errDrained) || err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fenced := r.fencedBy.Load()
		if fenced == nil {
			return nil
		}
		err = fmt.Errorf("ended while it could not write: %w", fenced)
	}
	r.st.Update(func(s *wire.Status) { s.Phase, s.InSync, s.Error = wire.PhaseFailed, false, err.Error() })
	return err
}

func (r *Replicator) run(ctx, hard context.Context) error {
	r.st.SetPhase(wire.PhaseConnecting)
	if r.id.Pair == "" {
		if err := r.identify(ctx); err != nil {
			return err
		}
	}
	r.w = r.newWriter()
	defer func() { _ = r.w.Close() }()
	ck, err := r.take(ctx)
	if err != nil {
		return err
	}
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	go r.watchMaster(watchCtx)
	pos, established := r.startFrom(ck)
	b := backoff{}
	for first := true; ; first = false {
		if ctx.Err() != nil {
			return errDrained
		}
		if !first {
			r.st.Update(func(s *wire.Status) { s.Stream.Reconnects++ })
		}
		sess, err := r.attach(ctx, pos)
		if err != nil {
			return err
		}
		began := time.Now()
		if err = r.parted(sess, pos); err == nil {
			err = r.serve(hard, sess, established)
		}
		_ = sess.Close()
		r.session.Store(nil)
		switch {
		case ctx.Err() != nil:
			return errDrained
		case errors.Is(err, apply.ErrRewound):
			r.log.Warn("the target lost acknowledged writes; reading again from its checkpoint")
			if ck, err = r.take(ctx); err != nil {
				return err
			}
			pos, established = r.startFrom(ck)
			continue
		case !errors.As(err, new(*SourceError)):
			return err
		}
		r.st.SetError(err)
		r.log.Warn("the source's stream ended", "reason", err.Error())
		// A session that broke off in the snapshot leaves no position.
		var unmendable error
		var parted *PartedError
		if moved := r.moved.Swap(nil); moved != nil {
			unmendable, r.why.cause = moved, wire.CauseSlotsMoved
		} else if errors.As(err, &parted) {
			unmendable, r.why.cause = parted, wire.CauseHistoryLost
		}
		if unmendable != nil {
			// Keys may have left this stream, or come into it, in a way that
			// no order with the other shards' streams makes good again; or the
			// target has what the source has lost.
			r.full, r.why.text = true, unmendable.Error()
			r.whole.Store(false)
			r.st.Update(func(s *wire.Status) { s.Complete, s.InSync = false, false })
			if err := r.w.BeginSnapshot(hard); err != nil {
				return err
			}
		}
		if established = true; r.full {
			pos = psync.Position{}
			if r.why.text == "" {
				r.why = reason{wire.CauseBrokenOff, "the copy before it broke off: " + err.Error()}
			}
		} else {
			pos = r.w.Applied()
		}
		if time.Since(began) > 10*time.Second {
			b = backoff{}
		}
		if err := b.wait(ctx); err != nil {
			return errDrained
		}
	}
}

// startFrom turns the target's checkpoint into the position to ask for.
func (r *Replicator) startFrom(ck fence.Checkpoint) (pos psync.Position, established bool) {
	switch {
	case ck.Usable():
		r.full = false
		if ck.Held && r.held.list == nil {
			r.held.unknown = true
			r.held.late, r.held.noted = true, true
		}
		pos = ck.Pos
		r.applied.Store(pos.Offset)
	case ck.Exists:
		r.full, r.why = true, reason{wire.CauseIncomplete, "the copy in the target is not complete"}
	default:
		r.full, r.why = true, reason{wire.CauseFirst, "the target has no checkpoint of this link and epoch"}
	}
	r.holding.Store(r.held.any())
	r.st.Update(func(s *wire.Status) { s.Complete, s.AppliedOffset = r.complete(), pos.Offset })
	return pos, ck.Exists
}

func (r *Replicator) take(ctx context.Context) (fence.Checkpoint, error) {
	ck, err := r.w.Take(ctx)
	if err != nil {
		return ck, err
	}
	if err := r.readSlots(ck.Slots); err != nil {
		return ck, err
	}
	r.st.Update(func(s *wire.Status) {
		s.Target, s.Delivery = r.w.Target(), r.w.Delivery()
		r.judgeUser(s)
	})
	return ck, nil
}

func (r *Replicator) newWriter() apply.Writer {
	t := r.cfg.SyncFile.Target
	o := apply.Options{
		Identity: r.id, Slots: r.slots, Addrs: r.cfg.TargetAddrs, Sentinels: t.Sentinels, MasterName: t.MasterName,
		Conn: r.cfg.Target, Sentinel: r.cfg.Sentinel, BatchCount: max(r.cfg.Advanced.PipelineCountLimit, 1),
		Log: r.log, Waiting: r.waiting, SkipExisting: r.cfg.Advanced.RestoreBehavior == config.RestoreSkip,
		Bulk: r.bulk, MaxQueued: r.cfg.Advanced.TargetMaxQuerybufLen,
		Seen: func() fence.Seen {
			if s := r.seen.Load(); s != nil {
				seen := *s
				if at := r.upTo.Load(); at != 0 {
					seen.UpTo = time.UnixMilli(at)
				}
				return seen
			}
			return fence.Seen{Offset: r.received.Load(), At: time.Now()}
		},
	}
	if t.Type == "cluster" {
		return apply.NewCluster(o)
	}
	return apply.NewStandalone(o)
}

// waiting is told by the writer why nothing is written.
func (r *Replicator) waiting(err error) {
	var fenced *fence.FencedError
	now := r.st.Get()
	switch {
	case err == nil:
		r.fencedBy.Store(nil)
		if now.Error == "" && now.Phase != wire.PhaseFenced {
			return
		}
		r.log.Info("writing to the target again")
		r.st.Update(func(s *wire.Status) {
			s.Error = ""
			if s.Phase == wire.PhaseFenced {
				s.Phase = r.unfenced
			}
			s.Target = r.w.Target()
			r.judgeUser(s)
		})
	default:
		if now.Error != err.Error() {
			r.log.Warn("waiting for the target", "reason", err.Error())
		}
		if errors.As(err, &fenced) {
			if r.fencedBy.Store(fenced); r.draining.Load() {
				r.giveUp()
			}
		}
		r.st.Update(func(s *wire.Status) {
			s.Error = err.Error()
			s.InSync = false
			if errors.As(err, &fenced) && s.Phase != wire.PhaseFenced {
				r.unfenced, s.Phase = s.Phase, wire.PhaseFenced
			}
		})
	}
}

// judgeUser notes when the target does not know the user that alone may write
// to a protected standby: a pod that was made anew has lost its ACLs.
func (r *Replicator) judgeUser(s *wire.Status) {
	want := r.cfg.SyncFile.Target.SyncUsername
	setFinding(s, standbyWritable, want != "" && s.Target.User != want)
}

const standbyWritable = "standby writable: the target does not know the user of the replicators any more (a pod made anew has no ACLs), " +
	"so applications may write there; apply protects it again"

// Report writes one progress line per period until ctx ends.
func (r *Replicator) Report(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s := r.st.Get()
			// An idle replicator has nothing new to say.
			now := fmt.Sprint(s.Phase, s.InSync, s.Stream.Commands, s.FullSync.Keys, s.LagBytes > 0, s.Error)
			if now == last {
				continue
			}
			last = now
			r.log.Info("progress", "phase", string(s.Phase), "inSync", s.InSync, "lagBytes", s.LagBytes, "lagSeconds", s.LagSeconds,
				"keys", s.FullSync.Keys, "commands", s.Stream.Commands, "appliedOffset", s.AppliedOffset)
		}
	}
}
