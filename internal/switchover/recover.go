package switchover

import (
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// recoverWay is how an old primary can be fed.
type recoverWay struct {
	last    pair.Switch
	partial bool // from the noted positions
	full    bool // by a full copy that has not begun
}

// wayOf refuses while the old primary cannot be fed at all.
func wayOf(w World) (*recoverWay, error) {
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
	way := &recoverWay{last: pair.Switch{From: old, To: serving}}
	if last := r.Body.Switch; last != nil && last.From == old && last.To == serving && last.Epoch == r.Epoch {
		way.last = *last
	}
	s := &way.last
	invalid := r.Body.Sites[old].Invalidated || s.Forced
	// This link ran already, and has its own checkpoints. The fence alone does
	// not say so: an interrupted recover may have got no further.
	begun := site.Fence == r.Epoch && w.Link.Complete
	way.partial = !invalid && site.Replaced == "" && len(s.Positions) > 0 && (s.Kept && site.Protected || site.Closed && site.Protectable)
	way.full = !way.partial && !begun
	return way, nil
}

// CopiesInFull says whether recover would begin to replace what the old primary
// has by a full copy, so that it is worth knowing what that is.
func CopiesInFull(w World) bool {
	if !pair.Legal(pair.VerbRecover, w.Record.Phase, w.Record.Paused).Legal {
		return false
	}
	way, err := wayOf(w)
	if err != nil {
		return false
	}
	// With the fence raised it was decided already, and may be under way.
	old := w.Sites[w.Record.Standby()]
	return way.full && old.Keys > 0 && old.Fence != w.Record.Epoch
}

// recoverPair starts copying from the new primary to the old one: from the
// noted positions where the old one has refused writes ever since, else anew.
func recoverPair(w World, id string, o Options) (*Plan, error) {
	way, err := wayOf(w)
	if err != nil {
		return nil, err
	}
	r, s := w.Record, way.last
	serving, old := r.Primary, r.Standby()
	site := w.Sites[old]
	s.ID, s.Verb, s.Epoch, s.Before, s.Ended = id, pair.VerbRecover, r.Epoch, r.Phase, false
	s.Opening, s.Opened, s.NoReverse = true, true, false
	p := &Plan{Switch: s, Phase: pair.PhaseFailedOver}
	if !way.partial {
		p.Switch.Positions = nil
	}
	rescue := false
	if way.full && site.Keys > 0 {
		p.Divergence = w.Divergence
		// What was saved is all there is only as long as nobody could write.
		saved := o.RescuedBy != "" && o.RescuedBy == s.Rescued && site.Protected
		switch {
		case saved:
		case o.Rescue:
			rescue = true
		case o.Discard:
			p.warn("what only site %s has, or has otherwise, will be gone: --rescue-file=PATH saves it first", old)
		default:
			return nil, fault.Refuse("give --rescue-file=PATH to save them first, or --discard-divergence to let them go",
				"site %s may hold writes that site %s does not have: a full copy replaces its %d keys%s", old, serving, site.Keys, found(w.Divergence))
		}
	}
	if site.Protectable {
		p.add(OpProtect, old)
	} else {
		p.warn("site %s cannot be protected as a standby: %s", old, site.WhyNot)
	}
	if rescue {
		if !site.Protectable {
			p.warn("what is written to site %s after the rescue file was begun may not be in it", old)
		}
		p.add(OpRescue, old)
	}
	if site.Closed || len(s.Window) > 0 {
		p.add(OpLift, old)
	}
	p.fence(old)
	if way.partial {
		p.add(OpCheckpoint, old)
	}
	p.Steps = append(p.Steps, Step{Op: OpLink, Site: old, Full: way.full})
	p.add(OpAwait, old)
	return p, nil
}

func found(d *Divergence) string {
	if d == nil {
		return ""
	}
	return "; " + d.String()
}
