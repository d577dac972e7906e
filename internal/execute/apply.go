package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// ApplyOptions of Apply.
type ApplyOptions struct {
	Operation Operation
	Force     bool          // take fields over from other managers
	Wait      bool          // until every replicator is in sync
	Timeout   time.Duration // of the wait
	Progress  Progress
}

// ApplyResult is what an apply reached.
type ApplyResult struct {
	Pair        string            `json:"pair"`
	Phase       pair.Phase        `json:"phase"`
	Epoch       int64             `json:"epoch"`
	Primary     string            `json:"primary"`
	Standby     string            `json:"standby"`
	Counts      plan.Counts       `json:"changes"`
	Keys        int64             `json:"keys"`  // written by the full copies
	Bytes       int64             `json:"bytes"` // of their snapshots
	Seconds     float64           `json:"seconds"`
	Replicators []ReplicatorState `json:"replicators"`
}

// applier is one run of Apply.
type applier struct {
	world   *World
	finder  Finder
	opts    ApplyOptions
	runner  *Runner
	changes []plan.Change
	result  *ApplyResult

	locks     *Locks
	before    []ReplicatorState // of an established pair
	created   []created         // in this run, to be undone when the source turns out unreachable
	checksums []string
}

type created struct {
	party *Party
	ref   kube.Ref
}

// Apply makes the clusters hold what the pair needs and waits until the
// replicators are in sync. Doing it again does what is left to do.
func Apply(ctx context.Context, w *World, finder Finder, changes []plan.Change, opts ApplyOptions) (*ApplyResult, error) {
	record := w.nextRecord()
	a := &applier{
		world: w, finder: finder, opts: opts, changes: changes,
		runner: &Runner{Operation: opts.Operation, Records: w.Session.Records, Record: record, Progress: opts.Progress},
		result: &ApplyResult{
			Pair: w.Session.Name, Epoch: record.Epoch, Primary: record.Primary, Standby: record.Standby(), Counts: plan.Count(changes),
		},
	}
	if err := w.makeSecrets(); err != nil {
		return nil, err
	}
	if w.Established {
		var err error
		if a.before, err = a.readReplicators(ctx); err != nil {
			return nil, err
		}
	}
	ctx, locks, err := Lock(ctx, w.Session, opts.Operation)
	if err != nil {
		return nil, err
	}
	a.locks = locks
	err = a.underLock(ctx)
	a.result.Phase = a.runner.Record.Phase
	a.result.Seconds = time.Since(opts.Operation.Started).Seconds()
	return a.result, errors.Join(err, locks.Release(ctx))
}

func (a *applier) underLock(ctx context.Context) error {
	w := a.world
	redis, err := a.finder.Redis(ctx, w.Target)
	if err != nil {
		return err
	}
	if err := checkFence(ctx, redis, w); err != nil {
		return errors.Join(err, redis.Close())
	}
	return errors.Join(a.run(ctx, redis), redis.Close())
}

// checkFence looks before anything is created: a fence with another epoch
// means that another pair of that name, or a later epoch, owns the target.
func checkFence(ctx context.Context, redis Redis, w *World) error {
	epoch, err := redis.FenceEpoch(ctx, w.Session.Name)
	if err != nil {
		return fmt.Errorf("reading the fence: %w", err)
	}
	// What an earlier pair left in both sites may be of this epoch by accident.
	accident := w.Session.Record == nil && w.Link.Epoch > 1
	if epoch != 0 && (accident || epoch != w.Link.Epoch) {
		return otherEpoch(w, epoch)
	}
	return nil
}

func otherEpoch(w *World, found int64) error {
	return fault.Refuse(fmt.Sprintf("choose another name for the pair, or, if nothing of the old one runs any more, remove its key: DEL %s", wire.FenceKey(w.Session.Name)),
		"site %s: instance %s holds the fence of pair %s at epoch %d; this record is at epoch %d",
		w.Target.Party.Site.Name, w.Target.Instance.Name, w.Session.Name, found, w.Link.Epoch)
}

func (a *applier) run(ctx context.Context, redis Redis) error {
	record := a.runner.Record
	first := record.Phase == pair.PhasePlanned
	settled := record.Phase == pair.PhaseInSync || record.Phase == pair.PhaseRecoverInSync
	if !first && (plan.Count(a.changes).Changes() || !settled) {
		record.Phase, record.FailedStep = syncingPhase(record), ""
	}
	source, target := a.world.Source.Party.Site.Name, a.world.Target.Party.Site.Name
	fence := Step{Name: "set the fence in site " + target, Do: func(ctx context.Context) error { return a.fence(ctx, redis) }}
	if record.Phase == pair.PhaseInSync || record.Phase == pair.PhaseRecoverInSync {
		// Nothing to change. Only a fence that somebody lost would be missed.
		if err := a.runner.Run(ctx, fence); err != nil {
			return err
		}
		if err := a.readChecksums(); err != nil {
			return err
		}
		return a.wait(ctx)
	}
	steps := []Step{{Name: "create the Services of site " + source, Do: a.services}}
	if a.world.Link.Source.Access == pair.AccessLoadBalancer {
		steps = append(steps, Step{Name: "wait for the load balancers of site " + source, Do: a.loadBalancers, Waits: true})
	}
	steps = append(steps, Step{Name: "try the way from site " + target + " to site " + source, Do: a.reach, Waits: true})
	if err := a.runner.Run(ctx, steps...); err != nil {
		if first {
			return errors.Join(err, a.undo(ctx))
		}
		return err
	}
	if err := a.runner.Run(ctx, slices.Concat(a.openPrimary(), a.protection(), []Step{fence})...); err != nil {
		return inTheMiddle(err)
	}
	// From here on the target may hold keys that the replicators wrote.
	record.Phase, record.FailedStep = syncingPhase(record), ""
	err := a.runner.Run(ctx,
		Step{Name: "create the replicators of site " + target, Do: a.replicators},
		Step{Name: "remove what is no longer needed", Do: a.prune},
	)
	if err != nil {
		return inTheMiddle(err)
	}
	return a.wait(ctx)
}

// inTheMiddle marks an error that left a part of the objects behind.
func inTheMiddle(err error) error {
	if fault.ExitCode(err) != fault.CodeError || kube.IsAuth(err) || fault.Remedy(err) != "" {
		return err
	}
	return fault.Wrap(fault.CodePartial, "mend the cause and run the same command again: it goes on where it stopped", err)
}

// syncingPhase keeps the phases of a pair whose roles were switched.
func syncingPhase(record *pair.Record) pair.Phase {
	switch record.Phase {
	case pair.PhaseRecovering, pair.PhaseRecoverInSync:
		return pair.PhaseRecovering
	default:
		return pair.PhaseSyncing
	}
}

// RefuseOn makes the refusal of the findings that forbid to go on.
func RefuseOn(findings []topology.Finding) error {
	blocking := topology.Errors(findings)
	if len(blocking) == 0 {
		return nil
	}
	first := blocking[0]
	const shown = 3 // the same cause often meets every pod
	var texts []string
	for _, finding := range blocking[:min(shown, len(blocking))] {
		texts = append(texts, findingText(finding))
	}
	if more := len(blocking) - shown; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return fault.Refuse(first.Remedy, "%s", strings.Join(texts, "; "))
}

// findingText names the site and the object of a finding.
func findingText(f topology.Finding) string {
	text := f.Object + ": " + f.Message
	if f.Site != "" {
		text = "site " + f.Site + ": " + text
	}
	return text
}

// undoTimeout bounds the clean-up after a refusal, also when the user
// interrupted.
const undoTimeout = 30 * time.Second

// undo removes what this run created: a refusal leaves nothing behind.
func (a *applier) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var errs []error
	for _, object := range a.created {
		if err := object.party.Cluster.Delete(ctx, object.ref); err != nil {
			errs = append(errs, fmt.Errorf("removing what was created: %w", err))
		}
	}
	errs = append(errs, a.world.Session.Records.DeleteCreated(ctx))
	return errors.Join(errs...)
}

// wait ends the apply with the phase that was observed. Who only waits holds
// nobody up: the lock ends before.
func (a *applier) wait(ctx context.Context) error {
	if err := a.locks.Release(ctx); err != nil {
		return err
	}
	record, target := a.runner.Record, a.world.Target.Party
	switch {
	case record.Paused:
		return a.runner.Finish(ctx, record.Phase, "", "applied; the pair is paused")
	case !a.opts.Wait:
		return a.runner.Finish(ctx, record.Phase, "", "applied, not waited for")
	}
	name := "wait until site " + target.Site.Name + " is in sync"
	a.opts.Progress.StepStarted(name)
	start := time.Now()
	states, err := WaitInSync(ctx, target.Site.Name, a.checksums, a.opts.Timeout, a.opts.Progress, a.readReplicators)
	a.opts.Progress.StepEnded(name, err, time.Since(start))
	a.result.Replicators = states
	a.countCopied(states)
	return a.conclude(ctx, err)
}

// countCopied adds up the full copies of this run. A replicator that had its
// copy before has made it for another apply.
func (a *applier) countCopied(states []ReplicatorState) {
	for i, state := range states {
		if state.Status == nil {
			continue
		}
		if i < len(a.before) {
			if old := a.before[i]; old.Pod == state.Pod && old.Status != nil && old.Status.FullSync.Count == state.Status.FullSync.Count {
				continue
			}
		}
		a.result.Keys += state.Status.FullSync.Keys
		a.result.Bytes += state.Status.FullSync.Bytes
	}
}

// readReplicators looks at the replicators of this link.
func (a *applier) readReplicators(ctx context.Context) ([]ReplicatorState, error) {
	target := a.world.Target.Party
	return Replicators(ctx, target.Cluster, target.Site.Namespace, a.world.Session.Name, target.Site.Name, a.world.Link.Shards)
}

func (a *applier) conclude(ctx context.Context, waitErr error) error {
	record := a.runner.Record
	save, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var stopped *ReplicatorError
	switch {
	case waitErr == nil:
		phase := pair.PhaseInSync
		if record.Phase == pair.PhaseRecovering {
			phase = pair.PhaseRecoverInSync
		}
		return a.runner.Finish(save, phase, "", "in sync")
	case errors.As(waitErr, &stopped):
		return errors.Join(waitErr, a.runner.Finish(save, pair.PhaseFailed, stopped.Deployment, stopped.Error()))
	default:
		return errors.Join(waitErr, a.runner.Finish(save, record.Phase, "", waitErr.Error()))
	}
}
