package switchover

import (
	"context"
	"errors"
	"slices"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// ErrSlowAnswer is what confirm gives for a yes that came late: what the plan
// was made from may not be so any more.
var ErrSlowAnswer = errors.New("agreed to, some time after it was asked")

// agree gives the plan that confirm agreed to, made from how things are now.
func agree(ctx context.Context, h Hands, verb pair.Verb, id string, o Options, confirm func(*Plan) error, result *Result) (*Plan, error) {
	var agreed *Plan
	for {
		w, err := h.Look(ctx)
		if err != nil {
			return nil, err
		}
		result.Record = w.Record
		p, err := Decide(w, verb, id, o)
		if err != nil {
			return nil, err
		}
		if agreed != nil && agreed.sameAs(p) {
			return p, nil
		}
		if err := confirm(p); !errors.Is(err, ErrSlowAnswer) {
			return p, err
		}
		agreed = p
	}
}

// sameAs tells a plan that does the same, and gives the same up.
func (p *Plan) sameAs(other *Plan) bool {
	return p.Switch.Forced == other.Switch.Forced && p.Switch.Epoch == other.Switch.Epoch && p.Switch.To == other.Switch.To &&
		slices.Equal(p.Steps, other.Steps)
}
