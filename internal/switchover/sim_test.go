package switchover_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
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
	anew              bool // another instance than the record knows
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

// remake puts another instance with nothing in it in the place of a site's,
// and nobody copies from it.
func (s *sim) remake(name string) {
	t := s.sites[name]
	t.log, t.anew, t.closed, t.protected, t.fence, t.ckpt = nil, true, false, false, 0, simCheckpoint{}
	for _, l := range s.links {
		if l.from == name {
			l.running, l.conn = false, false
		}
	}
}

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
