package execute

import (
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// TestLastHeard: of several shards the bytes add up, and the longest time
// counts. What nobody noted is not known, which is no lag of zero.
func TestLastHeard(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ms := func(before time.Duration) int64 { return at.Add(-before).UnixMilli() }
	for name, c := range map[string]struct {
		checkpoints []redisx.Checkpoint
		bytes       int64
		behind      time.Duration
		since       string
	}{
		"nothing is lacking": {
			[]redisx.Checkpoint{{Offset: 7, SourceOffset: 7, SourceTimeMS: ms(0)}, {Offset: 9, SourceOffset: 7, SourceTimeMS: ms(3 * time.Second)}},
			0, 0, "at 2026-01-02T03:04:02Z (13 s ago)",
		},
		"two are behind": {
			[]redisx.Checkpoint{
				{Offset: 5, SourceOffset: 7, SourceTimeMS: ms(0), UpToMS: ms(700 * time.Millisecond)},
				{Offset: 1, SourceOffset: 7, SourceTimeMS: ms(time.Second), UpToMS: ms(3 * time.Second)},
			},
			8, 2 * time.Second, "at 2026-01-02T03:04:04Z (11 s ago)",
		},
		"one does not say": {
			[]redisx.Checkpoint{
				{Offset: 1, SourceOffset: 7, SourceTimeMS: ms(0)},
				{Offset: 5, SourceOffset: 7, SourceTimeMS: ms(0), UpToMS: ms(time.Second)},
			},
			8, -1, "at 2026-01-02T03:04:05Z (10 s ago)",
		},
		"one was never heard of": {[]redisx.Checkpoint{{Offset: 7}, {Offset: 7, SourceOffset: 7, SourceTimeMS: ms(0)}}, 0, 0, ""},
	} {
		link := switchover.Link{}
		lastHeard(&link, c.checkpoints, at.Add(10*time.Second))
		if link.LagBytes != c.bytes || link.Behind != c.behind || link.Since != c.since {
			t.Errorf("%s: %d bytes, %s behind, %q", name, link.LagBytes, link.Behind, link.Since)
		}
	}
}
