package switchover_test

import (
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestPendingKeys: values that only the primary has are lost without it, which
// has to be said; a planned switch waits for them with the last writes.
func TestPendingKeys(t *testing.T) {
	s := newSim()
	decide := func(o switchover.Options) (*switchover.Plan, error) {
		w, err := s.operator("x").Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.Link.Pending = 2
		return switchover.Decide(w, pair.VerbFailover, "x", o)
	}
	if _, err := decide(switchover.Options{}); err != nil {
		t.Errorf("planned: %v", err)
	}
	s.sites["a"].up = false
	if _, err := decide(switchover.Options{AcceptDataLoss: true}); err == nil || !strings.Contains(err.Error(), "2 keys") {
		t.Errorf("without the primary: %v", err)
	}
	if p, err := decide(switchover.Options{AcceptDataLoss: true, AcceptIncomplete: true}); err != nil || !p.Switch.Forced {
		t.Errorf("without the primary and the keys: %+v, %v", p, err)
	}
}
