package execute

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// ScaleOptions of Pause and Start.
type ScaleOptions struct {
	Operation Operation
	Wait      bool // Start: until every replicator is in sync
	Timeout   time.Duration
	Progress  Progress
}

// ScaleResult is what Pause or Start reached.
type ScaleResult struct {
	Pair        string            `json:"pair"`
	Phase       pair.Phase        `json:"phase"`
	Paused      bool              `json:"paused"`
	Seconds     float64           `json:"seconds"`
	Replicators []ReplicatorState `json:"replicators"`
}

// Pause stops the replicators and waits until their pods are gone. They go on
// from their checkpoints when they are started again, as long as the source's
// backlog reaches back to them. The primary's site need not answer.
func Pause(ctx context.Context, s *Session, opts ScaleOptions) (*ScaleResult, error) {
	return scale(ctx, s, opts, true)
}

// Start lets the replicators of a paused pair go on.
func Start(ctx context.Context, s *Session, opts ScaleOptions) (*ScaleResult, error) {
	return scale(ctx, s, opts, false)
}

func scale(ctx context.Context, s *Session, opts ScaleOptions, pause bool) (*ScaleResult, error) {
	standby := s.Standby()
	if standby.Err != nil {
		return nil, standby.Err
	}
	record := *s.Record
	record.Paused = pause
	runner := &Runner{Operation: opts.Operation, Records: s.Records, Record: &record, Progress: opts.Progress}
	result := &ScaleResult{Pair: s.Name, Phase: record.Phase, Paused: pause}
	replicas, name, end := int64(1), "start the replicators", "started"
	if pause {
		replicas, name, end = 0, "stop the replicators", "paused"
	}
	ctx, locks, err := Lock(ctx, s, opts.Operation)
	if err != nil {
		return nil, err
	}
	err = runner.Run(ctx, Step{Name: name, Do: func(ctx context.Context) error {
		return ScaleReplicators(ctx, standby, s.Name, standby.Site.Name, replicas)
	}})
	err = errors.Join(err, locks.Release(ctx))
	if err != nil {
		return result, inTheMiddle(err)
	}
	read := func(ctx context.Context) ([]ReplicatorState, error) {
		return Replicators(ctx, standby.Cluster, standby.Site.Namespace, s.Name, standby.Site.Name, record.Body.Shards)
	}
	switch {
	case pause:
		waitFor, cancel := context.WithTimeout(ctx, opts.Timeout)
		defer cancel()
		err = waitNoPodsOf(waitFor, standby, pair.Selector(s.Name)+","+pair.LabelSite+"="+standby.Site.Name)
		code := fault.CodeTimeout
		if ctx.Err() != nil { // it was not the time that ended the wait
			code = fault.CodeInterrupted
		}
		err = fault.Wrap(code, "look at the pods; the Deployments are scaled to 0", err)
	case opts.Wait:
		var sums []string
		if sums, err = checksums(ctx, read); err == nil {
			result.Replicators, err = WaitInSync(ctx, standby.Site.Name, sums, opts.Timeout, opts.Progress, read)
		}
	}
	if err != nil {
		end += ", not waited to the end"
	}
	if result.Replicators == nil && err == nil {
		result.Replicators, err = read(ctx)
	}
	result.Seconds = time.Since(opts.Operation.Started).Seconds()
	if finish := runner.Finish(context.WithoutCancel(ctx), record.Phase, record.FailedStep, end); finish != nil {
		return result, errors.Join(finish, err)
	}
	return result, err
}

// checksums are those that the Deployments ask for, by shard.
func checksums(ctx context.Context, read func(context.Context) ([]ReplicatorState, error)) ([]string, error) {
	states, err := read(ctx)
	sums := make([]string, len(states))
	for i, state := range states {
		sums[i] = state.wanted
	}
	return sums, err
}

// ScaleReplicators scales the Deployments that write to a site, and reads them
// again.
func ScaleReplicators(ctx context.Context, party *Party, pairName, site string, replicas int64) error {
	deployments, err := party.Cluster.ListOwned(ctx, party.Site.Namespace, pairName, deploymentKind)
	if err != nil {
		return fmt.Errorf("listing the replicators of pair %s: %w", pairName, err)
	}
	found := 0
	for i := range deployments {
		if deployments[i].GetLabels()[pair.LabelSite] != site {
			continue
		}
		found++
		if err := party.Cluster.Scale(ctx, refOf(&deployments[i]), replicas); err != nil {
			return err
		}
	}
	if found == 0 && replicas > 0 {
		return fault.Refuse("apply the pair again", "site %s has no replicators of pair %s", site, pairName)
	}
	return nil
}
