package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// settings of a run, from the environment.
type settings struct {
	total  time.Duration
	wanted []topology
	seed   uint64
	rate   int
	skip   map[string]bool
	dir    string
	race   bool
}

func readSettings(t *testing.T) settings {
	t.Helper()
	s := settings{seed: rand.Uint64N(1 << 32), rate: 1000, skip: map[string]bool{}, dir: os.Getenv("SOAK_DIR"), race: os.Getenv("SOAK_RACE") != ""}
	minutes := 0.5
	var err error
	for name, read := range map[string]func(string) error{
		"SOAK_MINUTES": func(v string) error { minutes, err = strconv.ParseFloat(v, 64); return err },
		"SOAK_SEED":    func(v string) error { s.seed, err = strconv.ParseUint(v, 10, 64); return err },
		"SOAK_RATE":    func(v string) error { s.rate, err = strconv.Atoi(v); return err },
	} {
		if v := os.Getenv(name); v != "" {
			if err := read(v); err != nil {
				t.Fatalf("%s is %q: %v", name, v, err)
			}
		}
	}
	if minutes <= 0 || s.rate <= 0 {
		t.Fatal("SOAK_MINUTES and SOAK_RATE must be more than 0")
	}
	s.total = time.Duration(minutes * float64(time.Minute))
	for _, name := range split(os.Getenv("SOAK_SKIP")) {
		s.skip[name] = true
	}
	s.wanted = topologies
	if names := split(os.Getenv("SOAK_TOPOLOGY")); len(names) > 0 {
		s.wanted = nil
		for _, name := range names {
			found := false
			for _, p := range topologies {
				if p.String() == name {
					s.wanted, found = append(s.wanted, p), true
				}
			}
			if !found {
				t.Fatalf("SOAK_TOPOLOGY names %q; there are %v", name, topologies)
			}
		}
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "redis-sync-soak-"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func split(list string) []string {
	var out []string
	for _, f := range strings.Split(list, ",") {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

func TestSoak(t *testing.T) {
	testredis.Binary(t)
	s := readSettings(t)
	binary := filepath.Join(t.TempDir(), "redis-sync-sidecar")
	args := []string{"build", "-o", binary}
	if s.race {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./cmd/redis-sync-sidecar")...)
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the replicator: %v\n%s", err, out)
	}
	t.Logf("SOAK_SEED=%d, %v for %v, logs in %s", s.seed, s.total, s.wanted, s.dir)
	for _, p := range s.wanted {
		t.Run(p.String(), func(t *testing.T) { soak(t, s, p, binary) })
	}
	if !t.Failed() && os.Getenv("SOAK_DIR") == "" {
		if err := os.RemoveAll(s.dir); err != nil {
			t.Error(err)
		}
	}
}

// ending is about what getting in sync and comparing takes at the end of a
// topology, and minDisturbed the least time for disturbances.
const (
	ending       = 10 * time.Second
	minDisturbed = 5 * time.Second
)

// patience bounds what has no time of its own to take: a busy machine is no
// violation, one that never gets there is.
const patience = 5 * time.Minute

// soak runs one topology.
func soak(t *testing.T, s settings, p topology, binary string) {
	logs := filepath.Join(s.dir, fmt.Sprintf("%s-seed-%d-%s", p, s.seed, time.Now().UTC().Format("150405")))
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	length := s.total / time.Duration(len(s.wanted))
	rep := newReport(func(format string, args ...any) {
		t.Logf("%6.1f s "+format, append([]any{time.Since(began).Seconds()}, args...)...)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source := startSide(ctx, t, "source", p.source, logs)
	target := startSide(ctx, t, "target", p.target, logs)
	target.fence(ctx, t)
	rep.began = time.Now()

	w := startWriters(ctx, source, p.allows(), rep, s.seed, s.rate)
	defer w.end()
	pause(ctx, time.Second) // so that there is something to copy at first
	c := &chaos{source: source, target: target, writers: w, report: rep, skip: s.skip, seed: s.seed}
	for name := range s.skip {
		if !slices.Contains(c.names(), name) {
			t.Logf("SOAK_SKIP names %q, which is not among those of this topology: %q", name, c.names())
		}
	}
	for shard, set := range source.sets {
		slots := source.slots(t, set)
		r := &replicator{
			shard: shard, binary: binary, dir: t.TempDir(), report: rep, logPath: filepath.Join(logs, fmt.Sprintf("replicator-%d.log", shard)),
			toml: func(dir string, metricsPort, pprofPort int) string {
				return syncToml(source, target, shard, slots, dir, metricsPort, pprofPort)
			},
		}
		r.mu.Lock()
		err := r.launch()
		r.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		defer r.stop()
		c.repls = append(c.repls, r)
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go watchStatus(watching, c.repls, rep)
	if !inSync(ctx, t, c, patience) {
		return
	}

	// First everything, in rounds with a comparison after each: a full copy
	// would mend what went wrong before it. Then only what is around the
	// replicators, so that the processes of the end have lived through
	// something.
	left := max(length-time.Since(began)-ending, minDisturbed)
	rounds := int(left/roundLength) + 1
	var before map[*process]resources
	for i := range rounds {
		disturb(ctx, t, c, left*4/5/time.Duration(rounds))
		resume := w.pause()
		before = settle(ctx, t, c)
		if i < rounds-1 {
			judge(ctx, t, c, p, fmt.Sprintf("round %d of %d", i+1, rounds))
		}
		resume()
	}
	c.onlyAround.Store(true)
	disturb(ctx, t, c, left/5)
	w.end()
	after := settle(ctx, t, c)
	leaks(rep, c, before, after)
	judge(ctx, t, c, p, "at the end")
	t.Logf("%s", rep)
	if len(rep.failures) > 0 {
		t.Errorf("%d violations; SOAK_SEED=%d; logs: %s", len(rep.failures), s.seed, logs)
	}
}

// roundLength is about the time between comparisons.
const roundLength = time.Minute

// disturb runs all disturbers for a while.
func disturb(ctx context.Context, t *testing.T, c *chaos, length time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(ctx, length)
	defer stop()
	c.run(ctx, t)
	c.seed++
}

// judge compares both sides; nothing may write.
func judge(ctx context.Context, t *testing.T, c *chaos, p topology, when string) {
	t.Helper()
	result, err := compare(ctx, c.source, c.target, p.allows().databases)
	if err != nil {
		c.report.fail("%s: %v", when, err)
		return
	}
	c.report.logf("%s: %d disturbances, %d full copies so far; %d keys compared %v: %d differ, %d more with deadlines of a few seconds",
		when, c.report.kills(), c.report.full(), result.keys, result.byType, len(result.differences), len(result.near))
	show(t, when+": differs", result.differences)
	show(t, when+": differs, had a deadline of a few seconds", result.near)
	if result.keys == 0 {
		c.report.fail("%s: the source is empty: nothing was compared", when)
	}
	if len(result.differences) > 0 {
		c.report.fail("%s: %d keys differ", when, len(result.differences))
	}
}

func show(t *testing.T, what string, list []difference) {
	for i, d := range list {
		if i == 20 {
			t.Logf("... and %d more", len(list)-i)
			return
		}
		t.Logf("%s: %s", what, d)
	}
}

// watchStatus samples /status of all replicators.
func watchStatus(ctx context.Context, repls []*replicator, rep *report) {
	for pause(ctx, 300*time.Millisecond) {
		for _, r := range repls {
			if s, err := r.process().status(); err == nil {
				rep.status(s.LagSeconds, s.Error)
			}
		}
	}
}

// inSync waits until every replicator is in sync, and has applied what its
// shard's master has now.
func inSync(ctx context.Context, t *testing.T, c *chaos, timeout time.Duration) bool {
	t.Helper()
	for i, r := range c.repls {
		at := int64(-1)
		var last wire.Status
		err := until(ctx, timeout, fmt.Sprintf("replicator %d is in sync", i), func() error {
			m, err := c.source.master(c.source.sets[i])
			if err != nil {
				return err
			}
			if at < 0 {
				if at, err = offset(m); err != nil {
					return err
				}
			}
			if last, err = r.process().status(); err != nil {
				return notYet("/status: %v", err)
			}
			if !last.InSync || last.AppliedOffset < at {
				return notYet("phase %s, in sync %v, applied %d of %d, error %q", last.Phase, last.InSync, last.AppliedOffset, at, last.Error)
			}
			return nil
		})
		if err != nil {
			c.report.fail("%v; status: %+v", err, last)
			return false
		}
	}
	return true
}

// settle waits for all replicators and asks for their resources.
func settle(ctx context.Context, t *testing.T, c *chaos) map[*process]resources {
	t.Helper()
	out := map[*process]resources{}
	if !inSync(ctx, t, c, patience) {
		return out
	}
	for _, r := range c.repls {
		p := r.process()
		res, err := p.resources()
		if err != nil {
			c.report.fail("asking process %d of shard %d for its resources: %v", p.number, r.shard, err)
			continue
		}
		out[p] = res
	}
	return out
}

// leaks compares what the processes that lived through the second part had
// before and after it.
func leaks(rep *report, c *chaos, before, after map[*process]resources) {
	for _, r := range c.repls {
		p := r.process()
		old, ok := before[p]
		if !ok {
			rep.logf("shard %d: process %d is new: its resources are not compared", r.shard, p.number)
			continue
		}
		now := after[p]
		rep.logf("shard %d: open files %d, then %d; goroutines %d, then %d", r.shard, old.fds, now.fds, old.goroutines, now.goroutines)
		if now.fds > old.fds+3 || now.goroutines > old.goroutines+5 {
			rep.fail("shard %d: process %d leaks: open files %d, then %d; goroutines %d, then %d", r.shard, p.number, old.fds, now.fds, old.goroutines, now.goroutines)
		}
	}
}
