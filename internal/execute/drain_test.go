package execute

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestUndrained: a switch waits for every byte of the masters, and for the
// keys whose values are still to be fetched from them.
func TestUndrained(t *testing.T) {
	masters := []guard.ShardMaster{{Pod: "a-0", ReplID: "r", Offset: 100}}
	for name, test := range map[string]struct {
		checkpoint redisx.Checkpoint
		left       string
		moved      bool
	}{
		"all":                {redisx.Checkpoint{Epoch: 2, ReplID: "r", Offset: 100}, "", false},
		"behind":             {redisx.Checkpoint{Epoch: 2, ReplID: "r", Offset: 93}, "7 bytes behind", false},
		"pending keys":       {redisx.Checkpoint{Epoch: 2, ReplID: "r", Offset: 100, Pending: 3}, "the values of 3 keys", false},
		"another history":    {redisx.Checkpoint{Epoch: 2, ReplID: "s", Offset: 100}, "another history", false},
		"another epoch":      {redisx.Checkpoint{Epoch: 1, ReplID: "r", Offset: 100}, "", true},
		"a full copy begins": {redisx.Checkpoint{Epoch: 2, ReplID: "r", Offset: 100, State: wire.CkptStateFull}, "", true},
	} {
		if test.checkpoint.State == "" {
			test.checkpoint.State = wire.CkptStateStream
		}
		left, err := undrained([]redisx.Checkpoint{test.checkpoint}, masters, 2)
		if errors.Is(err, switchover.ErrMoved) != test.moved || !test.moved && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (left == "") != (test.left == "") || !strings.Contains(left, test.left) {
			t.Errorf("%s: %q, want %q", name, left, test.left)
		}
	}
}
