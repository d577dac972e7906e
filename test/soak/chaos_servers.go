package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// onSide kills the servers of a side, one at a time: a cluster without most of
// its masters cannot elect, and a shard that loses both its members has lost
// its data without us.
func (c *chaos) onSide(s *side) []disturbance {
	pick := func(rnd *rand.Rand) *set { return s.sets[rnd.IntN(len(s.sets))] }
	hangs := disturbance{
		s.name + "'s master hangs", 2, func(ctx context.Context, rnd *rand.Rand) error {
			m, err := s.master(pick(rnd))
			if err != nil {
				return fmt.Errorf("looking for the master: %w", err)
			}
			return c.hang(ctx, m, between(100*time.Millisecond, 800*time.Millisecond)(rnd))
		},
	}
	if s.shape == standalone {
		// The backlog of a restarted source begins at its end: mostly a full
		// copy follows, which would hide what went wrong before it.
		name, weight, sig := s.name+" restarted", 1, syscall.SIGTERM
		hangs.weight = 10
		if s.name == "target" {
			name, weight, sig = s.name+" killed and restarted", 20, syscall.SIGKILL
		}
		return []disturbance{hangs, {name, weight, func(_ context.Context, rnd *rand.Rand) error {
			return c.restart(s.sets[0].members[0], sig, between(0, 2*time.Second)(rnd))
		}}}
	}
	return []disturbance{
		hangs,
		{s.name + "'s replica killed", 8, func(ctx context.Context, rnd *rand.Rand) error {
			set := pick(rnd)
			m, err := s.master(set)
			if err != nil {
				return fmt.Errorf("looking for the master: %w", err)
			}
			var replicas []*member
			for _, r := range set.members {
				if r != m {
					replicas = append(replicas, r)
				}
			}
			r := replicas[rnd.IntN(len(replicas))]
			r.die()
			pause(ctx, between(0, 3*time.Second)(rnd))
			return c.rejoin(ctx, s, set, r, m)
		}},
		{s.name + "'s replica hangs", 3, func(ctx context.Context, rnd *rand.Rand) error {
			set := pick(rnd)
			m, err := s.master(set)
			if err != nil {
				return fmt.Errorf("looking for the master: %w", err)
			}
			for _, r := range set.members {
				if r != m {
					if err := c.hang(ctx, r, between(200*time.Millisecond, 14*time.Second)(rnd)); err != nil {
						return err
					}
					return c.waitWhole(ctx, s, set)
				}
			}
			return errSkipped
		}},
		{s.name + "'s master killed, failover", 8, func(ctx context.Context, rnd *rand.Rand) error {
			return c.failover(ctx, rnd, s, pick(rnd))
		}},
		{s.name + "'s planned failover", 4, func(ctx context.Context, rnd *rand.Rand) error {
			return c.plannedFailover(ctx, s, pick(rnd))
		}},
	}
}

func (c *chaos) hang(ctx context.Context, m *member, d time.Duration) error {
	if err := c.inTest(func(t *testing.T) { m.Signal(t, syscall.SIGSTOP) }); err != nil {
		return err
	}
	pause(ctx, d)
	return c.inTest(func(t *testing.T) { m.Signal(t, syscall.SIGCONT) })
}

// inTest runs f in the test's goroutine.
func (c *chaos) inTest(f func(t *testing.T)) error {
	done := make(chan struct{})
	select {
	case c.work <- func(t *testing.T) { defer close(done); f(t) }:
		<-done
		return nil
	case <-time.After(patience):
		return errors.New("the test does not take work any more")
	}
}

// restart ends a server that keeps its data, and starts it again.
func (c *chaos) restart(m *member, sig syscall.Signal, after time.Duration) error {
	return c.inTest(func(t *testing.T) {
		if sig != syscall.SIGKILL {
			m.Stop(t)
		}
		m.die()
		time.Sleep(after)
		m.restart(t)
	})
}

// rejoin starts a dead member again and waits until it has what its master
// has.
func (c *chaos) rejoin(ctx context.Context, s *side, set *set, m, master *member, args ...string) error {
	if s.shape == sentinel && len(args) == 0 {
		args = []string{"--replicaof", fmt.Sprintf("127.0.0.1 %d", master.Port)}
	}
	if err := c.inTest(func(t *testing.T) { m.restart(t, args...) }); err != nil {
		return err
	}
	return c.waitWhole(ctx, s, set)
}

// waitWhole waits beyond the end of the run too: the next step needs it.
func (c *chaos) waitWhole(ctx context.Context, s *side, set *set) error {
	return until(context.WithoutCancel(ctx), patience, "the "+s.name+" is whole again", func() error { return s.whole(set) })
}

// failover kills a master and waits until another took over and the dead one
// is back. Of the source it is mostly done when the replicas have everything,
// so that a resync can be partial.
func (c *chaos) failover(ctx context.Context, rnd *rand.Rand, s *side, set *set) error {
	m, err := s.master(set)
	if err != nil {
		return fmt.Errorf("looking for the master: %w", err)
	}
	if s == c.source && rnd.IntN(6) > 0 {
		resume := c.writers.pause()
		err := until(ctx, 20*time.Second, "the replicas have everything", func() error { return s.whole(set) })
		m.die()
		resume()
		if err != nil && ctx.Err() == nil {
			return err
		}
	} else {
		m.die()
	}
	var next *member
	err = until(context.WithoutCancel(ctx), patience, "a replica took over from "+m.Addr, func() error {
		var err error
		next, err = s.master(set)
		return err
	})
	if err != nil {
		return err
	}
	pause(ctx, between(0, 2*time.Second)(rnd))
	if s.shape == sentinel && rnd.IntN(3) == 0 {
		// It comes back as the empty master that it believes to be, until
		// Sentinel makes it a replica.
		return c.rejoin(ctx, s, set, m, next, "--replicaof", "no one")
	}
	return c.rejoin(ctx, s, set, m, next)
}

func (c *chaos) plannedFailover(ctx context.Context, s *side, set *set) error {
	m, err := s.master(set)
	if err != nil {
		return fmt.Errorf("looking for the master: %w", err)
	}
	if s.shape == sentinel {
		if _, err := s.sentinels[0].TryDo("SENTINEL", "FAILOVER", masterName); err != nil {
			return fmt.Errorf("SENTINEL FAILOVER: %w", err)
		}
	}
	var asked time.Time
	err = until(context.WithoutCancel(ctx), patience, "a replica took over from "+m.Addr, func() error {
		next, err := s.master(set)
		if err != nil || next != m {
			return err
		}
		// An election can fail for want of a vote, and the nodes give it up
		// after 5 s (CLUSTER_MF_TIMEOUT in cluster.h): ask again then.
		if s.shape == cluster && time.Since(asked) > 6*time.Second {
			asked = time.Now()
			for _, r := range set.members {
				if r == m {
					continue
				}
				if _, err := r.TryDo("CLUSTER", "FAILOVER"); err != nil {
					return fmt.Errorf("CLUSTER FAILOVER at %s: %w", r.Addr, err)
				}
				break
			}
		}
		return notYet("%s is still the master", m.Addr)
	})
	if err != nil {
		return err
	}
	return c.waitWhole(ctx, s, set)
}
