package switchover_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestNeverForcedInTheMiddle: who accepts a data loss while both sites answer
// was asked about a plan without one. When the old primary is silent in a later
// round the switch stops there; only another command may give it up.
func TestNeverForcedInTheMiddle(t *testing.T) {
	for name, silence := range map[string]func(*simSite){
		"API server": func(site *simSite) { site.up = false },
		"Redis":      func(site *simSite) { site.redis = false },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim()
			s.tick()
			op := s.operator("op1")
			op.onStep = func(step switchover.Step) {
				if step.Op == switchover.OpLook {
					silence(s.sites["a"])
				}
			}
			asked := 0
			accept := switchover.Options{AcceptDataLoss: true}
			ran, err := switchover.Run(t.Context(), op, pair.VerbFailover, op.id, accept, func(p *switchover.Plan) error {
				if asked++; p.Switch.Forced {
					t.Error("asked about a forced plan")
				}
				return nil
			})
			if fault.ExitCode(err) != fault.CodePartial || !strings.Contains(fault.Remedy(err), "resume --accept-data-loss") || asked != 1 {
				t.Errorf("asked %d times, exit %d, remedy %q: %v", asked, fault.ExitCode(err), fault.Remedy(err), err)
			}
			if len(ran.Left) > 0 {
				t.Errorf("left of a round that was not begun: %v", ran.Left)
			}
			b := s.sites["b"]
			if b.record.Epoch != 1 || b.record.Primary != "a" || b.fence != 1 || b.writable() || !s.sites["a"].closed {
				t.Errorf("it went on:\n%s", s.state())
			}

			s.giveUp("a", "b")
			op = s.operator("op2")
			if _, err := switchover.Run(t.Context(), op, pair.VerbResume, op.id, accept, yes); err != nil {
				t.Fatalf("resume --accept-data-loss: %v", err)
			}
			if b.record.Primary != "b" || !b.writable() || !b.record.Body.Switch.Forced {
				t.Errorf("resumed without the old primary:\n%s", s.state())
			}
			if len(s.violations) > 0 {
				t.Error(s.violations)
			}
		})
	}
}

// lateError is an operator that cannot look a second time.
type lateError struct {
	*operator
	looks int
	err   error
}

func (o *lateError) Look(ctx context.Context) (switchover.World, error) {
	if o.looks++; o.looks > 1 {
		return switchover.World{}, o.err
	}
	return o.operator.Look(ctx)
}

// TestStoppedWhileClosed: nobody can write, so whatever stops the switch there
// does not end with a code that says that nothing was done.
func TestStoppedWhileClosed(t *testing.T) {
	for name, cause := range map[string]error{
		"rights":    fault.New(fault.CodeAuth, "ask for them", "you may not"),
		"no record": fault.New(fault.CodeNotFound, "look there", "nothing is there"),
		"anything":  errors.New("connection reset"),
	} {
		t.Run(name, func(t *testing.T) {
			check := func(s *sim, err error) {
				t.Helper()
				if fault.ExitCode(err) != fault.CodePartial || !errors.Is(err, cause) || fault.Remedy(err) == "" {
					t.Errorf("exit %d, remedy %q: %v", fault.ExitCode(err), fault.Remedy(err), err)
				}
				if !s.sites["a"].closed || s.sites["a"].record.Switching() == nil {
					t.Errorf("the switch is not in the middle:\n%s", s.state())
				}
			}
			s := newSim()
			op := s.operator("step")
			op.refuse = map[switchover.Op]error{switchover.OpDrain: cause}
			_, err := switchover.Run(t.Context(), op, pair.VerbFailover, op.id, switchover.Options{}, yes)
			check(s, err)

			s = newSim()
			late := &lateError{operator: s.operator("look"), err: cause}
			late.refuse = map[switchover.Op]error{switchover.OpLook: switchover.ErrMoved}
			_, err = switchover.Run(t.Context(), late, pair.VerbFailover, late.id, switchover.Options{}, yes)
			check(s, err)

			// Before anything was done the code is that of the cause.
			s = newSim()
			late = &lateError{operator: s.operator("first"), looks: 1, err: cause}
			if _, err := switchover.Run(t.Context(), late, pair.VerbFailover, late.id, switchover.Options{}, yes); fault.ExitCode(err) != fault.ExitCode(cause) {
				t.Errorf("exit %d: %v", fault.ExitCode(err), err)
			}
		})
	}
}
