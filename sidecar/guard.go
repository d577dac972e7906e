package sidecar

import (
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// guard is on while the stream is behind: the target lets keys expire by its
// own clock, and what the source did to a key just before its time was over,
// or to keep it alive, may still be to come. A command that finds no key then
// may be one that lacks it, so the value is fetched from the source instead.
//
// After a full copy the guard is not needed: until the stream has caught up,
// near deadlines are held back (see deadlines.go).
type guard struct {
	on     bool
	since  time.Time
	inTime time.Time // when the stream was last known not to be behind
}

// maxSuspects bounds the keys that are pending while the guard is on. Each
// takes some 200 bytes of memory; a full copy is faster than so many fetches.
const maxSuspects = 200_000

// beginGuard puts the guard on at the start of a session that may be behind.
func (r *Replicator) beginGuard(full bool) {
	if full || r.held.late {
		r.setGuard(false)
		return
	}
	if time.Since(r.guard.inTime) < maxLag {
		return
	}
	r.setGuard(true)
}

func (r *Replicator) setGuard(on bool) {
	r.guard.on, r.guard.since = on, time.Now()
	r.guarding.Store(on)
	r.w.Guard(on)
}

// watchGuard puts the guard on when the stream has fallen behind and calls it
// off when it has caught up. Nothing of a transaction is open.
func (r *Replicator) watchGuard() error {
	s := r.seen.Load()
	current := s != nil && s.At.After(r.guard.since) && r.reached.Load() >= s.Offset
	switch {
	case r.guard.on && current:
		r.setGuard(false)
		r.guard.inTime = s.At
	case r.guard.on && r.w.PendingCount() > maxSuspects:
		r.full, r.why = true, reason{wire.CauseExpired, fmt.Sprintf("more than %d keys may have expired on the target while the stream was behind", maxSuspects)}
		return &SourceError{fmt.Errorf("copying again: %s", r.why.text)}
	case !r.guard.on && r.behind.Load() && !r.held.late:
		r.setGuard(true)
	case current && !r.behind.Load():
		r.guard.inTime = s.At
	}
	return nil
}
