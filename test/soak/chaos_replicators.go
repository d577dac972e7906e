package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

func (c *chaos) onReplicator(r *replicator) []disturbance {
	return []disturbance{
		{"replicator killed", 70, func(_ context.Context, rnd *rand.Rand) error {
			if c.spare(r, rnd) {
				return errSkipped
			}
			_, err := r.signal(syscall.SIGKILL, true)
			return err
		}},
		{"replicator ended with SIGTERM", 8, func(_ context.Context, rnd *rand.Rand) error {
			if c.spare(r, rnd) {
				return errSkipped
			}
			return r.drain()
		}},
		{"replicator frozen", 8, func(ctx context.Context, rnd *rand.Rand) error {
			if c.onlyAround.Load() {
				return errSkipped
			}
			p, err := r.signal(syscall.SIGSTOP, false)
			if err != nil {
				return err
			}
			pause(ctx, between(100*time.Millisecond, 3*time.Second)(rnd))
			return resume(p)
		}},
		{"replicator frozen and taken over", 7, func(ctx context.Context, rnd *rand.Rand) error {
			if c.spare(r, rnd) {
				return errSkipped
			}
			return r.supersede(ctx, between(500*time.Millisecond, 4*time.Second)(rnd))
		}},
		{"replicator killed, its bytes arrive later", 7, func(ctx context.Context, rnd *rand.Rand) error {
			if c.spare(r, rnd) {
				return errSkipped
			}
			return c.lateBytes(ctx, rnd, r)
		}},
	}
}

func resume(p *process) error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		select {
		case <-p.done: // it was frozen while it ended
		case <-time.After(time.Second):
			return fmt.Errorf("waking process %d: %w", p.number, err)
		}
	}
	return nil
}

// spare leaves most full copies alone: one that is killed every second never
// ends.
func (c *chaos) spare(r *replicator, rnd *rand.Rand) bool {
	if c.onlyAround.Load() {
		return true
	}
	s, err := r.process().status()
	return err == nil && s.Phase == wire.PhaseFullSync && rnd.IntN(8) > 0
}

// lateBytes keeps back what a replicator sends to the target, kills it, lets
// the next one take the shard, and only then lets the bytes through.
func (c *chaos) lateBytes(ctx context.Context, rnd *rand.Rand, r *replicator) error {
	var releases []func() int
	defer func() {
		for _, release := range releases {
			release()
		}
	}()
	for _, m := range c.target.members() {
		releases = append(releases, m.proxy.hold(toServer))
	}
	pause(ctx, between(50*time.Millisecond, 800*time.Millisecond)(rnd))
	old, err := r.signal(syscall.SIGKILL, true)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline); {
		if p := r.process(); p != old {
			if s, err := p.status(); err == nil && (s.Phase == wire.PhaseCatchingUp || s.Phase == wire.PhaseStreaming) {
				break
			}
		}
		if !pause(ctx, 50*time.Millisecond) {
			break
		}
	}
	return nil
}
