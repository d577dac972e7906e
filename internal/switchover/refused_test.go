package switchover_test

import (
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestRefusedInTheMiddle: a step that is refused after others were done must
// not end with the code that says that nothing was.
func TestRefusedInTheMiddle(t *testing.T) {
	var refused map[switchover.Op]error
	run := func(s *sim, verb pair.Verb, o switchover.Options, spoil func(step switchover.Step)) error {
		op := s.operator(string(verb))
		op.onStep, op.refuse = spoil, refused
		_, err := switchover.Run(t.Context(), op, verb, op.id, o, yes)
		return err
	}
	fenced := func(s *sim, site string) func(switchover.Step) {
		return func(step switchover.Step) {
			if step.Op == switchover.OpFence && step.Site == site {
				s.sites[site].fence = 9 // of somebody else
			}
		}
	}
	want := func(t *testing.T, err error, code int) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "the fence is at 9") || fault.ExitCode(err) != code || fault.Remedy(err) == "" {
			t.Errorf("exit code %d, remedy %q: %v", fault.ExitCode(err), fault.Remedy(err), err)
		}
	}
	for _, site := range []string{"a", "b"} { // the old primary, the new one
		t.Run("failover "+site, func(t *testing.T) {
			s := newSim()
			want(t, run(s, pair.VerbFailover, switchover.Options{}, fenced(s, site)), fault.CodePartial)
			if r := s.sites["a"].record; r.Primary != "b" || r.Epoch != 2 {
				t.Errorf("the primary is %s at epoch %d", r.Primary, r.Epoch)
			}
		})
	}
	// Before the commit the record says that a switch is under way.
	t.Run("first step", func(t *testing.T) {
		s := newSim()
		refused = map[switchover.Op]error{switchover.OpClose: fault.Refuse("wait", "the fence is at 9")}
		want(t, run(s, pair.VerbFailover, switchover.Options{}, nil), fault.CodePartial)
		refused = nil
		if r := s.sites["a"].record; r.Phase != pair.PhaseFailingOver || r.Switching() == nil {
			t.Errorf("the record is in phase %s", r.Phase)
		}
		if err := run(s, pair.VerbCancel, switchover.Options{}, nil); err != nil {
			t.Errorf("cancel: %v", err)
		}
	})
	t.Run("recover", func(t *testing.T) {
		s := newSim()
		s.sites["a"].up, s.sites["a"].redis = false, false
		if err := run(s, pair.VerbFailover, switchover.Options{AcceptDataLoss: true}, nil); err != nil {
			t.Fatal(err)
		}
		s.sites["a"].up, s.sites["a"].redis = true, true
		want(t, run(s, pair.VerbRecover, switchover.Options{Discard: true}, fenced(s, "a")), fault.CodePartial)
	})
}
