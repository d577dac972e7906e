package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// chaos disturbs everything at once, each kind of thing in a goroutine of its
// own.
type chaos struct {
	source, target *side
	repls          []*replicator
	writers        *writers
	report         *report
	skip           map[string]bool
	seed           uint64

	onlyAround atomic.Bool // the replicators themselves are left alone

	// Restarts of servers are run by the test's goroutine: they may end the
	// test.
	work chan func(t *testing.T)
	wg   sync.WaitGroup
}

// disturbance is one thing that can be done to a part.
type disturbance struct {
	name   string
	weight int
	do     func(ctx context.Context, rnd *rand.Rand) error
}

// run disturbs until ctx ends, and returns when everything is whole again.
func (c *chaos) run(ctx context.Context, t *testing.T) {
	t.Helper()
	c.work = make(chan func(*testing.T))
	for i, r := range c.repls {
		c.loop(ctx, uint64(10+i), c.replicatorPause, c.onReplicator(r))
	}
	c.loop(ctx, 1, between(300*time.Millisecond, 2*time.Second), c.onNetwork())
	c.loop(ctx, 2, between(2*time.Second, 5*time.Second), c.onSide(c.source))
	c.loop(ctx, 3, between(2*time.Second, 5*time.Second), c.onSide(c.target))
	done := make(chan struct{})
	go func() { c.wg.Wait(); close(done) }()
	for {
		select {
		case f := <-c.work:
			f(t)
		case <-done:
			return
		}
	}
}

func between(low, high time.Duration) func(*rand.Rand) time.Duration {
	return func(rnd *rand.Rand) time.Duration { return low + time.Duration(rnd.Int64N(int64(high-low))) }
}

// replicatorPause is about a second for all replicators together.
func (c *chaos) replicatorPause(rnd *rand.Rand) time.Duration {
	n := time.Duration(len(c.repls))
	return between(n*300*time.Millisecond, n*1500*time.Millisecond)(rnd)
}

// loop does one disturbance after the other.
func (c *chaos) loop(ctx context.Context, stream uint64, wait func(*rand.Rand) time.Duration, list []disturbance) {
	var left []disturbance
	total := 0
	for _, d := range list {
		if !c.skip[d.name] {
			left = append(left, d)
			total += d.weight
		}
	}
	if total == 0 {
		return
	}
	rnd := rand.New(rand.NewPCG(c.seed, stream))
	c.wg.Go(func() {
		for pause(ctx, wait(rnd)) {
			n := rnd.IntN(total)
			for _, d := range left {
				if n -= d.weight; n >= 0 {
					continue
				}
				err := d.do(ctx, rnd)
				switch {
				case err == nil:
					c.report.count(d.name)
				case errors.Is(err, errSkipped), ctx.Err() != nil && errors.Is(err, ctx.Err()):
				default:
					c.report.fail("%s: %v", d.name, err)
				}
				break
			}
		}
	})
}

// errSkipped says that a disturbance did not fit the moment.
var errSkipped = errors.New("not now")

// --- the replicators

func (c *chaos) onReplicator(r *replicator) []disturbance {
	kill := func(sig syscall.Signal) func(context.Context, *rand.Rand) error {
		return func(_ context.Context, rnd *rand.Rand) error {
			if c.spare(r, rnd) {
				return errSkipped
			}
			_, err := r.signal(sig, true)
			return err
		}
	}
	return []disturbance{
		{"replicator killed", 70, kill(syscall.SIGKILL)},
		{"replicator ended with SIGTERM", 8, kill(syscall.SIGTERM)},
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

// --- the network

func (c *chaos) onNetwork() []disturbance {
	of := func(s *side) func(*rand.Rand) *proxy {
		all := append(s.members(), s.sentinels...)
		return func(rnd *rand.Rand) *proxy { return all[rnd.IntN(len(all))].proxy }
	}
	// Small numbers of bytes hit handshakes, large ones the middle of batches;
	// there are few bytes of answers and acknowledgements.
	cut := func(name string, s *side, d direction, magnitude int) disturbance {
		pick := of(s)
		return disturbance{name, 16, func(_ context.Context, rnd *rand.Rand) error {
			if pick(rnd).cutAfter(d, rnd.Int64N(1<<rnd.IntN(magnitude))) == 0 {
				return errSkipped
			}
			return nil
		}}
	}
	refuse := func(name string, s *side) disturbance {
		pick := of(s)
		return disturbance{name, 4, func(_ context.Context, rnd *rand.Rand) error {
			if pick(rnd).refuse(between(50*time.Millisecond, 3*time.Second)(rnd)) == 0 {
				return errSkipped
			}
			return nil
		}}
	}
	away := func(name string, s *side) disturbance {
		return disturbance{name, 3, func(ctx context.Context, rnd *rand.Rand) error {
			d := between(200*time.Millisecond, 4*time.Second)(rnd)
			for _, m := range append(s.members(), s.sentinels...) {
				m.proxy.refuse(d)
			}
			pause(ctx, d)
			return nil
		}}
	}
	stall := func(name string, s *side) disturbance {
		return disturbance{name, 4, func(ctx context.Context, rnd *rand.Rand) error {
			d := direction(rnd.IntN(2))
			for _, m := range s.members() {
				defer m.proxy.hold(d)()
			}
			pause(ctx, between(200*time.Millisecond, 4*time.Second)(rnd))
			return nil
		}}
	}
	return []disturbance{
		cut("connection cut, from the source", c.source, toClient, 16),
		cut("connection cut, to the source", c.source, toServer, 9),
		cut("connection cut, from the target", c.target, toClient, 12),
		cut("connection cut, to the target", c.target, toServer, 16),
		refuse("one server of the source unreachable", c.source),
		refuse("one server of the target unreachable", c.target),
		away("the whole source unreachable", c.source),
		away("the whole target unreachable", c.target),
		stall("the source's network stands still", c.source),
		stall("the target's network stands still", c.target),
	}
}

// --- the servers

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
		return []disturbance{hangs, {name, weight, func(ctx context.Context, rnd *rand.Rand) error {
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
	case <-time.After(time.Minute):
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
	return until(context.WithoutCancel(ctx), 2*time.Minute, "the "+s.name+" is whole again", func() error { return s.whole(set) })
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
	err = until(context.WithoutCancel(ctx), time.Minute, "a replica took over from "+m.Addr, func() error {
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
	} else {
		for _, r := range set.members {
			if r != m {
				if _, err := r.TryDo("CLUSTER", "FAILOVER"); err != nil {
					return fmt.Errorf("CLUSTER FAILOVER at %s: %w", r.Addr, err)
				}
				break
			}
		}
	}
	err = until(context.WithoutCancel(ctx), 30*time.Second, "a replica took over from "+m.Addr, func() error {
		next, err := s.master(set)
		if err == nil && next == m {
			return notYet("%s is still the master", m.Addr)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.waitWhole(ctx, s, set)
}

// names of all disturbances, for SOAK_SKIP.
func (c *chaos) names() []string {
	var list []string
	for _, l := range [][]disturbance{c.onReplicator(nil), c.onNetwork(), c.onSide(c.source), c.onSide(c.target)} {
		for _, d := range l {
			list = append(list, d.name)
		}
	}
	sort.Strings(list)
	return list
}
