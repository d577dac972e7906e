package switchover

import (
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// cancel ends a switch that is under way. Before the commit it opens the old
// primary again. After it, while the new primary was not opened, the roles turn
// back at the next epoch: an epoch never goes down.
func cancel(w World, s *pair.Switch, id string) (*Plan, error) {
	r := w.Record
	switch {
	case s == nil:
		return nil, fault.Refuse("", "pair %s: no switch is under way", r.Pair)
	case s.Verb == pair.VerbCancel:
		p := &Plan{Switch: *s, Phase: r.Phase}
		return p.takeBack(w)
	case s.Opening:
		return nil, fault.Refuse("resume it, and fail back afterwards",
			"site %s may have taken writes already: cancelling would lose them", s.To)
	}
	if r.Epoch < s.Epoch {
		p := &Plan{Switch: *s, Phase: r.Phase}
		p.Switch.Verb = s.Verb
		if len(s.Window) == 0 && !w.Sites[s.From].Closed {
			return p, nil // nothing was closed
		}
		if fence := w.Sites[s.To].Fence; fence > r.Epoch {
			return nil, fault.Refuse("look at the records of both sites: one of them is out of date, or another pair of that name has taken site "+s.To+" over",
				"site %s holds the fence of epoch %d, the record is at epoch %d: with site %s open again both could take writes", s.To, fence, r.Epoch, s.From)
		}
		if err := present(w, s.From, "the primary"); err != nil {
			return nil, err
		}
		p.add(OpLift, s.From)
		return p, nil
	}
	if s.Forced {
		return nil, fault.Refuse("resume it", "the roles have changed without site %s, which may hold other writes: only resume goes on from here", s.From)
	}
	p := &Plan{Phase: r.Phase, Switch: pair.Switch{
		ID: id, Verb: pair.VerbCancel, From: s.To, To: s.From, Epoch: r.Epoch + 1, Before: s.Before,
		Window: s.Window, Shards: s.Shards, Base: s.Base,
	}}
	return p.takeBack(w)
}

// takeBack turns the roles back to the old primary, which was closed all the
// time, so that the standby still is its copy.
func (p *Plan) takeBack(w World) (*Plan, error) {
	s := &p.Switch
	if err := present(w, s.To, "the old primary"); err != nil {
		return nil, err
	}
	if err := present(w, s.From, "the standby"); err != nil {
		return nil, err
	}
	if w.Record.Epoch < s.Epoch {
		p.commit()
	}
	p.fence(s.From)
	p.Steps = append(p.Steps, Step{Op: OpCarry, Site: s.From, Epoch: s.Epoch})
	p.add(OpLift, s.To)
	p.add(OpLink, s.From)
	p.add(OpAwait, s.From)
	return p, nil
}
