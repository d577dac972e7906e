package switchover_test

import (
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestSlowAnswer: somebody is asked whether the silent primary is to be given up,
// and answers when it is back: it is asked again, about a switch without a loss.
// Where nothing has changed the late answer counts.
func TestSlowAnswer(t *testing.T) {
	for name, back := range map[string]bool{"it came back": true, "it did not": false} {
		t.Run(name, func(t *testing.T) {
			s := newSim()
			s.tick()
			a, b := s.sites["a"], s.sites["b"]
			a.up, a.redis = false, false
			op := s.operator("op1")
			var asked []bool
			_, err := switchover.Run(t.Context(), op, pair.VerbFailover, op.id, switchover.Options{AcceptDataLoss: true}, func(p *switchover.Plan) error {
				asked = append(asked, p.Switch.Forced)
				if len(asked) > 1 {
					return nil
				}
				a.up, a.redis = back, back
				return switchover.ErrSlowAnswer
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := 1; !back && (len(asked) != want || !b.record.Body.Switch.Forced) {
				t.Errorf("asked %v:\n%s", asked, s.state())
			}
			if back && (len(asked) != 2 || !asked[0] || asked[1] || b.record.Body.Switch.Forced || a.writable()) {
				t.Errorf("asked %v, and did not close the old primary:\n%s", asked, s.state())
			}
			if !b.writable() || len(s.violations) > 0 {
				t.Errorf("%v\n%s", s.violations, s.state())
			}
		})
	}
	// What can no longer be done is refused, whatever was agreed to.
	s := newSim()
	s.tick()
	op := s.operator("op1")
	_, err := switchover.Run(t.Context(), op, pair.VerbFailover, op.id, switchover.Options{}, func(*switchover.Plan) error {
		s.sites["a"].up = false
		return switchover.ErrSlowAnswer
	})
	if fault.ExitCode(err) != fault.CodeRefused || s.sites["b"].writable() {
		t.Errorf("%v\n%s", err, s.state())
	}
}
