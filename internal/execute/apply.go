package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
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

	created   []created // in this run, to be undone when the source turns out unreachable
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
	if err := w.makeSalts(); err != nil {
		return nil, err
	}
	redis, err := finder.Redis(ctx, w.Target)
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", w.Target.Party.Site.Name, err)
	}
	if err := checkFence(ctx, redis, w); err != nil {
		return nil, errors.Join(err, redis.Close())
	}
	err = errors.Join(a.run(ctx, redis), redis.Close())
	a.result.Phase = a.runner.Record.Phase
	a.result.Seconds = time.Since(opts.Operation.Started).Seconds()
	return a.result, err
}

// checkFence looks before anything is created: a fence with another epoch
// means that another pair of that name, or a later epoch, owns the target.
func checkFence(ctx context.Context, redis Redis, w *World) error {
	epoch, err := redis.FenceEpoch(ctx, w.Session.Name)
	if err != nil {
		return fmt.Errorf("site %s: reading the fence: %w", w.Target.Party.Site.Name, err)
	}
	if epoch != 0 && epoch != w.Link.Epoch {
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
	if plan.Count(a.changes).Changes() || record.Phase != pair.PhaseInSync {
		record.Phase, record.FailedStep = syncingPhase(record), ""
	}
	source, target := a.world.Source.Party.Site.Name, a.world.Target.Party.Site.Name
	err := a.runner.Run(ctx,
		Step{"create the Services of site " + source, func(ctx context.Context) error { return a.services(ctx) }},
		Step{"try the way from site " + target + " to site " + source, a.reach},
	)
	if err != nil {
		if first {
			return errors.Join(err, a.undo(ctx))
		}
		return err
	}
	err = a.runner.Run(ctx,
		Step{"set the fence in site " + target, func(ctx context.Context) error { return a.fence(ctx, redis) }},
		Step{"create the replicators of site " + target, a.replicators},
		Step{"remove what is no longer needed", a.prune},
	)
	if err != nil {
		return err
	}
	return a.wait(ctx)
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

// services creates the Services of both sites and takes over what the API
// servers chose for them.
func (a *applier) services(ctx context.Context) error {
	sourceServices, targetServices, _, err := a.world.desired()
	if err != nil {
		return err
	}
	link := &a.world.Link
	for _, at := range []struct {
		party   *Party
		side    *plan.Side
		objects []*unstructured.Unstructured
	}{
		{a.world.Source.Party, &link.Source, sourceServices},
		{a.world.Target.Party, &link.Target, targetServices},
	} {
		for _, object := range at.objects {
			applied, err := a.apply(ctx, at.party, object)
			if err != nil {
				return err
			}
			readService(at.side, applied)
		}
	}
	if link.Source.Access == pair.AccessLoadBalancer {
		if err := a.waitLoadBalancers(ctx, sourceServices); err != nil {
			return err
		}
	}
	// From here on the record says which ports to ask for again.
	a.runner.Record.Body = a.world.nextBody()
	return nil
}

// loadBalancerTimeout is how long a cloud may take to give an address.
const loadBalancerTimeout = 3 * time.Minute

func (a *applier) waitLoadBalancers(ctx context.Context, services []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, loadBalancerTimeout)
	defer cancel()
	side, party := &a.world.Link.Source, a.world.Source.Party
	for _, service := range services {
		pod := service.GetAnnotations()[manifests.PodAnnotation]
		for side.LoadBalancers[pod] == "" {
			live, err := party.Cluster.Get(ctx, refOf(service))
			if err != nil {
				return fmt.Errorf("site %s: %w", party.Site.Name, err)
			}
			if readService(side, live); side.LoadBalancers[pod] != "" {
				break
			}
			select {
			case <-ctx.Done():
				return fault.New(fault.CodeTimeout, "look at the events of that Service, or choose access type NodePort",
					"site %s: %s got no address from the load balancer within %s", party.Site.Name, refOf(service), loadBalancerTimeout)
			case <-time.After(pollInterval):
			}
		}
	}
	return nil
}

// reachTimeout is how long a new Service may take until the nodes forward it.
const reachTimeout = 15 * time.Second

// reach asks from a pod of the target whether the source answers.
func (a *applier) reach(ctx context.Context) error {
	deadline := time.Now().Add(reachTimeout)
	for {
		findings, err := a.finder.Reach(ctx, a.world.Source, a.world.Target, a.world.Link.Source.Endpoints())
		if err != nil {
			return err
		}
		refusal := RefuseOn(findings)
		if refusal == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return refusal
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
}

// RefuseOn makes the refusal of the findings that forbid to go on.
func RefuseOn(findings []topology.Finding) error {
	blocking := topology.Errors(findings)
	if len(blocking) == 0 {
		return nil
	}
	first := blocking[0]
	texts := make([]string, 0, len(blocking))
	for _, finding := range blocking {
		texts = append(texts, findingText(finding))
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
			errs = append(errs, fmt.Errorf("site %s: removing what was created: %w", object.party.Site.Name, err))
		}
	}
	errs = append(errs, a.world.Session.Records.DeleteCreated(ctx))
	return errors.Join(errs...)
}

// fence makes the epoch key, without which no replicator writes. A pair that
// starts anew must not resume from what an old one of its name left.
func (a *applier) fence(ctx context.Context, redis Redis) error {
	if !a.world.Established {
		if _, err := redis.DropShards(ctx, a.world.Session.Name, len(a.world.Link.Shards)); err != nil {
			return fmt.Errorf("site %s: removing old checkpoints: %w", a.world.Target.Party.Site.Name, err)
		}
	}
	epoch, err := redis.CreateFence(ctx, a.world.Session.Name, a.world.Link.Epoch)
	if err != nil {
		return fmt.Errorf("site %s: setting the fence: %w", a.world.Target.Party.Site.Name, err)
	}
	if epoch != a.world.Link.Epoch {
		return otherEpoch(a.world, epoch)
	}
	return nil
}

func (a *applier) replicators(ctx context.Context) error {
	_, _, objects, err := a.world.desired()
	if err != nil {
		return err
	}
	a.checksums = make([]string, 0, len(a.world.Link.Shards))
	for _, object := range objects {
		if _, err := a.apply(ctx, a.world.Target.Party, object); err != nil {
			return err
		}
		if object.GetKind() == deploymentKind.Kind {
			sum, _, err := unstructured.NestedString(object.Object, "spec", "template", "metadata", "annotations", manifests.ChecksumAnnotation)
			if err != nil {
				return fmt.Errorf("deployment %s: %w", object.GetName(), err)
			}
			a.checksums = append(a.checksums, sum)
		}
	}
	return nil
}

func (a *applier) apply(ctx context.Context, party *Party, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	applied, err := party.Cluster.Apply(ctx, object, kube.ApplyOptions{Force: a.opts.Force})
	if kube.IsConflict(err) {
		return nil, fault.Wrap(fault.CodeError, "take the fields over with --force-conflicts",
			fmt.Errorf("site %s: %w", party.Site.Name, err))
	}
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", party.Site.Name, err)
	}
	for _, change := range a.changes {
		if change.Action == plan.ActionCreate && change.Kind == object.GetKind() && change.Name == object.GetName() && change.Site == party.Site.Name {
			a.created = append(a.created, created{party, refOf(applied)})
		}
	}
	return applied, nil
}

func (a *applier) prune(ctx context.Context) error {
	for _, change := range a.changes {
		if change.Action != plan.ActionDelete {
			continue
		}
		party := a.world.Session.Parties[change.Site]
		if err := party.Cluster.Delete(ctx, kube.RefOf(change.Object)); err != nil {
			return fmt.Errorf("site %s: %w", change.Site, err)
		}
	}
	return nil
}

// wait ends the apply with the phase that was observed.
func (a *applier) wait(ctx context.Context) error {
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
	states, err := WaitInSync(ctx, target.Site.Name, a.checksums, a.opts.Timeout, a.opts.Progress,
		func(ctx context.Context) ([]ReplicatorState, error) {
			return Replicators(ctx, target.Cluster, target.Site.Namespace, a.world.Session.Name, target.Site.Name, a.world.Link.Shards)
		})
	a.opts.Progress.StepEnded(name, err, time.Since(start))
	a.result.Replicators = states
	for _, state := range states {
		if state.Status != nil {
			a.result.Keys += state.Status.FullSync.Keys
			a.result.Bytes += state.Status.FullSync.Bytes
		}
	}
	return a.conclude(ctx, err)
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
