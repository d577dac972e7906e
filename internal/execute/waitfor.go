package execute

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// WaitOptions of WaitFor.
type WaitOptions struct {
	Pair    string
	For     Condition
	Timeout time.Duration // 0: look once
	// Open connects the sites and reads the records.
	Open func(ctx context.Context) (*Session, error)
	// Waiting is told what is missing, each time that somebody looked.
	Waiting func(text string)
}

// WaitResult is what a wait ended with.
type WaitResult struct {
	Pair    string     `json:"pair"`
	For     string     `json:"for"`
	Met     bool       `json:"met"`
	Phase   pair.Phase `json:"phase,omitempty"` // of the record; these are empty when the pair is gone
	Live    pair.Phase `json:"live,omitempty"`
	Epoch   int64      `json:"epoch,omitempty"`
	Primary string     `json:"primary,omitempty"`
	Waiting string     `json:"waiting,omitempty"` // what is missing
	Seconds float64    `json:"seconds"`
}

// waitInterval is how often a wait looks.
const waitInterval = time.Second

// WaitFor looks at a pair until a condition is met. A site that does not answer
// is waited for like anything else. Its error is of exit code 4 when the time
// was too short, 10 when there is no such pair, and 1 when a replicator
// stopped at something that waiting does not mend.
func WaitFor(ctx context.Context, o WaitOptions) (*WaitResult, error) {
	start := time.Now()
	result := &WaitResult{Pair: o.Pair, For: o.For.String()}
	for {
		waiting, err := result.look(ctx, o)
		result.Waiting, result.Seconds = waiting, time.Since(start).Seconds()
		if ctx.Err() != nil {
			return result, fault.Wrap(fault.CodeInterrupted, "", fmt.Errorf("stopped waiting: %w", context.Cause(ctx)))
		}
		if err != nil {
			return result, err
		}
		if waiting == "" {
			result.Met = true
			return result, nil
		}
		o.Waiting(waiting)
		left := o.Timeout - time.Since(start)
		if left <= 0 {
			return result, fault.New(fault.CodeTimeout, "kubectl redis-sync status "+o.Pair+" shows more", "pair %s: not %s after %s: %s",
				o.Pair, o.For, o.Timeout, waiting)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(waitInterval, left)):
		}
	}
}

// look says what is missing now.
func (r *WaitResult) look(ctx context.Context, o WaitOptions) (string, error) {
	session, err := o.Open(ctx)
	switch {
	case err != nil && o.For.Deleted() && fault.ExitCode(err) == fault.CodeNotFound:
		r.Phase, r.Live, r.Epoch, r.Primary = "", "", 0, ""
		return "", nil
	case kube.IsUnreachable(err):
		return err.Error(), nil
	case err != nil:
		return "", err
	}
	defer session.Close()
	report, err := Status(ctx, session, nil, nil)
	if kube.IsUnreachable(err) {
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	r.Phase, r.Live, r.Epoch, r.Primary = report.Phase, report.Live, report.Epoch, report.Primary
	waiting, err := o.For.Unmet(report)
	if silent := session.Unreachable(); waiting != "" && silent != nil {
		waiting += ": " + strings.ReplaceAll(silent.Error(), "\n", "; ")
	}
	return waiting, err
}
