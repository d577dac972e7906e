package switchover

import (
	"fmt"
	"slices"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// Decide says what is left to do for a verb, or refuses with the reason (exit
// code 3: nothing was done). id names the operation, should one begin.
func Decide(w World, verb pair.Verb, id string, o Options) (*Plan, error) {
	r := w.Record
	if last := unawaited(w, verb); last != nil {
		if o.NoReverse {
			return nil, fault.Refuse("leave --no-reverse out to wait for it, or pause the pair",
				"site %s is fed already: only the wait for it was interrupted", r.Standby())
		}
		p := &Plan{Switch: *last, Phase: r.Phase}
		// A full copy that is not done goes on under what was agreed to.
		full := verb == pair.VerbRecover && len(last.Positions) == 0 && !w.Link.Complete
		p.Steps = append(p.Steps, Step{Op: OpLink, Site: r.Standby(), Full: full})
		p.add(OpAwait, r.Standby())
		return p, nil
	}
	if legality := pair.Legal(verb, r.Phase, r.Paused); !legality.Legal {
		return nil, fault.Refuse(fmt.Sprintf("kubectl redis-sync status %s lists what can be done now", r.Pair),
			"pair %s is in phase %s: %s: %s", r.Pair, r.Phase, verb, legality.Why)
	}
	under := r.Switching()
	switch verb {
	case pair.VerbCancel:
		return cancel(w, under, id)
	case pair.VerbRecover:
		return recoverPair(w, id, o)
	case pair.VerbResume, pair.VerbFailover, pair.VerbFailback:
		switch {
		case under != nil && verb != pair.VerbResume && under.Verb != verb:
			return nil, fault.Refuse("resume or cancel it", "a %s from site %s to site %s is under way", under.Verb, under.From, under.To)
		case under != nil:
			return goOn(w, *under, o)
		case verb == pair.VerbResume || r.Phase == pair.PhaseFailingOver || r.Phase == pair.PhaseFailingBack:
			return nil, fault.Refuse("report this", "phase %s, but the record holds no switch", r.Phase)
		}
		return begin(w, verb, id, o)
	}
	return nil, fmt.Errorf("%s changes no roles", verb)
}

// Unawaited says whether the last switch was one of this verb and was
// interrupted in its last step, the wait for the standby. The roles are as it
// wanted them: run again, it waits, and does not turn them a second time.
func Unawaited(r *pair.Record, verb pair.Verb) bool {
	last := r.Body.Switch
	switch {
	case last == nil || r.Paused:
		return false
	case verb == pair.VerbRecover: // also after a failover without the primary
	case verb != pair.VerbFailover && verb != pair.VerbFailback || last.NoReverse || last.Forced:
		return false
	}
	waiting := r.Phase == pair.PhaseRecovering || r.Phase == pair.PhaseSyncing
	return waiting && last.Ended && last.Verb == verb && last.Epoch == r.Epoch && last.To == r.Primary
}

// unawaited gives that switch. Where a site is lost meanwhile there is nothing
// to wait for.
func unawaited(w World, verb pair.Verb) *pair.Switch {
	r := w.Record
	if !Unawaited(r, verb) || !w.Sites[r.Primary].Answers || !w.Sites[r.Standby()].Answers {
		return nil
	}
	return r.Body.Switch
}

// begin starts a switch to the standby.
func begin(w World, verb pair.Verb, id string, o Options) (*Plan, error) {
	r := w.Record
	if verb == pair.VerbFailback && r.Primary == r.Body.Spec.PreferredPrimary {
		return nil, fault.Refuse("", "site %s is the primary already, and the preferred one", r.Primary)
	}
	return goOn(w, pair.Switch{
		ID: id, Verb: verb, From: r.Primary, To: r.Standby(), Before: r.Phase, Base: r.Epoch,
		// A pair of that name may have been deleted and made anew: its fence stayed.
		Epoch:     max(r.Epoch, w.Sites[r.Primary].Fence) + 1,
		NoReverse: o.NoReverse, Shards: w.Sites[r.Standby()].Shards,
	}, o)
}

// goOn says what is left of a switch.
func goOn(w World, s pair.Switch, o Options) (*Plan, error) {
	if o.NoReverse && s.Verb == pair.VerbCancel {
		return nil, fault.Refuse("leave --no-reverse out", "a cancel is under way: it starts the direction that there was before again")
	}
	// Who goes on may decide it still: feeding the old primary comes last.
	s.NoReverse = s.NoReverse || o.NoReverse
	p := &Plan{Switch: s, Phase: pair.PhaseFailingOver}
	if s.Verb == pair.VerbFailback {
		p.Phase = pair.PhaseFailingBack
	}
	if s.Verb == pair.VerbCancel {
		p.Phase = w.Record.Phase
		return p.takeBack(w)
	}
	if err := present(w, s.To, "the new primary"); err != nil {
		return nil, err
	}
	if w.Record.Epoch < s.Epoch {
		if err := p.untilCommit(w, o); err != nil {
			return nil, err
		}
	}
	p.afterCommit(w)
	return p, nil
}

// present refuses while a site that the verb cannot do without is silent.
func present(w World, name, what string) error {
	site := w.Sites[name]
	if site.Reachable && site.Answers {
		return nil
	}
	return fault.Refuse("run it again when the site answers", "site %s (%s) does not answer: %s", name, what, site.Why)
}

func (p *Plan) add(op Op, site string) { p.Steps = append(p.Steps, Step{Op: op, Site: site}) }

func (p *Plan) fence(site string) {
	p.Steps = append(p.Steps, Step{Op: OpFence, Site: site, Epoch: p.Switch.Epoch})
}

func (p *Plan) commit() {
	p.Steps = append(p.Steps, Step{Op: OpCommit, Site: p.Switch.To, Epoch: p.Switch.Epoch})
}

// untilCommit are the steps before the point of no return.
func (p *Plan) untilCommit(w World, o Options) error {
	s, r := &p.Switch, w.Record
	from, to := w.Sites[s.From], w.Sites[s.To]
	if to.Fence > r.Epoch {
		return fault.Refuse("look at the records of both sites: one of them is out of date",
			"site %s holds the fence of epoch %d, the record is at epoch %d", s.To, to.Fence, r.Epoch)
	}
	// An instance that was made anew under its name holds other data than the
	// standby is a copy of: it is as good as lost.
	planned := from.Reachable && from.Answers && from.Replaced == ""
	if from.Replaced != "" && !o.AcceptDataLoss {
		return fault.Refuse(fmt.Sprintf("--accept-data-loss makes site %s the primary without it; "+
			"only if what site %s holds now is what is to be copied: apply notes the new one, and makes site %s a copy of it", s.To, s.From, s.To),
			"the primary, site %s, is not the instance that the record knows: %s; %s", s.From, from.Replaced, lastKnown(w.Link))
	}
	if !planned && !o.AcceptDataLoss {
		return fault.Refuse("give --accept-data-loss to go on without it: what it had not sent is lost",
			"the primary, site %s, does not answer: %s; %s", s.From, from.Why, lastKnown(w.Link))
	}
	if planned && to.Replaced != "" {
		return fault.Refuse("apply notes the new one, and copies to it again where it lost its data",
			"site %s is not the instance that the record knows: %s", s.To, to.Replaced)
	}
	if !w.Link.Complete && (planned || !o.AcceptIncomplete) {
		remedy := "wait until status says that the copy is complete"
		if !planned {
			remedy = "give --accept-incomplete-copy to promote it as it is: keys that were not copied yet are lost"
		}
		return fault.Refuse(remedy, "site %s holds no complete copy: %s", s.To, w.Link.Why)
	}
	if !planned && w.Link.Pending > 0 && !o.AcceptIncomplete {
		return fault.Refuse("give --accept-incomplete-copy to promote it without them: redis-sync:*:pending in the target names them",
			"site %s lacks the values of %d keys, which only the primary has", s.To, w.Link.Pending)
	}
	if !planned {
		s.Forced = true
		if from.Replaced != "" {
			p.warn("site %s is not the instance that the record knows: %s; %s", s.From, from.Replaced, lastKnown(w.Link))
			p.warn("site %s answers: it is closed first, and what it holds is given up", s.From)
		} else {
			p.warn("site %s does not answer: %s; %s", s.From, from.Why, lastKnown(w.Link))
		}
		if to.Replaced != "" { // its fence and checkpoints say that it is the copy all the same
			p.warn("site %s is not the instance that the record knows: %s", s.To, to.Replaced)
		}
		if from.Reachable && from.Answers { // else both sites would take writes
			p.add(OpClose, s.From)
		}
		p.commit()
		return nil
	}
	s.Forced = false
	switch {
	case to.Fence != r.Epoch:
		return fault.Refuse("apply the pair again", "site %s holds no fence of epoch %d: its replicators do not write", s.To, r.Epoch)
	case !w.Link.Running:
		return fault.Refuse("mend it first (start, if the pair is paused)", "not every replicator that writes to site %s runs: %s", s.To, w.Link.Problem)
	case w.Link.Unheard != "" && !from.Closed && len(s.Window) == 0:
		// Closed now, nobody could write until the wait for the last writes ends.
		return fault.Refuse("mend the way from the standby's site to the primary's first", "how far site %s is behind is not known: %s", s.To, w.Link.Unheard)
	case o.MaxLag > 0 && w.Link.Lag > o.MaxLag:
		return fault.Refuse("wait until it has caught up, or allow more with --max-lag", "site %s is %s behind, which is more than %s",
			s.To, w.Link.Lag.Round(time.Millisecond), o.MaxLag)
	}
	if o.Verify && !from.Closed {
		p.Steps = append(p.Steps, Step{Op: OpVerify, Site: s.To, Full: o.VerifyFull})
	}
	if to.Closed { // by a command that came too late
		p.add(OpLift, s.To)
	}
	p.add(OpClose, s.From)
	p.add(OpDrain, s.To)
	p.add(OpLook, s.To)
	p.commit()
	return nil
}

// lastKnown says in words what would be lost.
func lastKnown(l Link) string {
	if l.Since == "" {
		return "when it was last heard of is not known, nor what would be lost"
	}
	at := fmt.Sprintf("last heard of %s, when the standby was %d bytes", l.Since, l.LagBytes)
	switch {
	case l.LagBytes == 0:
		return at + " and 0.0 s behind: what it took since then would be lost"
	case l.Behind < 0:
		return at + " behind, for how many seconds is not known: these, and what it took since then, would be lost"
	}
	return fmt.Sprintf("%s and %.1f s behind: these, and what it took since then, would be lost", at, l.Behind.Seconds())
}

// afterCommit are the steps that bring the new primary up and turn the link
// round.
func (p *Plan) afterCommit(w World) {
	s := &p.Switch
	from := w.Sites[s.From]
	answers := from.Reachable && from.Answers
	closed := len(s.Window) > 0 || slices.Contains(p.Steps, Step{Op: OpClose, Site: s.From})
	if !s.Opened {
		p.fence(s.To)
		if !s.Forced && !s.Opening && len(s.Positions) == 0 {
			p.add(OpPosition, s.To)
		}
		p.add(OpOpen, s.To)
	}
	p.add(OpStop, s.To)
	switch {
	case s.Forced && !(answers && closed):
		p.warn("what site %s had not sent is lost; recover copies back when it answers again", s.From)
		return
	case !answers:
		p.Open = fmt.Sprintf("site %s is the primary, but site %s does not answer and is not protected as the standby", s.To, s.From)
		return
	case !from.Protectable:
		p.warn("site %s cannot be protected as a standby (%s): it stays closed for writes until recover", s.From, from.WhyNot)
		return
	}
	// Who lost the protection since may have taken writes.
	s.Kept = s.Kept && (from.Protected || from.Closed)
	p.add(OpProtect, s.From)
	p.add(OpLift, s.From)
	if s.Forced {
		p.warn("recover copies back to site %s, after you decided about what only that site has", s.From)
		return
	}
	if s.NoReverse {
		return
	}
	p.feed(s.From)
}

// feed starts the link to a site at the noted positions.
func (p *Plan) feed(site string) {
	p.fence(site)
	p.add(OpCheckpoint, site)
	p.add(OpLink, site)
	p.add(OpAwait, site)
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}
