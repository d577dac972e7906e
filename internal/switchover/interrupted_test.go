package switchover_test

import (
	"context"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestInterruptedAfterTheCommit: the roles have turned and nobody can write: a
// switch that is interrupted there opens the new primary before it stops. Run
// again it reaches its end.
func TestInterruptedAfterTheCommit(t *testing.T) {
	for _, at := range []switchover.Op{switchover.OpCommit, switchover.OpFence, switchover.OpPosition} {
		t.Run(string(at), func(t *testing.T) {
			s := newSim()
			s.tick()
			op := s.operator("op1")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			op.onStep = func(step switchover.Step) {
				if step.Op == at {
					cancel()
				}
			}
			ran, err := switchover.Run(ctx, op, pair.VerbFailover, op.id, switchover.Options{}, yes)
			if fault.ExitCode(err) != fault.CodeInterrupted {
				t.Errorf("exit %d: %v", fault.ExitCode(err), err)
			}
			if last := ran.Done[len(ran.Done)-1]; last.Op != switchover.OpOpen || !s.sites["b"].writable() {
				t.Errorf("it stopped after %s:\n%s", last, s.state())
			}
			again := s.operator("op2")
			if _, err := switchover.Run(t.Context(), again, pair.VerbResume, again.id, switchover.Options{}, yes); err != nil {
				t.Fatal(err)
			}
			if a := s.sites["a"]; a.record.Phase != pair.PhaseRecoverInSync || len(s.violations) > 0 {
				t.Errorf("%v\n%s", s.violations, s.state())
			}
		})
	}
}
