package execute

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// SwitchOptions of Switch.
type SwitchOptions struct {
	Operation  Operation
	Switchover switchover.Options
	Image      string
	Timeout    time.Duration // of each wait
	DryRun     bool
	Progress   Progress
	// Confirm is asked with the plan before anything is done.
	Confirm func(*switchover.Plan) error
	// Reopen connects the sites and reads the records anew.
	Reopen func(ctx context.Context) (*Session, error)
	// Verify is how both sites are compared; Switchover says whether, and how
	// much of them.
	Verify VerifyOptions
	// CompareFirst is how much recover compares before it decides about a full
	// copy; "" for nothing.
	CompareFirst wire.VerifyMode
	// RescueFile is where recover saves what only the old primary has; "" for
	// nowhere.
	RescueFile string
	// Hook is called before a step of this kind and, with after, when it was
	// done.
	Hook func(ctx context.Context, step switchover.Step, after bool, r *pair.Record) error
}

// SwitchResult is what a switch reached. Of a dry run Phase, Epoch, Primary and
// Standby are as they are: nothing was changed.
type SwitchResult struct {
	Pair     string            `json:"pair"`
	Verb     pair.Verb         `json:"verb"`
	DryRun   bool              `json:"dryRun,omitempty"`
	Phase    pair.Phase        `json:"phase"`
	Epoch    int64             `json:"epoch"`
	Primary  string            `json:"primary"`
	Standby  string            `json:"standby"`
	Steps    []switchover.Step `json:"steps"` // that were done, or would be
	Left     []switchover.Step `json:"left,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	// Verify is what the comparison of both sites found.
	Verify *wire.VerifyResult `json:"verify,omitempty"`
	// Divergence is what a full copy to the old primary replaces: what was found
	// last.
	Divergence *switchover.Divergence `json:"divergence,omitempty"`
	Rescue     *RescueResult          `json:"rescue,omitempty"`
	// Cancelled: the switch stopped before the point of no return, and was
	// taken back.
	Cancelled bool `json:"cancelled,omitempty"`
	// UnavailableSeconds: from before the old primary was closed until the new
	// one was open.
	UnavailableSeconds float64           `json:"unavailableSeconds,omitempty"`
	FullCopies         int               `json:"fullCopies"` // shards that were copied in full
	Seconds            float64           `json:"seconds"`
	Replicators        []ReplicatorState `json:"replicators,omitempty"`
}

// switchHands do the steps at the sites of a session.
type switchHands struct {
	session *Session
	finder  Finder
	opts    SwitchOptions
	used    bool // the session's records were looked at

	sites       map[string]*switchSite
	drained     []guard.ShardMaster
	closed      time.Time
	unavailable time.Duration
	checksums   []string
	replicators []ReplicatorState
	compared    *wire.VerifyResult
	divergence  *switchover.Divergence
	rescued     *RescueResult
	notes       []string
}

var _ switchover.Hands = (*switchHands)(nil)

// SwitchGuard is what a switch does to the pods of a site beside what Guard
// has.
type SwitchGuard interface {
	Observe(ctx context.Context) (guard.State, error)
	ReadWindow(ctx context.Context) (*guard.Window, error)
	CloseWrites(ctx context.Context, remembered *guard.Window) (*guard.Window, error)
	OpenWrites(ctx context.Context, w *guard.Window) error
	RaiseFence(ctx context.Context, epoch int64) error
	KeepFence(ctx context.Context) error
	Checkpoints(ctx context.Context, shards int) ([]redisx.Checkpoint, error)
	WriteCheckpoints(ctx context.Context, epoch int64, list []guard.NewCheckpoint) error
	CarryCheckpoints(ctx context.Context, shards int, from, to int64) error
	Positions(ctx context.Context) ([]guard.Position, error)
	OnPod(ctx context.Context, pod string, do func(*redisx.Client) error) error
}

// Switch runs failover, failback, recover, cancel or resume.
func Switch(ctx context.Context, s *Session, finder Finder, opts SwitchOptions) (*SwitchResult, error) {
	h := &switchHands{session: s, finder: finder, opts: opts, sites: map[string]*switchSite{}}
	defer h.closeSites()
	verb := opts.Operation.Verb
	result := &SwitchResult{Pair: s.Name, Verb: verb, DryRun: opts.DryRun}
	if err := checkRecords(s, opts.Switchover.AcceptDataLoss); err != nil {
		return result, err
	}
	if err := checkReverse(ctx, s, verb, opts.Switchover); err != nil {
		return result, err
	}
	if opts.RescueFile != "" {
		var err error
		if h.opts.Switchover.RescuedBy, err = rescuedBefore(opts.RescueFile, s.Record); err != nil {
			return result, err
		}
		opts.Switchover = h.opts.Switchover
	}
	if opts.DryRun {
		dry := &dryHands{Hands: h}
		ran, err := switchover.Run(ctx, dry, verb, opts.Operation.ID, opts.Switchover, func(*switchover.Plan) error { return nil })
		ran.Record = nil // what it would be; nothing has changed
		result.fill(ran, h.session.Record)
		result.Verify, result.Divergence = h.compared, h.divergence
		if err != nil && len(ran.Done) > 0 && len(ran.Left) == 0 {
			// Every step would be done; that it would not be the end is no
			// reason to print none of them.
			result.Warnings, err = append(result.Warnings, err.Error()+"; then: "+fault.Remedy(err)), nil
		}
		return result, err
	}
	ctx, locks, err := Lock(ctx, s, opts.Operation)
	if err != nil {
		return result, err
	}
	h.used = true // what was read before the lock was held does not count
	ran, err := switchover.Run(ctx, h, verb, opts.Operation.ID, opts.Switchover, inTime(opts.Confirm))
	if givesUp(ctx, ran, err) {
		result.Cancelled, err = h.giveUp(ctx, ran, err)
	}
	result.fill(ran, h.session.Record)
	if len(result.Steps) > 0 {
		h.session.Records.Event(ctx, opts.Operation, err != nil, eventReason(err), string(result.Phase)+": the primary is "+result.Primary)
	}
	err = errors.Join(err, locks.Release(ctx))
	result.Warnings, result.Verify = append(result.Warnings, h.notes...), h.compared
	result.Divergence, result.Rescue = h.divergence, h.rescued
	result.UnavailableSeconds = h.unavailable.Seconds()
	result.Seconds = time.Since(opts.Operation.Started).Seconds()
	if result.FullCopies = 0; len(h.checksums) > 0 {
		result.Replicators, result.FullCopies = h.replicators, fullCopies(h.replicators)
	}
	return result, err
}

// answerTime is for how long what a person was shown counts. A switch that gives
// up a primary, because that was silent when it was asked, must not do so when it
// has come back before the answer did.
const answerTime = 10 * time.Second

// inTime tells a yes that came late.
func inTime(confirm func(*switchover.Plan) error) func(*switchover.Plan) error {
	return func(p *switchover.Plan) error {
		asked := time.Now()
		err := confirm(p)
		if err == nil && time.Since(asked) > answerTime {
			return switchover.ErrSlowAnswer
		}
		return err
	}
}

// checkRecords refuses to begin a switch on records that somebody edited, or of
// which one is missing. What a verb that was interrupted left is no such case:
// the later record counts, and the next write mends the other. Nor is a record
// that went with a lost site.
func checkRecords(s *Session, lost bool) error {
	compared := s.Unreachable() == nil // else the other copy is not known
	if s.Record.Switching() != nil || !compared || !pair.Legal(pair.VerbApply, s.Record.Phase, s.Record.Paused).Legal {
		return nil
	}
	missing := slices.ContainsFunc(s.Records.Places(), func(p Place) bool { return !p.Exists })
	switch {
	case s.Records.Edited():
		return fault.Refuse("delete the ConfigMap that is wrong, or correct it; then kubectl redis-sync apply "+s.Name, "%s", s.Records.Difference())
	case missing && !lost:
		return fault.Refuse("kubectl redis-sync apply "+s.Name+" writes it again", "%s", s.Records.Difference())
	}
	return nil
}

// checkReverse refuses to begin a switch after which the old primary could not
// be fed, because another pair writes to it. Who gives up the primary's last
// writes is not held up.
func checkReverse(ctx context.Context, s *Session, verb pair.Verb, o switchover.Options) error {
	r := s.Record
	turns := verb == pair.VerbFailover || verb == pair.VerbFailback
	asked := s.Primary().Err == nil
	if !turns || r.Switching() != nil || switchover.Unawaited(r, verb) || o.NoReverse || o.AcceptDataLoss || !asked {
		return nil
	}
	return onlyStandby(ctx, s.Name, s.Primary(), r.Body.Sites[r.Primary].Instance)
}

func eventReason(err error) string {
	if err != nil {
		return "Failed"
	}
	return "Ended"
}

func (r *SwitchResult) fill(ran *switchover.Result, last *pair.Record) {
	r.Steps, r.Left, r.Warnings = ran.Done, ran.Left, ran.Warnings
	if ran.Record != nil {
		last = ran.Record
	}
	r.Phase, r.Epoch, r.Primary, r.Standby = last.Phase, last.Epoch, last.Primary, last.Standby()
}

// Ready runs the hook before a step. For the commit this has to be before it
// is written down: that is the point of no return.
func (h *switchHands) Ready(ctx context.Context, step switchover.Step, r *pair.Record) error {
	if err := h.hook(ctx, step, false, r); err != nil {
		return err
	}
	planned := h.drained != nil && !r.Body.Switch.Forced && r.Body.Switch.Verb != pair.VerbCancel
	if h.opts.Hook == nil || step.Op != switchover.OpCommit || !planned {
		return nil
	}
	// The hook may have taken minutes since the last look.
	site, err := h.site(step.Site)
	if err != nil {
		return err
	}
	return h.lookAgain(ctx, site, r)
}

// Do does a step and shows it.
func (h *switchHands) Do(ctx context.Context, step switchover.Step, r *pair.Record) error {
	h.opts.Progress.StepStarted(step.String())
	start := time.Now()
	err := h.do(ctx, step, r)
	if err == nil {
		if hookErr := h.hook(ctx, step, true, r); hookErr != nil {
			h.notes = append(h.notes, "hook: "+hookErr.Error())
		}
	}
	h.opts.Progress.StepEnded(step.String(), err, time.Since(start))
	return err
}

func (h *switchHands) hook(ctx context.Context, step switchover.Step, after bool, r *pair.Record) error {
	if h.opts.Hook == nil {
		return nil
	}
	return h.opts.Hook(ctx, step, after, r)
}

// Save writes the record to every site that was reached, the first one first.
func (h *switchHands) Save(ctx context.Context, r *pair.Record, first string, lines ...string) error {
	op := h.opts.Operation
	for _, line := range lines {
		r.Journal = append(r.Journal, pair.JournalLine{
			At: time.Now().UTC().Truncate(time.Second), Operation: op.ID, Verb: op.Verb, By: op.By, Text: line,
		})
	}
	r.Body.Revision++
	r.Body.LastOperation = pair.Operation{
		ID: op.ID, Verb: op.Verb, By: op.By, Version: op.Version, Started: op.Started.UTC().Format(time.RFC3339),
	}
	if s := r.Body.Switch; s != nil && s.Ended {
		r.Body.LastOperation.Finished = time.Now().UTC().Format(time.RFC3339)
		r.Body.LastOperation.Result = lines[len(lines)-1]
	}
	return h.session.Records.SaveFrom(ctx, r, first)
}

// dryHands look and do nothing.
type dryHands struct{ switchover.Hands }

func (dryHands) Ready(context.Context, switchover.Step, *pair.Record) error { return nil }

func (dryHands) Do(_ context.Context, step switchover.Step, r *pair.Record) error {
	if step.Op == switchover.OpProtect {
		r.Body.Switch.Kept = true // what the real step is expected to see
	}
	return nil
}

func (dryHands) Save(context.Context, *pair.Record, string, ...string) error { return nil }
