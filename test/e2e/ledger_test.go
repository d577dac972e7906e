package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	"github.com/redis-sync/kubectl-redis-sync/test/load"
	"github.com/redis-sync/kubectl-redis-sync/test/loadpod"
)

// farWorkers is the number of the first writer beside the target: its keys are
// other ones than those of the writers beside the source.
const farWorkers = 10

// ledger is what the applications were told: per counter the steps that were
// acknowledged, and those without an answer. It knows nothing of what the
// product says.
type ledger struct{ acknowledged, unknown map[string]int64 }

func newLedger() *ledger {
	return &ledger{acknowledged: map[string]int64{}, unknown: map[string]int64{}}
}

// book adds what writers that have ended were told.
func (l *ledger) book(stats load.Stats) {
	for key, n := range stats.Steps {
		l.acknowledged[key] += n
	}
	for key, n := range stats.Lost {
		l.unknown[key] += n
	}
}

// counters reads the counters of a ledger's keys from an instance.
func counters(t *testing.T, instance *harness.Instance, keys []string) map[string]int64 {
	t.Helper()
	masters, err := instance.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, key := range keys {
		value, err := instance.Do(t.Context(), masterOf(t, masters, key), "GET", key)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if out[key], err = strconv.ParseInt(fmt.Sprint(value), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// masterOf finds the pod that serves a key.
func masterOf(t *testing.T, masters []harness.Master, key string) string {
	t.Helper()
	slot := topology.KeySlot(key)
	for _, m := range masters {
		if slices.ContainsFunc(m.Slots, func(r [2]int) bool { return slot >= r[0] && slot <= r[1] }) {
			return m.Pod
		}
	}
	t.Fatalf("no master serves slot %d", slot)
	return ""
}

func keysOf(m map[string]int64) []string { return slices.Sorted(maps.Keys(m)) }

// check compares an instance with the ledger.
func (l *ledger) check(t *testing.T, instance *harness.Instance) {
	t.Helper()
	total := int64(0)
	for key, n := range counters(t, instance, keysOf(l.acknowledged)) {
		want, most := l.acknowledged[key], l.acknowledged[key]+l.unknown[key]
		if n < want || n > most {
			t.Errorf("%s: counter %s is %d; %d steps were acknowledged and %d had no answer", instance.Placement.Site, key, n, want, most-want)
		}
		total += want
	}
	if total == 0 {
		t.Error("no step was acknowledged")
	}
	t.Logf("%s holds the %d acknowledged steps of %d counters", instance.Placement.Site, total, len(l.acknowledged))
}

// lose takes the steps out of the ledger that an instance does not have, and
// says how many they are. There must not be more than were acknowledged.
func (l *ledger) lose(t *testing.T, instance *harness.Instance, keys []string) int64 {
	t.Helper()
	lost := int64(0)
	for key, n := range counters(t, instance, keys) {
		if n > l.acknowledged[key]+l.unknown[key] {
			t.Errorf("%s: counter %s is %d, of %d acknowledged steps and %d without an answer", instance.Placement.Site, key, n, l.acknowledged[key], l.unknown[key])
		}
		lost += max(0, l.acknowledged[key]-n)
		l.acknowledged[key], l.unknown[key] = n, 0
	}
	return lost
}

// watch notes every now and then what the writers were told.
type watch struct {
	stop  chan struct{}
	group sync.WaitGroup
	seen  []sample
}

type sample struct {
	at    time.Time // before it was asked
	steps map[string]int64
}

func watchSteps(t *testing.T, w *loadpod.Writers) *watch {
	t.Helper()
	out := &watch{stop: make(chan struct{})}
	out.group.Go(func() {
		for {
			select {
			case <-out.stop:
				return
			case <-time.After(250 * time.Millisecond):
			}
			at := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // the site may be gone
			if stats, err := w.Stats(ctx); err == nil {
				out.seen = append(out.seen, sample{at, stats.Steps})
			}
			cancel()
		}
	})
	return out
}

func (w *watch) end() []sample {
	close(w.stop)
	w.group.Wait()
	return w.seen
}

// holdsUntil fails unless an instance has everything that was acknowledged
// until a time, in the ledger and since. Steps are numbers: a counter that has
// reached one has them all.
func (l *ledger) holdsUntil(t *testing.T, instance *harness.Instance, seen []sample, until time.Time) {
	t.Helper()
	var last sample
	for _, s := range seen {
		if s.at.Before(until) {
			last = s
		}
	}
	if len(last.steps) == 0 {
		t.Fatalf("nothing was seen of the writers until %s", until)
	}
	for key, n := range counters(t, instance, keysOf(last.steps)) {
		if want := l.acknowledged[key] + last.steps[key]; n < want {
			t.Errorf("%s: counter %s is %d, but %d steps were acknowledged until %s", instance.Placement.Site, key, n, want, last.at)
		}
	}
}
