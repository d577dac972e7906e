package execute

import (
	"context"
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// withoutCount is what a user can do when the sites cannot be compared.
const withoutCount = "--verify=none goes on without knowing what only the old primary has"

// diverged compares the old primary with the new one where recover is about to
// begin a full copy. It is asked once: what only the old primary has is counted
// before anybody decides about it.
func (h *switchHands) diverged(ctx context.Context, w switchover.World) (*switchover.Divergence, error) {
	if h.divergence != nil || h.opts.CompareFirst == "" || !switchover.CopiesInFull(w) {
		return h.divergence, nil
	}
	o := h.apart()
	o.Mode = h.opts.CompareFirst
	o.Timeout = h.compareTimeout(o.Mode == wire.VerifyFull)
	result, err := Verify(ctx, h.session, o)
	switch {
	case result == nil && fault.ExitCode(err) == fault.CodeError:
		return nil, fault.Wrap(fault.CodeError, withoutCount, fmt.Errorf("counting what only site %s has: %w", w.Record.Standby(), err))
	case result == nil:
		return nil, fmt.Errorf("counting what only site %s has: %w", w.Record.Standby(), err)
	case err != nil: // what is left behind goes away by itself
		h.notes = append(h.notes, err.Error())
	}
	h.found(result)
	return h.divergence, nil
}

func (h *switchHands) found(result *wire.VerifyResult) {
	h.compared, h.divergence = result, switchover.DivergenceOf(result)
}

// apart is how an old primary is compared with the new one: nothing is copied
// between them any more.
func (h *switchHands) apart() VerifyOptions {
	o := h.opts.Verify
	o.Run, o.Apart = h.opts.Operation.ID, true
	if o.Image = h.session.Spec.Replicator.Image; o.Image == "" {
		o.Image = h.opts.Image
	}
	return o
}

// compareTimeout: a sample may take as long as any other wait of a switch;
// nobody waits for a full comparison, so it gets the time of the verb verify.
func (h *switchHands) compareTimeout(full bool) time.Duration {
	if full {
		return max(h.opts.Timeout, wire.DefaultVerifyTimeout)
	}
	return h.opts.Timeout
}
