package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// without cuts the network of sites, as the test clusters' cut does, and gives
// it back when do has ended.
func (d *disasters) without(t *testing.T, do func(), names ...string) {
	t.Helper()
	if err := d.world.Cut(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.world.Restore(context.WithoutCancel(t.Context()), names...); err != nil {
			t.Error(err)
		}
	}()
	do()
}

// parted: the operator reaches both sites, but they do not reach each other. A
// planned failover cannot be done, and must leave the primary as it was.
func parted(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	full := d.fullSyncs(t)
	d.without(t, func() {
		d.eventually(t, 90*time.Second, "every replicator notices the cut", func() bool {
			for _, status := range d.statuses(t) {
				if status.InSync || status.LagSeconds < 12 {
					return false
				}
			}
			return true
		})
		refused := d.plugin(t, 3, d.pair.Later("failover", "--yes")...)
		contains(t, refused.Stderr, "behind", "--max-lag")
		timedOut := d.plugin(t, 4, d.pair.Later("failover", "--yes", "--max-lag", "1h", "--timeout", "10s", "--verify", "none")...)
		contains(t, timedOut.Stderr, "taken back")
		if !takesWrites(t, d.source) || takesWrites(t, d.target) {
			t.Error("only the primary is to take writes")
		}
		d.restarted(t)
		unknown := d.plugin(t, 3, d.pair.Later("failover", "--yes", "--max-lag", "1h", "--timeout", "10s")...)
		contains(t, unknown.Stderr, "has not heard its master")
	}, d.pair.Source.Site, d.pair.Target.Site)
	d.inSync(t, 3*time.Minute)
	if after := d.fullSyncs(t); after > full { // a new process begins to count at 0
		t.Errorf("%d full copies before the cut, %d after it", full, after)
	}
	d.settle(t)
}

// restarted kills a replicator and waits for the next one, which cannot reach
// its source.
func (d *disasters) restarted(t *testing.T) {
	t.Helper()
	deployments, err := d.world.Replicators(t.Context(), d.pair)
	if err != nil {
		t.Fatal(err)
	}
	old, err := d.world.ReplicatorPod(t.Context(), d.pair, deployments[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.world.KubectlRun(t.Context(), d.pair.Target.Site, "-n", d.pair.Target.Namespace,
		"delete", "pod", old, "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, time.Minute, "the new replicator looks for its source", func() bool {
		pod, err := d.world.ReplicatorPod(t.Context(), d.pair, deployments[0])
		if err != nil || pod == old {
			return false
		}
		statuses, err := d.world.Statuses(t.Context(), d.pair)
		return err == nil && len(statuses) == shards && statuses[0].Phase == wire.PhaseConnecting && statuses[0].Source.MasterOffset == 0
	})
}

// standbyCut: there is nothing to fail over to.
func standbyCut(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	from := []string{d.pair.Name, "--context", d.pair.Source.Site, "--namespace", d.pair.Source.Namespace}
	d.without(t, func() {
		for _, verb := range [][]string{{"failover", "--yes"}, {"failover", "--yes", "--accept-data-loss", "--accept-incomplete-copy"}} {
			refused := d.plugin(t, 3, append(verb[:1:1], append(from[:len(from):len(from)], verb[1:]...)...)...)
			contains(t, refused.Stderr, d.pair.Target.Instance, "does not answer")
		}
		if !takesWrites(t, d.source) {
			t.Error("the primary takes no writes")
		}
	}, d.pair.Target.Site)
	d.inSync(t, 3*time.Minute)
	d.settle(t)
}
