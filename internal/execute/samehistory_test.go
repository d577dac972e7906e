package execute

import (
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
)

// TestSameHistory: a position counts in the history of a master itself, and in
// that of the one before it up to where it was promoted.
func TestSameHistory(t *testing.T) {
	here := []guard.ShardMaster{{ReplID: "new", ReplID2: "old", Offset: 90, SecondOffset: 51}, {ReplID: "x", ReplID2: "0", SecondOffset: -1}}
	for name, c := range map[string]struct {
		checkpoints []redisx.Checkpoint
		want        bool
	}{
		"the same":             {[]redisx.Checkpoint{{ReplID: "new", Offset: 70}, {ReplID: "x", Offset: 7}}, true},
		"later than was seen":  {[]redisx.Checkpoint{{ReplID: "new", Offset: 95}, {ReplID: "x", Offset: 7}}, true},
		"before the promotion": {[]redisx.Checkpoint{{ReplID: "old", Offset: 50}, {ReplID: "x", Offset: 7}}, true},
		"what was not copied":  {[]redisx.Checkpoint{{ReplID: "old", Offset: 51}, {ReplID: "x", Offset: 7}}, false},
		"one is another":       {[]redisx.Checkpoint{{ReplID: "new", Offset: 70}, {ReplID: "y", Offset: 7}}, false},
		"one has no history":   {[]redisx.Checkpoint{{ReplID: "new", Offset: 70}, {}}, false},
		"too few":              {[]redisx.Checkpoint{{ReplID: "new", Offset: 70}}, false},
	} {
		if got := sameHistory(c.checkpoints, here); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if sameHistory(nil, nil) {
		t.Error("nothing is known, and yet it is the same")
	}
}
