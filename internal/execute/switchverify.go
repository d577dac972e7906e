package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// verify compares both sites while writes go on: a Job takes longer to start
// than the whole of the closing lasts. A key counts as different when it still
// is at equal positions; what is written afterwards is what the drain waits
// for.
func (h *switchHands) verify(ctx context.Context, full bool) error {
	o := h.opts.Verify
	o.Run, o.Mode, o.Timeout = h.opts.Operation.ID, wire.VerifySample, h.compareTimeout(full)
	if full {
		o.Mode = wire.VerifyFull
	}
	result, err := Verify(ctx, h.session, o)
	switch {
	case result == nil && fault.ExitCode(err) == fault.CodeTimeout:
		return fault.Wrap(fault.CodeTimeout, "allow more time with --timeout; --verify=none does without the comparison", err)
	case result == nil:
		return err
	}
	h.compared = result
	if err != nil { // what is left behind goes away by itself
		h.notes = append(h.notes, err.Error())
	}
	if result.Unsettled > 0 {
		h.notes = append(h.notes, fmt.Sprintf("%d of %d keys that were compared kept changing: nothing is known of them", result.Unsettled, result.Compared))
	}
	return differences(h.session, result)
}

// differences is the error of two sites that differ. Keys that keep changing
// are no reason to stay: there will always be some where many write.
func differences(s *Session, r *wire.VerifyResult) error {
	if r.Differences() == 0 {
		return nil
	}
	certainty := "confirmed at equal positions"
	if !r.Positions {
		certainty = strings.TrimSuffix("not confirmed at equal positions: "+r.PositionsWhy, ": ")
	}
	return fault.New(fault.CodeDiffers, fmt.Sprintf("kubectl redis-sync verify %s looks at every key; --verify=none switches all the same", s.Name),
		"site %s is no copy of site %s: of %d keys %d are missing, %d are extra, %d are different, %d have another TTL; of function libraries %d (%s)",
		s.Record.Standby(), s.Record.Primary, r.Compared, r.Missing, r.Extra, r.Different, r.TTLDiffers, r.Functions.Differences(), certainty)
}

// givesUp tells a failure before the point of no return after which the switch
// is taken back by itself: one that keeps everybody from writing, or that came
// before anything was closed, the word of a hook, or an interruption.
func givesUp(ctx context.Context, ran *switchover.Result, err error) bool {
	if err == nil || ran.Record == nil {
		return false
	}
	s := ran.Record.Switching()
	if s == nil || s.Verb == pair.VerbCancel || ran.Record.Epoch >= s.Epoch {
		return false
	}
	if fault.ExitCode(err) == fault.CodeLocked || fault.ExitCode(context.Cause(ctx)) == fault.CodeLocked {
		return false // it is another's now
	}
	if len(ran.Left) > 0 && ran.Left[0].Op == switchover.OpVerify {
		return true
	}
	if errors.Is(err, switchover.ErrNotReady) || refused(ran, err) {
		return true
	}
	// Who interrupts it, or loses the terminal, may not come back to go on.
	if begun := len(ran.Done) > 0 || len(ran.Left) > 0 && len(s.Window) > 0; ctx.Err() != nil && begun {
		return true
	}
	return fault.ExitCode(err) == fault.CodeTimeout && len(s.Window) > 0
}

// refused tells a switch that a safety check stopped at a step: run again it
// would get no further.
func refused(ran *switchover.Result, err error) bool {
	return len(ran.Left) > 0 && fault.Has(err, fault.CodeRefused)
}

// giveUpTime bounds the way back, also after an interruption.
const giveUpTime = 2 * time.Minute

// giveUp takes a switch back and gives the error that it ended with. The record
// of ran is then the one that says so.
func (h *switchHands) giveUp(ctx context.Context, ran *switchover.Result, err error) (cancelled bool, _ error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTime)
	defer cancel()
	back, cancelErr := switchover.Run(ctx, h, pair.VerbCancel, h.opts.Operation.ID, h.opts.Switchover, func(*switchover.Plan) error { return nil })
	if cancelErr != nil {
		code := fault.CodePartial // whatever err says: the record holds a switch that has begun
		if fault.ExitCode(cancelErr) == fault.CodeLocked {
			code = fault.CodeLocked
		}
		return false, fault.Wrap(code, "look at status; resume goes on, cancel takes it back",
			errors.Join(err, fmt.Errorf("taking it back: %w", cancelErr)))
	}
	err = takenBack(ran, h.opts.Operation.ID, err)
	ran.Record = back.Record
	return true, err
}

// takenBack is the error of a switch that stopped with err and was taken back
// by this operation. Only one that it had begun itself left everything as it
// was before: another was closed before, and is open now.
func takenBack(ran *switchover.Result, operation string, err error) error {
	if begun := ran.Record.Body.Switch.ID == operation; begun && refused(ran, err) && len(ran.Done) == 0 {
		return fault.Wrap(fault.CodeRefused, fault.Remedy(err), err)
	}
	if fault.ExitCode(err) == fault.CodePartial { // nothing is left to go on with
		remedy := "mend the cause and run it again; --verify=none does without the comparison"
		if refused(ran, err) {
			remedy = fault.Remedy(err)
		}
		err = fault.Wrap(fault.CodeError, remedy, err)
	}
	return err
}
