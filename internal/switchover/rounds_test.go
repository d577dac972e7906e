package switchover_test

import (
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
