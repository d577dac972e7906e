package switchover_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// inSync is a pair at rest, seen by a failover from a to b.
func inSync() switchover.World {
	return switchover.World{
		Record: &pair.Record{Pair: "dr1", Phase: pair.PhaseInSync, Epoch: 1, Primary: "a", Body: pair.Body{
			Spec:  pair.Spec{Sites: []pair.Site{{Name: "a"}, {Name: "b"}}, PreferredPrimary: "a"},
			Sites: map[string]pair.SiteState{"a": {}, "b": {}},
		}},
		Sites: map[string]switchover.Site{
			"a": {Name: "a", Reachable: true, Answers: true, Protectable: true},
			"b": {Name: "b", Reachable: true, Answers: true, Protectable: true, Protected: true, Fence: 1},
		},
		Link: switchover.Link{Complete: true, Running: true},
	}
}

// TestUnknownLag: a replicator that never heard its master says a lag of 0.
// Nothing is closed on its word; once something is closed, going on or the
// timeout decides.
func TestUnknownLag(t *testing.T) {
	o := switchover.Options{MaxLag: 10 * time.Second}
	if _, err := switchover.Decide(inSync(), pair.VerbFailover, "op", o); err != nil {
		t.Fatalf("in sync: %v", err)
	}
	w := inSync()
	w.Link.Unheard = "the replicator of shard 2 has not heard its master"
	_, err := switchover.Decide(w, pair.VerbFailover, "op", o)
	if fault.ExitCode(err) != fault.CodeRefused || !strings.Contains(err.Error(), "shard 2") {
		t.Errorf("a lag that is not known: %v", err)
	}
	closed := w.Sites["a"]
	closed.Closed = true
	w.Sites["a"] = closed
	if _, err := switchover.Decide(w, pair.VerbFailover, "op", o); err != nil {
		t.Errorf("closed already: %v", err)
	}
}
