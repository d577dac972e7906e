package sidecar

import (
	"context"
	"fmt"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
)

// dropped adds up what the servers of the target drop by themselves.
type dropped struct {
	last map[string]apply.Dropped // by run id
	sum  wire.TargetKeysStatus
	text string // of the finding
}

// countDropped looks at the target's counters. A key that was evicted is
// missing in the copy, and nothing in the stream will bring it back.
func (r *Replicator) countDropped(ctx context.Context) error {
	now, err := r.w.Dropped(ctx)
	if err != nil {
		return err
	}
	d := &r.dropped
	if d.last == nil {
		d.last = map[string]apply.Dropped{}
	}
	for _, n := range now {
		last, known := d.last[n.RunID]
		d.last[n.RunID] = n
		if !known {
			continue
		}
		// The counters go back to 0 with CONFIG RESETSTAT.
		d.sum.Evicted += grown(last.Evicted, n.Evicted)
		d.sum.Expired += grown(last.Expired, n.Expired)
	}
	r.st.Update(func(s *wire.Status) {
		if s.TargetKeys.Evicted != d.sum.Evicted {
			setFinding(s, d.text, false)
			d.text = fmt.Sprintf("the target has evicted %d keys for want of memory since this replicator connected: they are missing in the copy; raise maxmemory there, set maxmemory-policy to noeviction, and copy again", d.sum.Evicted)
			setFinding(s, d.text, true)
		}
		s.TargetKeys = d.sum
	})
	return nil
}

func grown(from, to int64) int64 {
	if to < from {
		return to
	}
	return to - from
}
