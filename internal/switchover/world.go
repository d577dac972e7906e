package switchover

import (
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// World is what was observed.
type World struct {
	Record *pair.Record
	Sites  map[string]Site
	Link   Link
	// Divergence is how the old primary differs from the new one, where recover
	// looked; else nil.
	Divergence *Divergence
}

// Site is one site as it was seen.
type Site struct {
	Name      string
	Reachable bool   // its API server answers
	Answers   bool   // the master of every shard does
	Why       string // why not
	Replaced  string // how it is another instance than the record knows; "" where it is not
	Fence     int64  // 0: there is none
	Closed    bool   // every data pod refuses writes
	Protected bool   // only replicators may write
	// Protectable: the protection can be set, and the pair wants it.
	Protectable bool
	WhyNot      string // why it cannot
	Keys        int64  // that are not ours
	Shards      []pair.ShardState
}

// Link is the copying from the primary to the standby, as the standby's
// checkpoints and the replicators say.
type Link struct {
	Complete bool   // the standby holds a complete copy, if an old one
	Why      string // why not
	Running  bool   // every replicator runs and is not stopped by an error
	Problem  string // why not
	Unheard  string // which replicator has not heard its master since it started: its lag is not known
	Lag      time.Duration
	LagBytes int64
	// Pending is how many keys the standby lacks although it is past the
	// commands that wrote them: only the primary has their values.
	Pending int64
	// Since is when the primary was heard of last, in words; "" when unknown.
	Since string
	// Behind is how old the oldest write was then that the standby lacks still;
	// negative when unknown.
	Behind time.Duration
}

// Options of the verbs.
type Options struct {
	AcceptDataLoss   bool
	AcceptIncomplete bool
	NoReverse        bool
	Verify           bool          // a planned switch compares both sites before it closes one
	VerifyFull       bool          // with Verify: every key, not a sample
	MaxLag           time.Duration // of a planned switch; 0: no bound
	Discard          bool          // recover: what only the old primary has may go
	Rescue           bool          // recover: it is saved first
	// RescuedBy is the operation that made the rescue file which exists already,
	// where an earlier recover did; else "".
	RescuedBy string
}

// Plan is what Decide came to.
type Plan struct {
	Switch   pair.Switch
	Phase    pair.Phase // while the steps are done
	Steps    []Step
	Warnings []string
	// Divergence is what a full copy that recover begins would replace; nil
	// when nobody looked.
	Divergence *Divergence
	// Open is what the steps cannot do now, and what recover has to do later;
	// "" when they do everything.
	Open string
}
