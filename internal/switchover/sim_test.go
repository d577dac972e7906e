package switchover_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// sim is a world of two sites with one shard each. What a site holds is the
// list of the writes that it took, in order; a position is a place in it.
type sim struct {
	sites  map[string]*simSite
	links  []*simLink
	writes int            // so far, of applications
	acked  map[string]int // write -> its number
	lossOK map[string]bool
	clock  time.Time

	maxEpoch   map[string]int64 // by site: of its record
	violations []string
}

type simSite struct {
	name              string
	up, redis, apps   bool // API server, Redis, applications that try to write
	protectable       bool
	closed, protected bool
	fence             int64
	log               []string
	ckpt              simCheckpoint // of the link that writes here
	record            *pair.Record  // as stored
	version           int           // of the stored record
}

type simCheckpoint struct {
	epoch int64
	pos   int
	full  bool // a full copy is being written
}

// simLink is a replicator.
type simLink struct {
	from, to string
	epoch    int64
	running  bool
	frozen   bool
	conn     bool     // has taken the shard, and its connection was not ended
	buffer   []string // what it had in hand when it froze
}

func newSim() *sim {
	s := &sim{
		acked: map[string]int{}, lossOK: map[string]bool{}, maxEpoch: map[string]int64{},
		clock: time.Unix(1_700_000_000, 0).UTC(), sites: map[string]*simSite{},
	}
	record := &pair.Record{Pair: "dr1", Phase: pair.PhaseInSync, Epoch: 1, Primary: "a", Body: pair.Body{
		Spec:   pair.Spec{Sites: []pair.Site{{Name: "a"}, {Name: "b"}}, PreferredPrimary: "a"},
		Sites:  map[string]pair.SiteState{"a": {}, "b": {}},
		Shards: []pair.ShardState{{Pods: []string{"a-0"}}},
	}}
	for _, name := range []string{"a", "b"} {
		s.sites[name] = &simSite{name: name, up: true, redis: true, apps: true, protectable: true, record: clone(record), version: 1}
	}
	b := s.sites["b"]
	b.protected, b.fence, b.ckpt = true, 1, simCheckpoint{epoch: 1}
	s.links = []*simLink{{from: "a", to: "b", epoch: 1, running: true}}
	return s
}

// clone makes a copy that shares nothing that is changed.
func clone(r *pair.Record) *pair.Record {
	c := *r
	c.Journal = slices.Clone(r.Journal)
	if r.Body.Switch != nil {
		s := *r.Body.Switch
		s.Positions = slices.Clone(s.Positions)
		c.Body.Switch = &s
	}
	return &c
}

func (s *sim) violate(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

func (t *simSite) writable() bool { return t.redis && !t.closed && !t.protected }

// exposed tells a site where writes of applications and of a replicator could
// meet. Where a standby cannot be protected, only its users can keep away.
func (t *simSite) exposed() bool { return t.writable() && (t.protectable || t.apps) }

// tick lets everybody do what they do at any moment: applications write where
// they may, replicators copy. Then it checks what must always hold.
func (s *sim) tick() {
	for _, name := range []string{"a", "b"} {
		site := s.sites[name]
		if site.apps && site.writable() {
			s.writes++
			id := fmt.Sprintf("w%d@%s", s.writes, name)
			site.log = append(site.log, id)
			s.acked[id] = s.writes
		}
	}
	for _, l := range s.links {
		s.replicate(l)
	}
	s.check()
}

func (s *sim) live(l *simLink) bool {
	to := s.sites[l.to]
	return l.running && !l.frozen && to.redis && !to.closed && (l.conn || to.fence == l.epoch)
}

func (s *sim) replicate(l *simLink) {
	from, to := s.sites[l.from], s.sites[l.to]
	if !s.live(l) || !from.redis {
		return
	}
	if !l.conn {
		l.conn = true // the fence was compared by live
	}
	if to.exposed() {
		s.violate("the replicator of epoch %d writes to site %s, which takes writes of applications", l.epoch, l.to)
	}
	if to.ckpt.epoch != l.epoch {
		s.replaced(to, from)
		to.log = slices.Clone(from.log)
		to.ckpt = simCheckpoint{epoch: l.epoch, pos: len(from.log)}
		return
	}
	to.log = append(to.log, from.log[to.ckpt.pos:]...)
	to.ckpt.pos = len(from.log)
}

// replaced: a full copy takes away what the target has and the source does not.
func (s *sim) replaced(to, from *simSite) {
	for _, id := range to.log {
		if !slices.Contains(from.log, id) && !s.lossOK[id] {
			s.violate("a full copy to site %s removes %s, which nobody gave up", to.name, id)
		}
	}
}

// freeze stops a process with data in its hands.
func (s *sim) freeze(l *simLink) {
	l.frozen = true
	l.buffer = []string{fmt.Sprintf("ghost of epoch %d", l.epoch)}
}

// wake lets it go on where it was: it writes what it had, if its connection
// still is there.
func (s *sim) wake(l *simLink) {
	l.frozen = false
	to := s.sites[l.to]
	if l.conn && l.running && to.redis && !to.closed && to.fence != l.epoch {
		s.violate("a replicator of epoch %d wrote to site %s under the fence of epoch %d", l.epoch, l.to, to.fence)
	}
	l.buffer = nil
}

func (s *sim) check() {
	a, b := s.sites["a"], s.sites["b"]
	if a.exposed() && b.exposed() {
		for _, l := range s.links {
			if s.live(l) {
				s.violate("both sites take writes while the replicator %s -> %s of epoch %d lives", l.from, l.to, l.epoch)
			}
		}
	}
	for _, site := range []*simSite{a, b} {
		seen := map[string]bool{}
		for _, id := range site.log {
			if seen[id] {
				s.violate("site %s took %s twice", site.name, id)
			}
			seen[id] = true
		}
		if e := site.record.Epoch; e < s.maxEpoch[site.name] {
			s.violate("the record of site %s went from epoch %d down to %d", site.name, s.maxEpoch[site.name], e)
		} else {
			s.maxEpoch[site.name] = e
		}
	}
}

// giveUp allows the loss of every write that a site has now and the other does
// not.
func (s *sim) giveUp(site, other string) {
	for _, id := range s.sites[site].log {
		if !slices.Contains(s.sites[other].log, id) {
			s.lossOK[id] = true
		}
	}
}

// damage takes the first write away from a site, as somebody could who writes
// to a standby; repair gives it what the other one has.
func (t *simSite) damage() { t.log = t.log[1:] }

func (t *simSite) repair(other *simSite) { t.log = slices.Clone(other.log[:t.ckpt.pos]) }

// missing are the acknowledged writes that a site lacks and nobody gave up.
func (s *sim) missing(site string) []string {
	var lost []string
	for id := range s.acked {
		if !slices.Contains(s.sites[site].log, id) && !s.lossOK[id] {
			lost = append(lost, id)
		}
	}
	slices.Sort(lost)
	return lost
}

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

func (o *operator) Do(_ context.Context, step switchover.Step, r *pair.Record) error {
	if o.dead {
		return errCrash
	}
	o.trace = append(o.trace, fmt.Sprintf("%s %s", step.Op, step.Site))
	if o.onStep != nil {
		o.onStep(step)
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
	case switchover.OpRescue:
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

// state is the world in one line per site.
func (s *sim) state() string {
	var b strings.Builder
	for _, name := range []string{"a", "b"} {
		t := s.sites[name]
		fmt.Fprintf(&b, "%s: record %s epoch %d primary %s, fence %d, %d writes", name, t.record.Phase, t.record.Epoch, t.record.Primary, t.fence, len(t.log))
		for _, flag := range []struct {
			on   bool
			text string
		}{
			{!t.up, "API server silent"},
			{!t.redis, "Redis silent"},
			{t.closed, "closed"},
			{t.protected, "protected"},
			{t.writable(), "writable"},
			{t.record.Body.Sites[name].Invalidated, "invalidated"},
		} {
			if flag.on {
				b.WriteString(", " + flag.text)
			}
		}
		b.WriteString("\n")
	}
	for _, l := range s.links {
		if l.running {
			fmt.Fprintf(&b, "replicator %s -> %s epoch %d", l.from, l.to, l.epoch)
			if l.frozen {
				b.WriteString(", frozen")
			} else if !s.live(l) {
				b.WriteString(", cannot write")
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
