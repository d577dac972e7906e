package switchover_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

func yes(*switchover.Plan) error { return nil }

// act is one verb of a course.
type act struct {
	verb pair.Verb
	o    switchover.Options
	// before changes the world; the verb runs afterwards.
	before func(*sim)
}

// course is a sequence of verbs with the state that it has to end in.
type course struct {
	name    string
	twice   bool // also with two failures
	acts    []act
	primary string
	phase   pair.Phase
	epoch   int64
}

var circle = []act{{verb: pair.VerbFailover}, {verb: pair.VerbFailback}}

var courses = []course{
	{"failover", true, []act{{verb: pair.VerbFailover}}, "b", pair.PhaseRecoverInSync, 2},
	{"compared first", false, []act{{verb: pair.VerbFailover, o: switchover.Options{Verify: true}}, {verb: pair.VerbFailback, o: switchover.Options{Verify: true, VerifyFull: true}}}, "a", pair.PhaseInSync, 3},
	{"circle", false, circle, "a", pair.PhaseInSync, 3},
	{"twice round", false, append(append([]act{}, circle...), circle...), "a", pair.PhaseInSync, 5},
	{"without reverse", false, []act{{verb: pair.VerbFailover, o: switchover.Options{NoReverse: true}}, {verb: pair.VerbRecover}, {verb: pair.VerbFailback}}, "a", pair.PhaseInSync, 3},
	{"primary lost and back", false, []act{
		{verb: pair.VerbFailover, o: switchover.Options{AcceptDataLoss: true}, before: func(s *sim) {
			s.sites["a"].redis, s.sites["a"].up = false, false
			s.giveUp("a", "b")
		}},
		{verb: pair.VerbRecover, o: switchover.Options{Discard: true}, before: func(s *sim) {
			s.sites["a"].redis, s.sites["a"].up = true, true
			s.tick() // it takes writes: nobody can tell its applications
			s.sites["a"].apps = false
			s.giveUp("a", "b")
		}},
		{verb: pair.VerbFailback, before: func(s *sim) { s.sites["a"].apps = true }},
	}, "a", pair.PhaseInSync, 3},
	{"primary made anew", false, []act{
		{verb: pair.VerbFailover, o: switchover.Options{AcceptDataLoss: true}, before: func(s *sim) {
			s.giveUp("a", "b")
			s.remake("a")
			s.tick() // the new instance takes writes at once
			s.giveUp("a", "b")
			s.sites["a"].apps = false
		}},
		{verb: pair.VerbRecover, o: switchover.Options{Discard: true}},
		{verb: pair.VerbFailback, before: func(s *sim) { s.sites["a"].apps = true }},
	}, "a", pair.PhaseInSync, 3},
}

// runs counts, so that the test says how much it explored.
var runs int

// finish runs a verb until it is done, as somebody does who reads its errors.
func finish(s *sim, a act, id string) error {
	var last error
	for try := range 4 {
		op := s.operator(fmt.Sprintf("%s-%d", id, try))
		runs++
		_, err := switchover.Run(context.Background(), op, a.verb, op.id, a.o, yes)
		if err == nil {
			return nil
		}
		last = err
	}
	return last
}

// begun tells whether the verb has nothing left to do.
func over(s *sim, before int64, a act) bool {
	r, err := pair.Newer(s.sites["a"].record, s.sites["b"].record)
	if err != nil || r.Switching() != nil {
		return false
	}
	switch a.verb {
	case pair.VerbRecover:
		return r.Phase == pair.PhaseRecovering || r.Phase == pair.PhaseRecoverInSync
	default:
		return r.Epoch > before
	}
}

func epochOf(s *sim) int64 { return max(s.sites["a"].record.Epoch, s.sites["b"].record.Epoch) }

// play runs a course; one call of one of its verbs goes wrong, and then one
// call of the verb that is run again.
func play(t *testing.T, c course, at int, first failure, again int, second failure) (calls, callsAgain int) {
	t.Helper()
	s := newSim()
	s.tick()
	name := fmt.Sprintf("%s: call %d goes wrong (%d), then call %d (%d)", c.name, at, first, again, second)
	counted := 0
	for i, a := range c.acts {
		if a.before != nil {
			a.before(s)
		}
		epoch := epochOf(s)
		op := s.operator(fmt.Sprintf("op%d", i))
		op.failAt, op.failure = at-counted, first
		runs++
		_, err := switchover.Run(context.Background(), op, a.verb, op.id, a.o, yes)
		hit := at > counted && at <= counted+op.calls
		counted += op.calls
		if err == nil {
			continue
		}
		if !hit {
			t.Fatalf("%s: %s: %v\n%s", name, a.verb, err, s.state())
		}
		if again > 0 && !over(s, epoch, a) {
			op2 := s.operator(fmt.Sprintf("again%d", i))
			op2.failAt, op2.failure = again, second
			runs++
			_, err = switchover.Run(context.Background(), op2, a.verb, op2.id, a.o, yes)
			callsAgain = op2.calls
			if err == nil {
				continue
			}
		}
		if over(s, epoch, a) {
			// What is left is to wait, and to write down that it is over.
			continue
		}
		if err := finish(s, a, fmt.Sprintf("finish%d", i)); err != nil {
			t.Fatalf("%s: %s run again: %v\n%s", name, a.verb, err, s.state())
		}
	}
	for range 3 {
		s.tick()
	}
	r, err := pair.Newer(s.sites["a"].record, s.sites["b"].record)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, s.state())
	}
	if len(s.violations) > 0 {
		t.Fatalf("%s: %s\n%s", name, s.violations[0], s.state())
	}
	settled := r.Phase == c.phase || c.phase == pair.PhaseInSync && r.Phase == pair.PhaseSyncing || c.phase == pair.PhaseRecoverInSync && r.Phase == pair.PhaseRecovering
	if !settled || r.Primary != c.primary || r.Epoch != c.epoch || r.Switching() != nil {
		t.Fatalf("%s: ended with %s, primary %s, epoch %d, expected %s, %s, %d\n%s", name, r.Phase, r.Primary, r.Epoch, c.phase, c.primary, c.epoch, s.state())
	}
	primary, standby := s.sites[r.Primary], s.sites[r.Standby()]
	if !primary.writable() || standby.writable() || standby.closed {
		t.Fatalf("%s: only the primary has to be writable\n%s", name, s.state())
	}
	if lost := s.missing(r.Primary); len(lost) > 0 {
		t.Fatalf("%s: lost %v\n%s", name, lost, s.state())
	}
	if fmt.Sprint(primary.log) != fmt.Sprint(standby.log) {
		t.Fatalf("%s: the sites differ:\n%v\n%v", name, primary.log, standby.log)
	}
	return counted, callsAgain
}

// Every call of every verb of every course goes wrong in every way, and then
// every call of the verb that is run again: it has to come to the same end.
func TestInterruptedAnywhere(t *testing.T) {
	runs = 0
	for _, c := range courses {
		calls, _ := play(t, c, 0, none, 0, none)
		for at := 1; at <= calls; at++ {
			for _, first := range []failure{before, afterwards, halfSaved, lostAnswer} {
				_, callsAgain := play(t, c, at, first, 1<<30, none)
				for again := 1; again <= callsAgain && c.twice; again++ {
					for _, second := range []failure{afterwards, halfSaved} {
						play(t, c, at, first, again, second)
					}
				}
			}
		}
	}
	t.Logf("%d runs of verbs", runs)
}

// A failover that went wrong anywhere is cancelled, and the cancel itself goes
// wrong anywhere: either the old primary serves again with everything, or the
// cancel is refused because it is too late, and resume ends the failover.
func TestCancelledAnywhere(t *testing.T) {
	base := newSim()
	base.tick()
	op := base.operator("count")
	if _, err := switchover.Run(context.Background(), op, pair.VerbFailover, "x", switchover.Options{}, yes); err != nil {
		t.Fatal(err)
	}
	cancelled, tooLate := 0, 0
	for at := 1; at <= op.calls; at++ {
		for _, first := range []failure{before, afterwards, halfSaved, lostAnswer} {
			for again := 0; again <= 14; again++ {
				for _, second := range []failure{afterwards, halfSaved} {
					if cancelOnce(t, at, first, again, second) {
						cancelled++
					} else {
						tooLate++
					}
				}
			}
		}
	}
	if cancelled == 0 || tooLate == 0 {
		t.Fatalf("%d cancelled, %d too late: both have to happen", cancelled, tooLate)
	}
	t.Logf("%d cancelled, %d too late", cancelled, tooLate)
}

func cancelOnce(t *testing.T, at int, first failure, again int, second failure) bool {
	t.Helper()
	name := fmt.Sprintf("failover: call %d goes wrong (%d), cancel: call %d (%d)", at, first, again, second)
	s := newSim()
	s.tick()
	op := s.operator("op")
	op.failAt, op.failure = at, first
	if _, err := switchover.Run(context.Background(), op, pair.VerbFailover, op.id, switchover.Options{}, yes); err == nil {
		return false
	}
	stop := s.operator("cancel")
	stop.failAt, stop.failure = again, second
	_, err := switchover.Run(context.Background(), stop, pair.VerbCancel, stop.id, switchover.Options{}, yes)
	if err != nil && fault.ExitCode(err) == fault.CodeRefused && !errors.Is(err, errCrash) {
		if r, _ := pair.Newer(s.sites["a"].record, s.sites["b"].record); r != nil && r.Switching() != nil {
			if err := finish(s, act{verb: pair.VerbResume}, "resume"); err != nil {
				t.Fatalf("%s: resume: %v\n%s", name, err, s.state())
			}
		}
		return false
	}
	if err != nil {
		r, newerErr := pair.Newer(s.sites["a"].record, s.sites["b"].record)
		if newerErr != nil {
			t.Fatalf("%s: %v", name, newerErr)
		}
		if r.Switching() != nil {
			if err := finish(s, act{verb: pair.VerbCancel}, "cancel again"); err != nil {
				t.Fatalf("%s: cancel again: %v\n%s", name, err, s.state())
			}
		}
	}
	for range 3 {
		s.tick()
	}
	if len(s.violations) > 0 {
		t.Fatalf("%s: %s\n%s", name, s.violations[0], s.state())
	}
	a, b := s.sites["a"], s.sites["b"]
	r, err := pair.Newer(a.record, b.record)
	if err != nil || !a.writable() || b.writable() || r.Primary != "a" || r.Switching() != nil {
		t.Fatalf("%s: site a has to serve again\n%s", name, s.state())
	}
	if lost := s.missing("a"); len(lost) > 0 {
		t.Fatalf("%s: lost %v\n%s", name, lost, s.state())
	}
	if fmt.Sprint(a.log) != fmt.Sprint(b.log) {
		t.Fatalf("%s: the sites differ:\n%v\n%v\n%s", name, a.log, b.log, s.state())
	}
	return true
}
