package switchover_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// failure is how a call of an operator goes wrong.
type failure int

const (
	none       failure = iota
	before             // the process dies before the call did anything
	afterwards         // the process dies after the call did what it does
	halfSaved          // it dies between the two writes of the record
	lostAnswer         // the call did what it does, the answer was lost
)

var (
	errCrash  = errors.New("the process is gone")
	errAnswer = errors.New("no answer")
)

// operator is one process that runs a verb.
type operator struct {
	*sim
	skew    time.Duration
	id      string
	rv      map[string]int
	calls   int
	failAt  int // number of the call that goes wrong; 0: none
	failure failure
	onStep  func(step switchover.Step) // before it is done
	refuse  map[switchover.Op]error
	dead    bool
	trace   []string
}

func (s *sim) operator(id string) *operator { return &operator{sim: s, id: id, rv: map[string]int{}} }

// call counts a call that changes something, and lets it go wrong.
func (o *operator) call(do func(half bool) error) error {
	if o.dead {
		return errCrash
	}
	o.calls++
	defer o.tick()
	mode := none
	if o.calls == o.failAt {
		mode = o.failure
	}
	switch mode {
	case before:
		o.dead = true
		return errCrash
	case halfSaved:
		o.dead = true
		return errors.Join(errCrash, do(true))
	case afterwards:
		o.dead = true
		return errors.Join(errCrash, do(false))
	case lostAnswer:
		if err := do(false); err != nil {
			return err
		}
		return errAnswer
	}
	return do(false)
}

func (o *operator) Look(context.Context) (switchover.World, error) {
	if o.dead {
		return switchover.World{}, errCrash
	}
	w := switchover.World{Sites: map[string]switchover.Site{}}
	clear(o.rv)
	for _, name := range []string{"a", "b"} {
		site := o.sites[name]
		if !site.up {
			continue
		}
		o.rv[name] = site.version
		newer, err := pair.Newer(w.Record, site.record)
		if err != nil {
			return w, err
		}
		w.Record = newer
	}
	w.Record = clone(w.Record)
	for _, name := range []string{"a", "b"} {
		site := o.sites[name]
		view := switchover.Site{
			Name: name, Reachable: site.up, Answers: site.up && site.redis, Why: "no route to host",
			Protectable: site.protectable, WhyNot: "it knows no ACLs", Shards: []pair.ShardState{{Pods: []string{name + "-0"}}},
		}
		if view.Answers {
			if site.anew {
				view.Replaced = "it was made anew"
			}
			view.Fence, view.Closed, view.Protected, view.Keys = site.fence, site.closed, site.protected, int64(len(site.log))
		}
		w.Sites[name] = view
	}
	standby := o.sites[w.Record.Standby()]
	w.Link = switchover.Link{Why: "no checkpoint", Problem: "not running", Since: "a moment ago"}
	if standby.up && standby.redis && standby.ckpt.epoch == w.Record.Epoch && !standby.ckpt.full {
		w.Link.Complete = true
	}
	for _, l := range o.links {
		if l.to == standby.name && l.epoch == w.Record.Epoch && l.running {
			w.Link.Running = true
		}
	}
	return w, nil
}

func (o *operator) Save(_ context.Context, r *pair.Record, first string, lines ...string) error {
	return o.call(func(half bool) error {
		o.clock = o.clock.Add(time.Second)
		for _, line := range lines {
			r.Journal = append(r.Journal, pair.JournalLine{At: o.clock.Add(o.skew), Operation: o.id, Verb: "x", By: o.id, Text: line})
		}
		r.Body.Revision++
		order := []string{"a", "b"}
		if first == "b" {
			order = []string{"b", "a"}
		}
		written := 0
		for _, name := range order {
			site := o.sites[name]
			rv, known := o.rv[name]
			if !known {
				continue // it was not there when this operator looked
			}
			if !site.up {
				return errors.New("site " + name + ": no route to host")
			}
			if rv != site.version {
				return fault.New(fault.CodeLocked, "", "site %s: another command changed the record meanwhile", name)
			}
			if half && written == 1 {
				return nil
			}
			site.record, site.version = clone(r), site.version+1
			o.rv[name] = site.version
			written++
		}
		return nil
	})
}

func (o *operator) Ready(context.Context, switchover.Step, *pair.Record) error { return nil }

func (o *operator) Do(_ context.Context, step switchover.Step, r *pair.Record) error {
	if o.dead {
		return errCrash
	}
	o.trace = append(o.trace, fmt.Sprintf("%s %s", step.Op, step.Site))
	if o.onStep != nil {
		o.onStep(step)
	}
	if err := o.refuse[step.Op]; err != nil {
		return err
	}
	return o.call(func(bool) error { return o.do(step, r) })
}

func (o *operator) do(step switchover.Step, r *pair.Record) error {
	s := r.Body.Switch
	site := o.sites[step.Site]
	if !site.up || !site.redis {
		return errors.New("site " + step.Site + ": no answer")
	}
	switch step.Op {
	case switchover.OpRescue: // what it has now is safe; what is written later is not
		o.giveUp(s.From, s.To)
	case switchover.OpVerify:
		return o.compare(s)
	case switchover.OpClose:
		site.closed = true
		s.Window = json.RawMessage(`{"a":0}`)
	case switchover.OpDrain:
		return o.drain(r)
	case switchover.OpLook:
		from := o.sites[s.From]
		if !from.up || !from.redis || !from.closed || site.fence != r.Epoch || site.ckpt.pos != len(from.log) {
			return switchover.ErrMoved
		}
	case switchover.OpCommit:
		return o.committed(r)
	case switchover.OpFence:
		if site.closed {
			return errors.New("NOREPLICAS")
		}
		if site.fence > step.Epoch {
			return fault.Refuse("", "the fence is at %d", site.fence)
		}
		site.fence = step.Epoch
		for _, l := range o.links {
			if l.to == step.Site && l.epoch < step.Epoch {
				l.conn = false
			}
		}
	case switchover.OpPosition:
		s.Positions = []pair.PositionRecorded{{ReplID: step.Site, Offset: int64(len(site.log))}}
	case switchover.OpOpen:
		site.protected, site.closed = false, false
	case switchover.OpStop:
		for _, l := range o.links {
			if l.to == step.Site && !l.frozen {
				l.running, l.conn = false, false
			}
		}
	case switchover.OpProtect:
		s.Kept = s.Kept || site.closed
		site.protected = true
	case switchover.OpLift:
		site.closed = false
	case switchover.OpCheckpoint:
		if site.fence != s.Epoch {
			return errors.New("the fence is not ours")
		}
		if site.ckpt.epoch != s.Epoch {
			site.ckpt = simCheckpoint{epoch: s.Epoch, pos: int(s.Positions[0].Offset)}
		}
	case switchover.OpCarry:
		if site.fence != s.Epoch {
			return errors.New("the fence is not ours")
		}
		if site.ckpt.epoch != s.Base && site.ckpt.epoch != s.Epoch {
			return fmt.Errorf("the checkpoint is of epoch %d, not of %d", site.ckpt.epoch, s.Base)
		}
		site.ckpt.epoch = s.Epoch
	case switchover.OpLink:
		o.link(r, step.Site)
	case switchover.OpAwait:
		for range 3 {
			o.tick()
		}
		if site.ckpt.epoch != r.Epoch || site.ckpt.full {
			return fault.New(fault.CodeTimeout, "", "not in sync")
		}
	default:
		return fmt.Errorf("no such step: %s", step.Op)
	}
	return nil
}

// compare fails unless the standby holds what the primary held at the
// standby's position.
func (o *operator) compare(s *pair.Switch) error {
	from, to := o.sites[s.From], o.sites[s.To]
	if !slices.Equal(to.log, from.log[:to.ckpt.pos]) {
		return fault.New(fault.CodeDiffers, "", "site %s is no copy of site %s", s.To, s.From)
	}
	return nil
}

func (o *operator) drain(r *pair.Record) error {
	from, to := o.sites[r.Body.Switch.From], o.sites[r.Body.Switch.To]
	for range 3 {
		o.tick()
	}
	if !from.up || !from.redis || to.ckpt.epoch != r.Epoch || to.ckpt.pos != len(from.log) {
		return fault.New(fault.CodeTimeout, "", "not drained")
	}
	return nil
}

// committed looks whether both records say what was saved.
func (o *operator) committed(r *pair.Record) error {
	for _, name := range slices.Sorted(maps.Keys(o.rv)) {
		if at := o.sites[name].record; at.Epoch != r.Epoch || at.Primary != r.Primary {
			return fmt.Errorf("site %s: the record does not say so", name)
		}
	}
	return nil
}

func (o *operator) link(r *pair.Record, to string) {
	from := r.Primary
	o.sites["a"].anew, o.sites["b"].anew = false, false // who copies has accepted them
	for _, l := range o.links {
		if !l.frozen && (l.to != to || l.epoch != r.Epoch) {
			l.running, l.conn = false, false // pruned
		}
		if l.to == to && l.epoch == r.Epoch && l.running {
			return
		}
	}
	o.links = append(o.links, &simLink{from: from, to: to, epoch: r.Epoch, running: true})
}
