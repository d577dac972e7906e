package execute

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestGivesUp: what is taken back by itself, and what waits for somebody.
func TestGivesUp(t *testing.T) {
	slow := fault.New(fault.CodeTimeout, "", "too slow")
	differ := fault.New(fault.CodeDiffers, "", "not the same")
	for _, c := range []struct {
		name   string
		at     switchover.Op
		err    error
		cause  error // of the end of the context
		change func(*pair.Record)
		want   bool
	}{
		{name: "a comparison that found something", at: switchover.OpVerify, err: differ, want: true},
		{name: "a comparison that did not come about", at: switchover.OpVerify, err: errors.New("no image"), want: true},
		{name: "a comparison that was interrupted", at: switchover.OpVerify, err: errors.New("stopped"), cause: errors.New("interrupted"), want: true},
		{name: "a comparison in another's time", at: switchover.OpVerify, err: errors.New("stopped"), cause: fault.New(fault.CodeLocked, "", "lost"), want: false},
		{name: "a record of another", at: switchover.OpVerify, err: fault.New(fault.CodeLocked, "", "changed"), want: false},
		{name: "a drain that is too slow", at: switchover.OpDrain, err: slow, change: closed, want: true},
		{name: "a close that is too slow", at: switchover.OpClose, err: slow, want: false},
		{name: "a drain that fails", at: switchover.OpDrain, err: errors.New("no answer"), change: closed, want: false},
		{name: "after the commit", at: switchover.OpAwait, err: slow, change: func(r *pair.Record) { closed(r); r.Epoch = 2 }, want: false},
		{name: "a cancel", at: switchover.OpAwait, err: slow, change: func(r *pair.Record) { closed(r); r.Body.Switch.Verb = pair.VerbCancel }, want: false},
		{name: "nothing under way", at: switchover.OpVerify, err: differ, change: func(r *pair.Record) { r.Body.Switch.Ended = true }, want: false},
		{name: "no error", at: switchover.OpVerify, want: false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &pair.Record{Epoch: 1, Body: pair.Body{Switch: &pair.Switch{Verb: pair.VerbFailover, From: "a", To: "b", Epoch: 2}}}
			if c.change != nil {
				c.change(r)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.cause != nil {
				cancel(c.cause)
			}
			ran := &switchover.Result{Record: r, Left: []switchover.Step{{Op: c.at, Site: "b"}, {Op: switchover.OpCommit, Site: "b"}}}
			if got := givesUp(ctx, ran, c.err); got != c.want {
				t.Errorf("taken back: %v", got)
			}
		})
	}
	if givesUp(t.Context(), &switchover.Result{}, errors.New("no record was read")) {
		t.Error("without a record there is nothing to take back")
	}
}

func closed(r *pair.Record) { r.Body.Switch.Window = json.RawMessage(`{}`) }

// closingHands stand for two sites of which the standby is taken over by
// somebody else, with a higher fence, while the primary is closed.
type closingHands struct {
	record *pair.Record
	rounds int
}

func (h *closingHands) Look(context.Context) (switchover.World, error) {
	h.rounds++
	fence := int64(1)
	if h.rounds > 1 {
		fence = 5
	}
	return switchover.World{
		Record: h.record,
		Sites: map[string]switchover.Site{
			"a": {Name: "a", Reachable: true, Answers: true, Protectable: true, Closed: h.rounds > 1},
			"b": {Name: "b", Reachable: true, Answers: true, Protectable: true, Protected: true, Fence: fence},
		},
		Link: switchover.Link{Complete: true, Running: true},
	}, nil
}

func (*closingHands) Ready(context.Context, switchover.Step, *pair.Record) error { return nil }

func (*closingHands) Do(_ context.Context, step switchover.Step, r *pair.Record) error {
	switch step.Op {
	case switchover.OpClose:
		closed(r)
	case switchover.OpLook:
		return switchover.ErrMoved
	}
	return nil
}

func (h *closingHands) Save(_ context.Context, r *pair.Record, _ string, _ ...string) error {
	saved, s := *r, *r.Body.Switch
	saved.Body.Switch = &s
	h.record = &saved
	return nil
}

// TestGivesUpByStep: only what stopped a step takes the switch back, not what
// refuses a new plan after the steps were to be done again.
func TestGivesUpByStep(t *testing.T) {
	h := &closingHands{record: &pair.Record{Pair: "dr1", Phase: pair.PhaseInSync, Epoch: 1, Primary: "a", Body: pair.Body{
		Spec:  pair.Spec{Sites: []pair.Site{{Name: "a"}, {Name: "b"}}, PreferredPrimary: "a"},
		Sites: map[string]pair.SiteState{"a": {}, "b": {}},
	}}}
	ran, err := switchover.Run(t.Context(), h, pair.VerbFailover, "op", switchover.Options{}, func(*switchover.Plan) error { return nil })
	if fault.ExitCode(err) != fault.CodePartial || !fault.Has(err, fault.CodeRefused) || h.rounds != 2 {
		t.Fatalf("after %d rounds exit %d: %v", h.rounds, fault.ExitCode(err), err)
	}
	if givesUp(t.Context(), ran, err) {
		t.Errorf("taken back although another holds the standby: %v", err)
	}
}

// TestTakenBack: a refusal leaves everything as it was before (exit code 3) only
// where this operation began the switch: another's had closed the primary, which
// is open now.
func TestTakenBack(t *testing.T) {
	refusal := fault.Wrap(fault.CodePartial, "mend it", fault.Refuse("mend it", "a replica is missing"))
	for name, c := range map[string]struct {
		id   string
		done []switchover.Step
		want int
	}{
		"its own":               {id: "op", want: fault.CodeRefused},
		"its own, later":        {id: "op", done: []switchover.Step{{Op: switchover.OpVerify}}, want: fault.CodeError},
		"resumed, of before":    {id: "of yesterday", want: fault.CodeError},
		"resumed, and went on ": {id: "of yesterday", done: []switchover.Step{{Op: switchover.OpClose}}, want: fault.CodeError},
	} {
		ran := &switchover.Result{
			Record: &pair.Record{Body: pair.Body{Switch: &pair.Switch{ID: c.id}}},
			Done:   c.done, Left: []switchover.Step{{Op: switchover.OpDrain}},
		}
		if err := takenBack(ran, "op", refusal); fault.ExitCode(err) != c.want || fault.Remedy(err) != "mend it" {
			t.Errorf("%s: exit %d, remedy %q: %v", name, fault.ExitCode(err), fault.Remedy(err), err)
		}
	}
}
