package execute

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestSilentSiteIsAskedOnce: a site whose API server swallows packets costs
// its timeout once, not with every look at the records.
func TestSilentSiteIsAskedOnce(t *testing.T) {
	tried := &atomic.Int64{}
	loader := &testkube.SilentLoader{Loader: testkube.New(t).Loader("ctx-a", "redis"), Tried: tried}
	connect := func(site, _, context, _ string) (*kube.Client, error) {
		return kube.New(loader, kube.Options{Site: site, Context: context})
	}
	s := &Session{Name: "dr1", Record: &pair.Record{}, Records: NewRecords("dr1"), Parties: map[string]*Party{}}
	ask := func(silent map[string]error) *Party {
		t.Helper()
		party, err := s.connectOne(t.Context(), connect, pair.Site{Name: "redis-a", Context: "ctx-a"}, Request{Silent: silent})
		if err != nil {
			t.Fatal(err)
		}
		if !kube.IsUnreachable(party.Err) {
			t.Fatalf("the site counts as %v", party.Err)
		}
		s.Parties["redis-a"] = party
		return party
	}
	first := ask(nil)
	before := tried.Load()
	if before == 0 {
		t.Fatal("it was not asked at all")
	}
	silent := s.Silent()
	if len(silent) != 1 || !errors.Is(ask(silent).Err, first.Err) || tried.Load() != before {
		t.Errorf("asked %d times, then %d times; silent: %v", before, tried.Load(), silent)
	}
	if ask(nil); tried.Load() == before {
		t.Error("later it is not asked again")
	}
}

func TestUnheard(t *testing.T) {
	state := ReplicatorState{Status: &wire.Status{Phase: wire.PhaseConnecting}}
	if !unheard(state) {
		t.Error("a replicator that looks for its source and knows no offset says a lag of 0")
	}
	state.Status.Source.MasterOffset = 7 // its lag grows with the silence
	if unheard(state) {
		t.Error("it heard its master before")
	}
	state.Status = &wire.Status{Phase: wire.PhaseStreaming}
	if unheard(state) {
		t.Error("it streams")
	}
}
