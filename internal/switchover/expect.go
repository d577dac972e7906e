package switchover

import (
	"encoding/json"
	"fmt"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// Expected are the steps of the switching verbs of a pair, each from the state
// in which it is meant to be run: both sites in order, or one of them lost.
// They come from Decide, as those of a real run do.
type Expected struct {
	Failover    []Step   // planned, from the preferred primary to the other site
	Forced      []Step   // the same without the preferred primary
	Recover     []Step   // after Forced, when it is back; what only it has is saved
	Failback    []Step   // planned, to the preferred primary
	CancelEarly []Step   // of Failover, closed and not committed
	CancelLate  []Step   // of Failover, committed and not opened
	Warnings    []string // of the planned verbs
}

// expectedID stands for the operation in a plan that nobody runs.
const expectedID = "expected"

// Expect says what the verbs of a pair will do. Of the record it takes the
// sites, the epoch and how the standby is protected; the phase and what is
// under way do not matter.
func Expect(record *pair.Record) (*Expected, error) {
	e := &expecting{record: record, preferred: record.Body.Spec.PreferredPrimary}
	other, known := record.Body.Spec.Other(e.preferred)
	if !known {
		return nil, fmt.Errorf("pair %s: the preferred primary %q is none of its sites", record.Pair, e.preferred)
	}
	e.other = other.Name
	// The next switch has the next epoch, the one after it one more.
	there, back := record.Epoch, record.Epoch+1
	if record.Primary != e.preferred {
		there, back = back, there
	}
	out := &Expected{}
	planned := Options{Verify: true}
	failover := e.plan(pair.VerbFailover, e.settled(e.preferred, there), planned)
	out.Failover, out.Warnings = failover.Steps, failover.Warnings
	out.Failback = e.plan(pair.VerbFailback, e.settled(e.other, back), planned).Steps

	lost := e.settled(e.preferred, there)
	lost.Sites[e.preferred] = Site{Name: e.preferred, Why: "lost"}
	forced := e.plan(pair.VerbFailover, lost, Options{AcceptDataLoss: true})
	out.Forced = forced.Steps
	out.Recover = e.plan(pair.VerbRecover, e.promoted(forced.Switch), Options{Rescue: true}).Steps

	closed := failover.Switch
	closed.Window = json.RawMessage(`{}`)
	early := e.settled(e.preferred, there)
	early.Record.Phase, early.Record.Body.Switch = pair.PhaseFailingOver, &closed
	out.CancelEarly = e.plan(pair.VerbCancel, early, Options{}).Steps

	committed := closed
	late := e.settled(e.other, committed.Epoch)
	late.Record.Phase, late.Record.Body.Switch = pair.PhaseFailingOver, &committed
	out.CancelLate = e.plan(pair.VerbCancel, late, Options{}).Steps
	return out, e.err
}

// expecting makes worlds that are in order.
type expecting struct {
	record           *pair.Record
	preferred, other string
	err              error // the first one
}

// plan asks Decide; nothing after an error.
func (e *expecting) plan(verb pair.Verb, w World, o Options) *Plan {
	if e.err != nil {
		return &Plan{}
	}
	p, err := Decide(w, verb, expectedID, o)
	if err != nil {
		e.err = fmt.Errorf("what %s will do: %w", verb, err)
		return &Plan{}
	}
	return p
}

// settled is a pair in sync.
func (e *expecting) settled(primary string, epoch int64) World {
	r := *e.record
	r.Primary, r.Epoch, r.Phase, r.Paused, r.FailedStep, r.Body.Switch = primary, epoch, pair.PhaseInSync, false, "", nil
	if primary != e.preferred {
		r.Phase = pair.PhaseRecoverInSync
	}
	r.Body.Sites = map[string]pair.SiteState{}
	for name, state := range e.record.Body.Sites {
		state.Invalidated = false
		r.Body.Sites[name] = state
	}
	w := World{Record: &r, Sites: map[string]Site{}, Link: Link{Complete: true, Running: true}}
	for _, name := range []string{e.preferred, e.other} {
		site := Site{Name: name, Reachable: true, Answers: true}
		if site.Protectable = e.protectable(); !site.Protectable {
			site.WhyNot = "as its servers are, or the pair is set"
		}
		if name != primary {
			site.Fence, site.Protected = epoch, site.Protectable
		}
		w.Sites[name] = site
	}
	return w
}

// protectable: what the last apply found for the standby is taken for both.
func (e *expecting) protectable() bool {
	if e.record.Body.Spec.ProtectStandby == pair.ProtectNone {
		return false
	}
	return e.record.Body.StandbyGuard != "unavailable"
}

// promoted is a pair after a failover without the old primary, which is back.
func (e *expecting) promoted(s pair.Switch) World {
	w := e.settled(e.other, s.Epoch)
	s.Ended, s.Opened = true, true
	w.Record.Phase, w.Record.Body.Switch = pair.PhaseFailedOver, &s
	state := w.Record.Body.Sites[e.preferred]
	state.Invalidated = true
	w.Record.Body.Sites[e.preferred] = state
	now, old := w.Sites[e.other], w.Sites[e.preferred]
	now.Fence, now.Protected = s.Epoch, false
	old.Fence, old.Protected, old.Keys = 0, false, 1
	w.Sites[e.other], w.Sites[e.preferred] = now, old
	return w
}
