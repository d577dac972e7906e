package soak

import (
	"context"
	"errors"
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
