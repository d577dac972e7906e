package switchover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// Hands do what a plan says, at real sites or at simulated ones.
type Hands interface {
	// Look observes the world: the records as they are now, and both sites.
	Look(ctx context.Context) (World, error)
	// Ready is asked before a step is begun in the record: its error stops the
	// run there, and nothing of the step was done.
	Ready(ctx context.Context, step Step, r *pair.Record) error
	// Do does one step and comes back when its end was observed. It may note
	// in the Switch of the record what the step came to. An error says that the
	// step was not done, or that nobody knows: it will be done again.
	Do(ctx context.Context, step Step, r *pair.Record) error
	// Save writes the record, with these lines for its journal, to every site
	// that could be reached, the one of first first, and fails unless all of
	// them took it.
	Save(ctx context.Context, r *pair.Record, first string, lines ...string) error
}

// Result is what a run came to.
type Result struct {
	Record   *pair.Record
	Done     []Step
	Warnings []string
	// Left are the steps that were not done, the one that failed first.
	Left []Step
}

// ErrMoved is the error of a step that saw that something had changed since
// the steps before it: they are done again.
var ErrMoved = errors.New("something moved meanwhile")

// ErrNotReady is the error of a run that Hands.Ready stopped.
var ErrNotReady = errors.New("stopped before the step")

// maxRounds bounds how often the steps before the commit are done again.
const maxRounds = 5

// Run does what is left to do for a verb. Before it begins, confirm is asked
// with the plan. After a late yes (ErrSlowAnswer) it looks again, and asks again
// about another plan. Steps that are done again follow a new plan, but never one
// that gives up what confirm was not asked about.
func Run(ctx context.Context, h Hands, verb pair.Verb, id string, o Options, confirm func(*Plan) error) (*Result, error) {
	result := &Result{}
	p, err := agree(ctx, h, verb, id, o, confirm, result)
	if err != nil {
		return result, err
	}
	forced := p.Switch.Forced // as confirm was told
	for round := 1; ; round++ {
		result.Warnings = p.Warnings
		err := work(ctx, h, verb, result.Record, p, result)
		if !errors.Is(err, ErrMoved) || round == maxRounds {
			return result, err
		}
		verb = pair.VerbResume
		result.Left = nil // what stopped the round before is no reason to stop this one
		w, err := h.Look(ctx)
		if err != nil {
			return result, afterwards(ctx, result, err)
		}
		result.Record = w.Record
		if p, err = Decide(w, verb, id, o); err != nil {
			return result, afterwards(ctx, result, err)
		}
		if p.Switch.Forced && !forced {
			return result, nowForced(w, p.Switch.From)
		}
	}
}

// nowForced stops a switch that was planned when it began and could only go on
// by giving up what its old primary has: that may be one bad answer.
func nowForced(w World, from string) error {
	site := w.Sites[from]
	return fault.New(fault.CodePartial,
		"look at site "+from+": resume goes on without a loss when it answers, resume --accept-data-loss goes on without it, cancel takes it back",
		"site %s answered when this switch began, and is not what it was: %s; what it has was not given up, and nobody can write until it goes on",
		from, cmp.Or(site.Replaced, site.Why, "no reason was given"))
}

// afterwards: what keeps a later round from being begun comes when something was
// done already.
func afterwards(ctx context.Context, result *Result, err error) error {
	switch {
	case len(result.Done) == 0:
		return err
	case ctx.Err() != nil:
		return interrupted(ctx, err)
	case nothingDone(err) || fault.ExitCode(err) == fault.CodeError:
		return fault.Wrap(fault.CodePartial, cmp.Or(fault.Remedy(err), remedyInTheMiddle), err)
	}
	return err
}

// nothingDone tells an error with a code that says that nothing was done.
func nothingDone(err error) bool {
	switch fault.ExitCode(err) {
	case fault.CodeRefused, fault.CodeNotFound, fault.CodeAuth:
		return true
	}
	return false
}

const remedyInTheMiddle = "mend the cause and run the same command, or resume, to go on; cancel takes it back while that is possible"

// run is one pass through the steps of a plan.
type run struct {
	hands  Hands
	record *pair.Record
	plan   *Plan
	lines  []string // for the journal, not saved yet
	saved  bool     // the record holds something of this run
}

func work(ctx context.Context, h Hands, verb pair.Verb, old *pair.Record, p *Plan, result *Result) error {
	r := copyOf(old)
	s := p.Switch
	r.Body.Switch, r.Phase = &s, p.Phase
	result.Record = r
	u := &run{hands: h, record: r, plan: p}
	for i, step := range p.Steps {
		result.Left = p.Steps[i:]
		if cause := context.Cause(ctx); fault.ExitCode(cause) == fault.CodeLocked {
			return fmt.Errorf("stopped before the step %q: %w", step, cause)
		}
		if ctx.Err() != nil && !u.closedForGood(i) {
			return fault.Wrap(fault.CodeInterrupted, "run the same command, or resume, to go on",
				fmt.Errorf("stopped before the step %q: %w", step, context.Cause(ctx)))
		}
		err := u.step(ctx, step)
		if errors.Is(err, ErrNotReady) && ctx.Err() != nil {
			err = interrupted(ctx, err)
		}
		if errors.Is(err, ErrNotReady) && !u.saved && old.Switching() == nil {
			result.Record = old
			code := fault.CodeRefused
			if ctx.Err() != nil {
				code = fault.ExitCode(err)
			}
			return fault.New(code, "mend the cause and run it again", "%w; nothing was done", err)
		}
		if err != nil {
			return u.inTheMiddle(step, err)
		}
		result.Done = append(result.Done, step)
		if step.Op == OpProtect && !r.Body.Switch.Forced && !u.mayFeed() {
			result.Left = nil
			return u.stopUnkept(ctx)
		}
	}
	result.Left = nil
	return u.end(ctx, verb)
}

// closedForGood tells a run that has turned the roles, before step i opens the
// site that is the primary now: nobody can write, and there is no way back. An
// interruption waits for these steps, which take moments.
func (u *run) closedForGood(i int) bool {
	r, s := u.record, u.record.Body.Switch
	opens := func(step Step) bool {
		return step.Op == OpOpen || s.Verb == pair.VerbCancel && step.Op == OpLift
	}
	committed := slices.ContainsFunc(u.plan.Steps[:i], func(step Step) bool { return step.Op == OpCommit })
	return committed && r.Epoch >= s.Epoch && slices.ContainsFunc(u.plan.Steps[i:], opens)
}

// interrupted gives the error of what ctx cut short the code that says so: that
// of the cause, or the one of an interruption.
func interrupted(ctx context.Context, err error) error {
	code := fault.ExitCode(context.Cause(ctx))
	if code == fault.CodeError {
		code = fault.CodeInterrupted
	}
	return fault.Wrap(code, "run the same command, or resume, to go on", err)
}

// inTheMiddle marks an error after which the verb has to be run again.
func (u *run) inTheMiddle(step Step, err error) error {
	wrapped := fmt.Errorf("%s: %w", step, err)
	remedy := remedyInTheMiddle
	switch {
	case errors.Is(err, ErrMoved):
		return wrapped
	case u.saved && nothingDone(err): // the record says that a switch has begun
		remedy = cmp.Or(fault.Remedy(err), remedy)
	case fault.ExitCode(err) != fault.CodeError:
		return wrapped
	}
	return fault.Wrap(fault.CodePartial, remedy, wrapped)
}

func (u *run) step(ctx context.Context, step Step) error {
	if err := u.hands.Ready(ctx, step, u.record); err != nil {
		err = fmt.Errorf("%w: %w", ErrNotReady, err)
		if len(u.lines) == 0 {
			return err
		}
		return errors.Join(err, u.save(ctx, "stopped before: "+step.String()))
	}
	u.before(step)
	if err := u.save(ctx, "begin: "+step.String()); err != nil {
		return err
	}
	work := ctx
	if !step.Waits() {
		work = context.WithoutCancel(ctx)
	}
	if err := u.hands.Do(work, step, u.record); err != nil {
		return err
	}
	u.after(step)
	u.lines = append(u.lines, "done: "+step.String())
	return nil
}

// save writes the lines that wait with the next one: the end of a step and the
// beginning of the next are one write.
func (u *run) save(ctx context.Context, line string) error {
	lines := slices.Concat(u.lines, []string{line})
	u.lines, u.saved = nil, true
	return u.hands.Save(context.WithoutCancel(ctx), u.record, u.record.Body.Switch.From, lines...)
}

// before changes the record as it has to be when a step begins.
func (u *run) before(step Step) {
	r, s := u.record, u.record.Body.Switch
	switch step.Op {
	case OpCommit:
		r.Epoch, r.Primary = s.Epoch, s.To
		r.Body.Shards, s.Shards = s.Shards, r.Body.Shards
		r.FailedStep = ""
		if s.Forced {
			u.invalidate(s.From)
		}
	case OpOpen:
		s.Opening = true
	case OpAwait:
		s.Ended = true
		r.Phase = pair.PhaseRecovering
		if r.Primary == r.Body.Spec.PreferredPrimary {
			r.Phase = pair.PhaseSyncing
		}
		u.validate(step.Site)
	}
}

// after changes it as it is when a step was done.
func (u *run) after(step Step) {
	s := u.record.Body.Switch
	switch step.Op {
	case OpOpen:
		s.Opened = true
	case OpRescue:
		s.Rescued = s.ID
	case OpLift:
		if step.Site == s.From || s.Verb == pair.VerbCancel {
			s.Window = nil
		}
	}
}

func (u *run) invalidate(site string) { u.mark(site, true) }
func (u *run) validate(site string)   { u.mark(site, false) }

func (u *run) mark(site string, invalidated bool) {
	sites := maps.Clone(u.record.Body.Sites)
	state := sites[site]
	state.Invalidated = invalidated
	sites[site] = state
	u.record.Body.Sites = sites
}

// mayFeed: after the protection of a site that is to be fed from the noted
// positions, it is known whether it refused writes all the time.
func (u *run) mayFeed() bool {
	s := u.record.Body.Switch
	return s.Kept || s.Verb == pair.VerbRecover && len(s.Positions) == 0
}

// stopUnkept ends a switch whose old primary took writes after it was closed,
// as far as anybody knows.
func (u *run) stopUnkept(ctx context.Context) error {
	r, s := u.record, u.record.Body.Switch
	r.Phase, s.Ended = pair.PhaseFailedOver, true
	u.invalidate(s.From)
	if err := u.save(ctx, "ended: site "+s.From+" was open meanwhile"); err != nil {
		return err
	}
	return fault.New(fault.CodePartial, "recover copies back, after you decided about what only that site has",
		"site %s is the primary, but site %s was open for writes before it was protected: it is not fed from the noted position", s.To, s.From)
}

// end writes the phase that the verb ended in.
func (u *run) end(ctx context.Context, verb pair.Verb) error {
	r, s := u.record, u.record.Body.Switch
	last := Op("")
	if n := len(u.plan.Steps); n > 0 {
		last = u.plan.Steps[n-1].Op
	}
	switch {
	case last == OpAwait && r.Primary == r.Body.Spec.PreferredPrimary:
		r.Phase = pair.PhaseInSync
	case last == OpAwait:
		r.Phase = pair.PhaseRecoverInSync
	case r.Epoch < s.Epoch: // cancelled before the commit
		r.Phase = s.Before
	default:
		r.Phase = pair.PhaseFailedOver
	}
	s.Ended = true
	unprotected := last != OpAwait && r.Epoch >= s.Epoch && !s.Forced && s.Opened && !s.Kept
	if unprotected && len(s.Window) == 0 {
		u.invalidate(s.From)
	}
	if err := u.save(ctx, "ended: "+string(verb)); err != nil || u.plan.Open == "" {
		return err
	}
	return fault.New(fault.CodePartial, "recover, when it answers: it protects that site and copies back", "%s", u.plan.Open)
}

// copyOf gives a record whose Switch can be changed.
func copyOf(r *pair.Record) *pair.Record {
	c := *r
	if r.Body.Switch != nil {
		s := *r.Body.Switch
		c.Body.Switch = &s
	}
	return &c
}
