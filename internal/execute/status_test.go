package execute

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// statusOf is the report about a pair whose standby does not answer.
func statusOf(t *testing.T, record *pair.Record) *StatusReport {
	t.Helper()
	record.Body.Spec.Sites = []pair.Site{{Name: "redis-a"}, {Name: "redis-b"}}
	s := &Session{
		Name: "dr1", Spec: record.Body.Spec, Record: record, Records: NewRecords("dr1"),
		Parties: map[string]*Party{
			"redis-a": {Site: pair.Site{Name: "redis-a"}, Err: errors.New("no route")},
			"redis-b": {Site: pair.Site{Name: "redis-b"}, Cluster: nil, Err: errors.New("no route")},
		},
	}
	report, err := Status(t.Context(), s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// about gives the findings about one object that contain a text.
func about(report *StatusReport, object, text string) []topology.Finding {
	return slices.DeleteFunc(slices.Clone(report.Findings), func(f topology.Finding) bool {
		return f.Object != object || !strings.Contains(f.Message, text)
	})
}

func TestStatusShoutsAboutAnInvalidatedPrimary(t *testing.T) {
	record := &pair.Record{Pair: "dr1", Primary: "redis-b", Epoch: 4, Phase: pair.PhaseFailedOver}
	record.Body.StandbyGuard = guardACL // of redis-b, which was the standby before
	record.Body.Sites = map[string]pair.SiteState{"redis-a": {Invalidated: true}, "redis-b": {}}
	found := about(statusOf(t, record), "site redis-a", "took over at epoch 4")
	if len(found) != 1 || found[0].Severity != topology.SeverityError || !strings.Contains(found[0].Remedy, "kubectl redis-sync recover dr1") {
		t.Errorf("findings about the old primary: %+v", found)
	}
	record.Body.Sites["redis-a"] = pair.SiteState{}
	if found := about(statusOf(t, record), "site redis-a", ""); len(found) != 0 {
		t.Errorf("after a planned switch: %+v", found)
	}
}

func TestLiveBetweenFailoverAndRecover(t *testing.T) {
	record := &pair.Record{Phase: pair.PhaseFailedOver}
	missing := []ReplicatorState{{Shard: 0, Problem: "does not exist"}, {Shard: 1, Exists: true}}
	left := present(missing)
	if len(left) != 1 || left[0].Shard != 1 {
		t.Errorf("left %+v", left)
	}
	if live := livePhase(record, nil); live != pair.PhaseFailedOver {
		t.Errorf("nothing copies after a failover: live %s", live)
	}
	record.Phase = pair.PhaseInSync
	if live := livePhase(record, nil); live != pair.PhasePlanned {
		t.Errorf("nothing copies: live %s", live)
	}
}

// Who watches a pair does not ask its servers each time; a switch is asked for
// at once.
func TestInspectorKeepsWhatItFound(t *testing.T) {
	record := &pair.Record{Pair: "dr1", Epoch: 4, Phase: pair.PhaseInSync}
	s := &Session{Record: record}
	i := &Inspector{Every: time.Hour}
	i.inspect(t.Context(), &StatusReport{Epoch: 4, Phase: pair.PhaseInSync}, s) // no sites: nothing to ask
	i.found = []topology.Finding{{Object: "site redis-b"}}
	again := &StatusReport{Epoch: 4, Phase: pair.PhaseInSync}
	i.inspect(t.Context(), again, s)
	if len(again.Findings) != 1 {
		t.Errorf("findings %+v", again.Findings)
	}
	record.Body.Revision++
	later := &StatusReport{Epoch: 4, Phase: pair.PhaseInSync}
	i.inspect(t.Context(), later, s)
	if len(later.Findings) != 0 {
		t.Errorf("findings of an older record: %+v", later.Findings)
	}
}
