package switchover_test

import (
	"slices"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// ops are the kinds of steps, with their sites.
func ops(steps []switchover.Step) (out []string) {
	for _, s := range steps {
		out = append(out, string(s.Op)+" "+s.Site)
	}
	return out
}

// commitEpoch is the epoch of the commit among steps; 0 without one.
func commitEpoch(steps []switchover.Step) int64 {
	for _, s := range steps {
		if s.Op == switchover.OpCommit {
			return s.Epoch
		}
	}
	return 0
}

// TestExpect: whatever the record says, the steps are those from a pair in
// order, and the next switch gets the next epoch.
func TestExpect(t *testing.T) {
	record := func(primary string, phase pair.Phase) *pair.Record {
		return &pair.Record{Pair: "dr1", Phase: phase, Epoch: 7, Primary: primary, Paused: phase == pair.PhaseSyncing, Body: pair.Body{
			Spec:   pair.Spec{Sites: []pair.Site{{Name: "a"}, {Name: "b"}}, PreferredPrimary: "a"},
			Sites:  map[string]pair.SiteState{"a": {Invalidated: true}, "b": {}},
			Shards: []pair.ShardState{{Pods: []string{"a-0"}}},
			Switch: &pair.Switch{Verb: pair.VerbFailover, From: "a", To: "b", Epoch: 8, Forced: true},
		}}
	}
	for _, primary := range []string{"a", "b"} {
		for _, phase := range pair.Phases {
			r := record(primary, phase)
			e, err := switchover.Expect(r)
			if err != nil {
				t.Fatalf("primary %s, phase %s: %v", primary, phase, err)
			}
			there, back := int64(8), int64(9)
			if primary == "b" {
				there, back = back, there
			}
			if commitEpoch(e.Failover) != there || commitEpoch(e.Forced) != there || commitEpoch(e.Failback) != back {
				t.Errorf("primary %s: epochs %d, %d and %d", primary, commitEpoch(e.Failover), commitEpoch(e.Forced), commitEpoch(e.Failback))
			}
			for _, c := range []struct {
				name  string
				steps []switchover.Step
				want  []string
			}{
				{"forced", e.Forced, []string{"commit b", "fence b", "open b", "stop b"}},
				{"recover", e.Recover, []string{"protect a", "rescue a", "fence a", "link a", "await a"}},
				{"cancel before the commit", e.CancelEarly, []string{"lift a"}},
				{"cancel after it", e.CancelLate, []string{"commit a", "fence b", "carry b", "lift a", "link b", "await b"}},
			} {
				if got := ops(c.steps); !slices.Equal(got, c.want) {
					t.Errorf("%s: %v, expected %v", c.name, got, c.want)
				}
			}
			if n := len(e.Failover); n < 10 || e.Failover[n-1].Op != switchover.OpAwait || e.Failover[1].Op != switchover.OpClose || e.Failback[1].Site != "b" {
				t.Errorf("failover %v, failback %v", ops(e.Failover), ops(e.Failback))
			}
			if r.Phase != phase || r.Body.Switch.Epoch != 8 || !r.Body.Sites["a"].Invalidated {
				t.Error("the record was changed")
			}
		}
	}
	open := record("a", pair.PhaseInSync)
	open.Body.Spec.ProtectStandby = pair.ProtectNone
	e, err := switchover.Expect(open)
	if err != nil || len(e.Warnings) != 1 || slices.Contains(ops(e.Failover), "protect a") {
		t.Errorf("without protection: %v, warnings %v, steps %v", err, e.Warnings, ops(e.Failover))
	}
}
