package execute

import (
	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// recognize takes a primary for the instance that the record knows although its
// StatefulSets are others, where its masters go on with the history that the
// standby is a copy of: they were only replaced around the same data.
func (h *switchHands) recognize(w switchover.World, checkpoints []redisx.Checkpoint) {
	view, site := w.Sites[w.Record.Primary], h.sites[w.Record.Primary]
	if view.Replaced == "" || site == nil {
		return
	}
	if continues(w.Record, site.state, checkpoints) {
		view.Replaced = ""
		w.Sites[w.Record.Primary] = view
	}
}

// continues tells whether the masters of a primary go on with the history that
// these checkpoints of the standby are positions in.
func continues(record *pair.Record, primary guard.State, checkpoints []redisx.Checkpoint) bool {
	masters, err := bySlots(record.Body.Shards, primary.Shards)
	return err == nil && sameHistory(checkpoints, masters)
}

// sameHistory tells whether every checkpoint is a position in the history of
// its shard's master. An id of a replication history is of one process, or of
// one that was its replica: that one has it as its second id, up to the offset
// at which it was promoted (replication.c: shiftReplicationId).
func sameHistory(checkpoints []redisx.Checkpoint, masters []guard.ShardMaster) bool {
	if len(checkpoints) != len(masters) {
		return false
	}
	for shard, c := range checkpoints {
		m := masters[shard]
		if c.ReplID == "" || c.ReplID != m.ReplID && (c.ReplID != m.ReplID2 || c.Offset >= m.SecondOffset) {
			return false
		}
	}
	return len(masters) > 0
}
