package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// forcedAndKilled: the primary's site is gone, and the plugin is killed in a
// step of the failover without it; and again in a step of the recover. The
// verb, run again, has to reach the same end. Each round takes the next step.
func forcedAndKilled(t *testing.T, d *disasters) {
	for round, more := 0, true; more; round++ {
		t.Run(fmt.Sprintf("step %d", round+1), func(t *testing.T) { more = d.killedWithout(t, round) })
		if t.Failed() {
			return
		}
	}
}

// nth is the step of a round; false when it was the last one.
func nth(steps []string, round int) (step string, more bool) {
	return steps[min(round, len(steps)-1)], round+1 < len(steps)
}

// killedWithout is one such round; it tells whether there are more steps.
func (d *disasters) killedWithout(t *testing.T, round int) (more bool) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	restore := d.cut(t)
	lossy := []string{"--accept-data-loss"}
	step, more := nth(d.steps(t, "failover", lossy...), round)
	if !d.kill(t, "failover", step, lossy...) {
		// It says that one site could not be asked.
		contains(t, d.plugin(t, 1, d.pair.Later("unlock", "--yes")...).Stdout, "is removed")
		over := d.switches(t, 0, "failover", "--yes", "--accept-data-loss")
		if over.Phase != "FailedOver" || over.Primary != d.pair.Target.Instance {
			t.Errorf("failover reached %+v", over)
		}
	}
	if !takesWrites(t, d.target) {
		t.Error("the new primary takes no writes")
	}
	d.returned(t, restore)
	counted := d.end(t, d.near)
	t.Logf("%d steps of the old primary are lost", d.ledger.lose(t, d.target, counted))

	discard := []string{"--discard-divergence", "--timeout", "4m"}
	step, others := nth(d.steps(t, "recover", discard...), round)
	if !d.kill(t, "recover", step, discard...) {
		d.plugin(t, 0, d.pair.Later("unlock", "--yes")...)
		recovered := d.switches(t, 0, append([]string{"recover", "--yes"}, discard...)...)
		if recovered.Phase != "RecoverInSync" || recovered.Primary != d.pair.Target.Instance {
			t.Errorf("recover reached %+v", recovered)
		}
	}
	d.failBack(t)
	return more || others
}

// rewritten: the primary's site is lost while a full copy of it is being
// written. What the standby holds then is promoted only when that is said.
func rewritten(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	d.scaleReplicators(t, 0)
	for shard := range shards {
		d.doProtected(t, "del", "DEL", wire.CheckpointKey(d.pair.Name, shard))
	}
	d.doOnTarget(t, "ACL", "SETUSER", wire.SyncUser, "-restore") // so the copy has begun, and does not end
	d.scaleReplicators(t, 1)
	d.eventually(t, time.Minute, "full copies run", func() bool {
		for _, status := range d.statuses(t) {
			if status.Complete || !status.FullSync.Running {
				return false
			}
		}
		return true
	})
	planned := d.plugin(t, 3, d.pair.Later("failover", "--yes")...)
	contains(t, planned.Stderr, "complete copy")
	restore := d.cut(t)
	refused := d.plugin(t, 3, d.pair.Later("failover", "--yes", "--accept-data-loss")...)
	contains(t, refused.Stderr, "holds no complete copy", "--accept-incomplete-copy")
	if takesWrites(t, d.target) {
		t.Error("the standby takes writes after the refusal")
	}
	over := d.switches(t, 0, "failover", "--yes", "--accept-data-loss", "--accept-incomplete-copy")
	if over.Phase != "FailedOver" || over.Primary != d.pair.Target.Instance || !takesWrites(t, d.target) {
		t.Errorf("failover reached %+v", over)
	}
	d.returned(t, restore)
	counted := d.end(t, d.near)
	t.Logf("%d steps of the old primary are lost", d.ledger.lose(t, d.target, counted))
	d.home(t)
}

// lostSite is the sample of TestFull that always runs: the primary's site loses
// its network, comes back, is recovered and is the primary again.
func lostSite(t *testing.T, s *scene) {
	s.stopWriters(t)
	s.writers = nil // those of this step have other pods
	d := withDisasters(t, s)
	d.resetCounters(t)
	d.writeEverywhere(t)
	seen := watchSteps(t, d.near)
	d.inSync(t, time.Minute)
	time.Sleep(10 * time.Second) // of writes that must not get lost; seen at least 5 s before the cut
	d.heardOf(t)
	restore := d.cut(t)
	since := d.force(t)
	samples := seen.end()
	d.ledger.holdsUntil(t, d.target, samples, since.Add(-5*time.Second))
	d.returned(t, restore)
	counted := d.end(t, d.near)
	t.Logf("%d steps of the old primary are lost", d.ledger.lose(t, d.target, counted))
	d.home(t)
	var err error
	if s.writers, err = s.runner.Write(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
}
