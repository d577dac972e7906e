// Package status holds what a replicator says about itself and serves it:
// /status, /metrics, /healthz, /readyz. Nothing can be changed over HTTP.
package status

import (
	"maps"
	"sync"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Tracker is the one place where the state of a replicator is kept.
type Tracker struct {
	mu sync.Mutex
	s  wire.Status
	// alive is when the engine last did or waited for something on purpose.
	alive time.Time
}

// New starts a tracker from what the configuration says.
func New(s wire.Status) *Tracker {
	s.SchemaVersion = wire.StatusSchemaVersion
	s.StartedAt = time.Now().UTC().Format(time.RFC3339)
	if s.Phase == "" {
		s.Phase = wire.PhaseStarting
	}
	return &Tracker{s: s, alive: time.Now()}
}

// Update changes the status under the lock.
func (t *Tracker) Update(f func(s *wire.Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.s)
	t.alive = time.Now()
}

// Get returns a copy.
func (t *Tracker) Get() wire.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.s
	s.Findings = append([]string(nil), t.s.Findings...)
	s.FullSync.Causes = maps.Clone(t.s.FullSync.Causes)
	return s
}

// SetPhase changes the phase and clears the error of the one before.
func (t *Tracker) SetPhase(p wire.Phase) {
	t.Update(func(s *wire.Status) {
		s.Phase = p
		if p != wire.PhaseStreaming {
			s.InSync = false
		}
	})
}

// SetError notes why nothing goes on, or clears it.
func (t *Tracker) SetError(err error) {
	t.Update(func(s *wire.Status) {
		s.Error = ""
		if err != nil {
			s.Error = err.Error()
		}
	})
}
