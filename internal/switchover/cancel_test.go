package switchover_test

import (
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestFenceOfAnother: when somebody else holds the standby by a higher fence,
// the old primary is not opened again, by nobody.
func TestFenceOfAnother(t *testing.T) {
	s := newSim()
	s.tick()
	op := s.operator("op1")
	op.onStep = func(step switchover.Step) {
		if step.Op == switchover.OpLook {
			s.sites["b"].fence = 5
		}
	}
	ran, err := switchover.Run(t.Context(), op, pair.VerbFailover, op.id, switchover.Options{}, yes)
	if fault.ExitCode(err) != fault.CodePartial || !strings.Contains(err.Error(), "site b holds the fence of epoch 5") {
		t.Errorf("exit %d: %v", fault.ExitCode(err), err)
	}
	if len(ran.Left) > 0 {
		t.Errorf("the refusal of a plan counts as that of the step %q", ran.Left[0])
	}
	op = s.operator("op2")
	_, err = switchover.Run(t.Context(), op, pair.VerbCancel, op.id, switchover.Options{}, yes)
	if fault.ExitCode(err) != fault.CodeRefused || !strings.Contains(err.Error(), "site b holds the fence of epoch 5") {
		t.Errorf("cancel: exit %d: %v", fault.ExitCode(err), err)
	}
	if a := s.sites["a"]; !a.closed || a.record.Switching() == nil {
		t.Errorf("the old primary was opened:\n%s", s.state())
	}

	s.sites["b"].fence = 1 // it was a mistake, and somebody mended it
	if _, err := switchover.Run(t.Context(), op, pair.VerbCancel, op.id, switchover.Options{}, yes); err != nil {
		t.Errorf("cancel: %v", err)
	}
	if !s.sites["a"].writable() {
		t.Errorf("not cancelled:\n%s", s.state())
	}
}
