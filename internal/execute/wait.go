package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// ShardProgress is what a progress display shows of one shard.
type ShardProgress struct {
	Shard      int
	Slots      string
	Phase      string // of the replicator, or what its pod waits for
	InSync     bool
	Keys       int64
	TotalKeys  int64 // an estimate; 0 while unknown
	Bytes      int64
	TotalBytes int64
	LagSeconds float64
	LagBytes   int64
}

func (s ReplicatorState) progress() ShardProgress {
	p := ShardProgress{Shard: s.Shard, Slots: s.Slots, Phase: s.Problem}
	if s.Status == nil {
		return p
	}
	p.Phase, p.InSync = string(s.Status.Phase), s.Status.InSync
	p.Keys, p.TotalKeys = s.Status.FullSync.Keys, s.Status.FullSync.TotalKeys
	p.Bytes, p.TotalBytes = s.Status.FullSync.Bytes, s.Status.FullSync.TotalBytes
	p.LagSeconds, p.LagBytes = s.Status.LagSeconds, s.Status.LagBytes
	return p
}

// pollInterval is how often replicators are asked while a verb waits.
const pollInterval = 500 * time.Millisecond

// ReplicatorError says that a replicator stopped at something that waiting
// cannot mend.
type ReplicatorError struct {
	Site, Deployment, Problem string
}

func (e *ReplicatorError) Error() string {
	return fmt.Sprintf("site %s: replicator %s: %s", e.Site, e.Deployment, e.Problem)
}

// WaitInSync asks the replicators until all of them are in sync with the
// configuration whose checksums are given by shard. It ends early when one of
// them cannot go on.
func WaitInSync(ctx context.Context, site string, checksums []string, timeout time.Duration, progress Progress,
	read func(context.Context) ([]ReplicatorState, error),
) ([]ReplicatorState, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var states []ReplicatorState
	var silence error // of the API server, when it was asked last
	for {
		now, err := read(ctx)
		if err != nil && ctx.Err() == nil && !kube.IsUnreachable(err) {
			return states, err
		}
		silence = err
		if err == nil {
			states = now
			done, err := judge(site, checksums, states, progress)
			if done || err != nil {
				return states, err
			}
		}
		select {
		case <-ctx.Done():
			return states, fault.Wrap(fault.CodeInterrupted, "the replicators go on by themselves: look at status, or run the same command again to wait",
				fmt.Errorf("stopped waiting for the replicators: %w", context.Cause(ctx)))
		case <-deadline.C:
			return states, errors.Join(timedOut(site, timeout, states), silence)
		case <-tick.C:
		}
	}
}

// judge shows the state and says whether all are in sync.
func judge(site string, checksums []string, states []ReplicatorState, progress Progress) (bool, error) {
	shown := make([]ShardProgress, len(states))
	done := true
	var errs []error
	for i, state := range states {
		current := state.Checksum == checksums[i]
		shown[i] = state.progress()
		if !current {
			// The pod of the former configuration says nothing about this one.
			shown[i].InSync, shown[i].Phase = false, "replacing the pod"
			if state.Problem != "" {
				shown[i].Phase = state.Problem
			}
		}
		if current && state.Fatal {
			errs = append(errs, &ReplicatorError{Site: site, Deployment: state.Deployment, Problem: state.Problem})
		}
		done = done && current && state.InSync()
	}
	progress.Shards(shown)
	return done && len(errs) == 0, errors.Join(errs...)
}

func timedOut(site string, timeout time.Duration, states []ReplicatorState) error {
	var waiting []string
	for _, state := range states {
		if state.InSync() {
			continue
		}
		what := state.Problem
		if state.Status != nil {
			what = describe(state.Status)
		}
		waiting = append(waiting, fmt.Sprintf("shard %d: %s", state.Shard, what))
	}
	return fault.New(fault.CodeTimeout, "the replicators go on by themselves: look at status, or run the same command again to wait longer",
		"site %s: not in sync after %s: %s", site, timeout, strings.Join(waiting, "; "))
}

// describe is one line about a replicator that is not in sync.
func describe(s *wire.Status) string {
	text := string(s.Phase)
	switch {
	case s.Error != "":
		text += ": " + s.Error
	case len(s.Findings) > 0:
		text += ": " + s.Findings[0]
	case s.Phase == wire.PhaseFullSync:
		text += fmt.Sprintf(": %d of about %d keys", s.FullSync.Keys, s.FullSync.TotalKeys)
	case s.Phase == wire.PhaseCatchingUp || s.Phase == wire.PhaseStreaming:
		text += fmt.Sprintf(": %d bytes (%.1f s) behind", s.LagBytes, s.LagSeconds)
	}
	return text
}
