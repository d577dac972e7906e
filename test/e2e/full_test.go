package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"

	"github.com/redis-sync/kubectl-redis-sync/test/loadpod"
)

// disasters is what the steps of TestFull share beside the scene.
type disasters struct {
	*scene
	ledger *ledger
	far    loadpod.Runner // beside the target
	// Writers of both sides that write wherever they are let.
	near, other *loadpod.Writers
	killed      map[string]int // how often the plugin was killed, by verb
}

// TestFull loses sites, replicators and operators under live writes of
// commands that must not be applied twice. Every step leaves the pair in sync,
// with the source as its primary. It runs when E2E_FULL=1 is set.
func TestFull(t *testing.T) {
	steps := []struct {
		name string
		do   func(*testing.T, *disasters)
	}{
		{"network cut, forced failover, recover, failback", siteCut},
		{"site switched off, a frozen replicator wakes after the switch", siteOff},
		{"the sites do not reach each other", parted},
		{"the standby does not answer", standbyCut},
		{"site lost while the standby is being rewritten", rewritten},
		{"a frozen replicator wakes after a planned switch", frozenPlanned},
		{"planned switch while the replicators' node is cut off from its API server", nodeCut},
		{"the new master fails over right after the fence", fencedFailover},
		{"the old primary's cluster comes back in the middle of a failback", clusterBack},
		{"the plugin is killed in every step", everyStep},
		{"network cut, the plugin is killed in every step without the primary and in every step of recover", forcedAndKilled},
	}
	if reason := unable("E2E_FULL", "make e2e-full"); reason != "" {
		t.Skipf("SKIPPED: %d end-to-end steps of lost sites: %s", len(steps), reason)
	}
	d := withDisasters(t, open(t, start(t), "default", "e2e-full"))
	for _, p := range d.scenario.Placements { // writers of an earlier run
		if _, err := d.world.KubectlRun(t.Context(), p.Site, "-n", p.Namespace, "delete", "pod", "test-write", "--ignore-not-found"); err != nil {
			t.Fatal(err)
		}
	}
	d.clean(t)
	d.resetCounters(t)
	if _, err := d.runner.Fill(t.Context(), 2000, 1); err != nil {
		t.Fatal(err)
	}
	d.plugin(t, 0, d.pair.Args("apply", "--yes", "--stale-keys", "prune", "--stale-keys-max-share", "1", "--timeout", "5m")...)
	for _, step := range steps {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, d) }) {
			d.explain(t)
			t.Fatalf("stopped after %q: the later steps need it", step.name)
		}
	}
	t.Logf("the plugin was killed in steps of %v", d.killed)
	d.plugin(t, 0, d.pair.Later("delete", "--yes", "--purge")...)
	d.nothingCreated(t)
}

func withDisasters(t *testing.T, s *scene) *disasters {
	t.Helper()
	far := loadpod.Runner{Cluster: s.cluster(t, s.pair.Target), Placement: s.pair.Target}
	return &disasters{scene: s, ledger: newLedger(), far: far, killed: map[string]int{}}
}

// resetCounters lets the counters of the writers begin at 0, and the pair at
// its first epoch, whatever an earlier run left in the source.
func (d *disasters) resetCounters(t *testing.T) {
	t.Helper()
	masters, err := d.source.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fence := wire.FenceKey(d.pair.Name)
	if _, err := d.source.Do(t.Context(), masterOf(t, masters, fence), "DEL", fence); err != nil {
		t.Fatal(err)
	}
	for _, worker := range []int{0, farWorkers} {
		for i := range 4 {
			key := fmt.Sprintf("live:{w%d}:steps", worker+i)
			if _, err := d.source.Do(t.Context(), masterOf(t, masters, key), "DEL", key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// writeEverywhere starts writers on both sides: one side refuses them.
func (d *disasters) writeEverywhere(t *testing.T) {
	t.Helper()
	d.near, d.other = d.begin(t, d.runner, 0), d.begin(t, d.far, farWorkers)
}

func (d *disasters) begin(t *testing.T, r loadpod.Runner, first int) *loadpod.Writers {
	t.Helper()
	w, err := r.Start(t.Context(), 200, first)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// end stops writers and books what they were told; it returns the keys of
// their counters.
func (d *disasters) end(t *testing.T, w *loadpod.Writers) []string {
	t.Helper()
	stats, err := w.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.ledger.book(stats)
	t.Logf("%d commands acknowledged, %d refused, %d without an answer; last error %q", stats.Acknowledged, stats.Failed, stats.Unknown, stats.LastError)
	return keysOf(stats.Steps)
}

// cut takes the network of the source's site away and gives it back.
func (d *disasters) cut(t *testing.T) (restore func()) {
	t.Helper()
	site, restored := d.pair.Source.Site, false
	if err := d.world.Cut(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if restored {
			return
		}
		restored = true
		if err := d.world.Restore(context.WithoutCancel(t.Context()), site); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(restore)
	return restore
}

var lastHeard = regexp.MustCompile(`last heard of at (\S+) \((\d+) s ago\), when the standby was (\d+) bytes and (\d+\.\d) s behind`)

// heardOf waits until the standby has noted that it heard of every shard of the
// primary a moment ago: what it says of a lost primary begins there.
func (d *disasters) heardOf(t *testing.T) {
	t.Helper()
	d.eventually(t, 30*time.Second, "every shard of the primary was heard of within two seconds", func() bool {
		for shard := range shards {
			text := d.doOnTarget(t, "HGET", wire.CheckpointKey(d.pair.Name, shard), wire.CkptSourceTime)
			at, err := strconv.ParseInt(text, 10, 64)
			if err != nil || time.Since(time.UnixMilli(at)) > 2*time.Second {
				t.Logf("shard %d was heard of at %q, now is %d", shard, text, time.Now().UnixMilli())
				return false
			}
		}
		return true
	})
}

// force is the failover without the primary: refused first, and then done.
// It returns when the primary was heard of last, as the refusal says.
func (d *disasters) force(t *testing.T) (since time.Time) {
	t.Helper()
	start := time.Now()
	refused := d.plugin(t, 3, d.pair.Later("failover", "--yes")...)
	contains(t, refused.Stderr, d.pair.Source.Instance, "does not answer", "--accept-data-loss")
	t.Logf("refused after %.1f s", time.Since(start).Seconds())
	said := lastHeard.FindStringSubmatch(refused.Stderr)
	if said == nil {
		t.Fatalf("no last known lag in %q", refused.Stderr)
	}
	since, err := time.Parse(time.RFC3339, said[1])
	if err != nil {
		t.Fatal(err)
	}
	enter := time.Now()
	over := d.switches(t, 0, "failover", "--yes", "--accept-data-loss")
	if over.Phase != "FailedOver" || over.Primary != d.pair.Target.Instance {
		t.Errorf("failover reached %+v", over)
	}
	d.eventually(t, 30*time.Second, "the writers of the other side write", func() bool {
		stats, err := d.other.Stats(t.Context())
		return err == nil && !stats.First.IsZero()
	})
	stats, err := d.other.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first write accepted %.2f s after Enter; the command took %.1f s", stats.First.Sub(enter).Seconds(), over.Seconds)
	return since
}

// returned gives the network of the old primary back, and waits until it
// answers.
func (d *disasters) returned(t *testing.T, restore func()) {
	t.Helper()
	restore()
	d.eventually(t, 2*time.Minute, "the old primary answers", func() bool {
		_, err := d.near.Stats(t.Context())
		return err == nil
	})
	d.invalidated(t)
}

// invalidated: the old primary answers again, and holds what nobody else has.
func (d *disasters) invalidated(t *testing.T) {
	t.Helper()
	r := d.plugin(t, 0, d.pair.Later("status")...)
	contains(t, r.Stdout, "FailedOver", "took over at epoch", "kubectl redis-sync recover "+d.pair.Name)
}

// home recovers the old primary and fails back; all writers have ended then,
// and both sides are equal to the ledger.
func (d *disasters) home(t *testing.T) {
	t.Helper()
	d.homeBy(t, "--discard-divergence")
}

// homeBy is home with another decision about what only the old primary has.
func (d *disasters) homeBy(t *testing.T, flags ...string) {
	t.Helper()
	refused := d.plugin(t, 3, d.pair.Later("recover", "--yes")...)
	contains(t, refused.Stderr, d.pair.Source.Instance, "were compared", "--discard-divergence", "--rescue-file")
	recovered := d.switches(t, 0, append([]string{"recover", "--yes", "--timeout", "4m"}, flags...)...)
	if recovered.Phase != "RecoverInSync" || recovered.FullCopies != 1 {
		t.Errorf("recover reached %+v", recovered)
	}
	d.failBack(t)
}

// failBack returns to the first state after a recover, and settles.
func (d *disasters) failBack(t *testing.T) {
	t.Helper()
	if takesWrites(t, d.source) || !takesWrites(t, d.target) {
		t.Error("after recover only the new primary is to take writes")
	}
	d.near = d.begin(t, d.runner, 0)
	back := d.switches(t, 0, "failback", "--yes", "--max-lag", "1m", "--timeout", "3m")
	if back.Phase != "InSync" || back.Primary != d.pair.Source.Instance || back.FullCopies != 0 {
		t.Errorf("failback reached %+v", back)
	}
	t.Logf("nobody could write for %.2f s", back.UnavailableSeconds)
	d.settle(t)
}

// settle ends the writers and compares both sides with each other and with the
// ledger.
func (d *disasters) settle(t *testing.T) {
	t.Helper()
	d.end(t, d.near)
	d.end(t, d.other)
	d.equalAfter(t, d.pair, shards)
	d.ledger.check(t, d.source)
	d.ledger.check(t, d.target)
}

// siteCut: the primary's site loses its network. Its applications write on
// there; that is what is lost. One of the replicators does not end, and reads
// on from the old primary when it is back.
func siteCut(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	seen := watchSteps(t, d.near)
	d.inSync(t, time.Minute)
	b := d.bareReplicator(t)
	time.Sleep(10 * time.Second) // of writes that must not get lost
	d.heardOf(t)
	cutAt := time.Now()
	restore := d.cut(t)
	since := d.force(t)
	samples := seen.end()
	if before := cutAt.Sub(since); before > 15*time.Second || before < -3*time.Second {
		t.Errorf("cut at %s, but the refusal says that the primary was heard of at %s", cutAt.UTC(), since)
	}
	d.ledger.holdsUntil(t, d.target, samples, since.Add(-5*time.Second))
	status := d.plugin(t, 1, d.pair.Later("status")...) // one site does not answer
	contains(t, status.Stdout, "FailedOver", "took over at epoch")

	counted := keysOf(samples[len(samples)-1].steps)
	before := counters(t, d.target, counted)
	d.returned(t, restore)
	time.Sleep(10 * time.Second) // anything old had its time to write
	for key, n := range counters(t, d.target, counted) {
		if n != before[key] {
			t.Errorf("counter %s of the old primary's applications went from %d to %d on the new one", key, before[key], n)
		}
	}
	b.fenced(t, d)
	b.end(t)
	d.end(t, d.near)
	lost := d.ledger.lose(t, d.target, counted)
	t.Logf("the forced failover lost %d steps that the old primary had acknowledged, most of them behind the cut", lost)
	if lost == 0 {
		t.Error("the applications behind the cut lost nothing: they did not write")
	}
	d.homeWithRescue(t, counted)
}
