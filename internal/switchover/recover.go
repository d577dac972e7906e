package switchover

import (
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// recoverPair starts copying from the new primary to the old one: from the
// noted positions where the old one has refused writes ever since, else anew.
func recoverPair(w World, id string, o Options) (*Plan, error) {
	r := w.Record
	serving, old := r.Primary, r.Standby()
	if err := present(w, serving, "the primary"); err != nil {
		return nil, err
	}
	if err := present(w, old, "the one to recover"); err != nil {
		return nil, err
	}
	now, site := w.Sites[serving], w.Sites[old]
	switch {
	case now.Fence != r.Epoch:
		return nil, fault.Refuse("the record and the fence belong together: look at both records",
			"site %s holds the fence of epoch %d, the record is at epoch %d: an old replicator could still write there", serving, now.Fence, r.Epoch)
	case site.Fence > r.Epoch:
		return nil, fault.Refuse("look at the records of both sites: one of them is out of date",
			"site %s holds the fence of epoch %d, the record is at epoch %d", old, site.Fence, r.Epoch)
	}
	s := pair.Switch{From: old, To: serving}
	if last := r.Body.Switch; last != nil && last.From == old && last.To == serving && last.Epoch == r.Epoch {
		s = *last
	}
	s.ID, s.Verb, s.Epoch, s.Before, s.Ended = id, pair.VerbRecover, r.Epoch, r.Phase, false
	s.Opening, s.Opened, s.NoReverse = true, true, false
	invalid := r.Body.Sites[old].Invalidated || s.Forced
	// This link ran already, and has its own checkpoints. The fence alone does
	// not say so: an interrupted recover may have got no further.
	begun := site.Fence == r.Epoch && w.Link.Complete
	partial := !invalid && len(s.Positions) > 0 && (s.Kept && site.Protected || site.Closed && site.Protectable)
	p := &Plan{Switch: s, Phase: pair.PhaseFailedOver}
	if !partial {
		p.Switch.Positions = nil
	}
	full := !partial && !begun
	if full && site.Keys > 0 && !o.Discard && !o.Rescue {
		return nil, fault.Refuse("give --discard-divergence to let it go",
			"site %s may hold writes that site %s does not have: a full copy replaces its %d keys", old, serving, site.Keys)
	}
	if site.Protectable {
		p.add(OpProtect, old)
	} else {
		p.warn("site %s cannot be protected as a standby: %s", old, site.WhyNot)
	}
	if full && o.Rescue {
		p.add(OpRescue, old)
	}
	if site.Closed || len(s.Window) > 0 {
		p.add(OpLift, old)
	}
	p.fence(old)
	if partial {
		p.add(OpCheckpoint, old)
	}
	p.Steps = append(p.Steps, Step{Op: OpLink, Site: old, Full: full})
	p.add(OpAwait, old)
	return p, nil
}
