package status

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestCausesOfFullCopies: metrics count full copies by cause; a status that was
// read does not change with later ones.
func TestCausesOfFullCopies(t *testing.T) {
	tracker := New(wire.Status{Pair: "p", Site: "b", Shard: 2})
	count := func(cause wire.FullSyncCause) {
		tracker.Update(func(s *wire.Status) {
			if s.FullSync.Causes == nil {
				s.FullSync.Causes = map[wire.FullSyncCause]int64{}
			}
			s.FullSync.Causes[cause]++
		})
	}
	count(wire.CauseFirst)
	before := tracker.Get()
	count(wire.CauseNotGranted)
	count(wire.CauseNotGranted)
	if len(before.FullSync.Causes) != 1 {
		t.Errorf("the status of before has %v", before.FullSync.Causes)
	}
	server := httptest.NewServer(tracker.Handler())
	defer server.Close()
	response, err := http.Get(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for cause, n := range map[wire.FullSyncCause]string{wire.CauseFirst: "1", wire.CauseNotGranted: "2", wire.CauseSlotsMoved: "0"} {
		line := `redis_sync_full_sync_causes_total{cause="` + string(cause) + `",pair="p",shard="2",site="b"} ` + n + "\n"
		if !strings.Contains(string(body), line) {
			t.Errorf("the metrics have no line %q", line)
		}
	}
}
