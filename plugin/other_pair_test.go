package plugin

import (
	"encoding/json"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// TestAnotherPairAtThePrimary: what another pair does to the primary of this
// one is not undone by an apply, and keeps a switch from beginning.
func TestAnotherPairAtThePrimary(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	other := func(change func(r *pair.Record)) {
		t.Helper()
		object := s.a.Object(recordPath).DeepCopy()
		data, _, err := unstructured.NestedStringMap(object.Object, "data")
		if err != nil {
			t.Fatal(err)
		}
		record, err := pair.RecordFromData(data)
		if err != nil {
			t.Fatal(err)
		}
		record.Pair = "dr2"
		change(record)
		if data, err = record.Data(); err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedStringMap(object.Object, data, "data"); err != nil {
			t.Fatal(err)
		}
		object.SetName(pair.RecordName("dr2"))
		object.SetLabels(pair.SiteLabels("dr2", "redis-a"))
		s.a.Add(t, object)
	}
	failover := []string{"failover", "dr1", "--context", "site-b", "--yes"}

	other(func(r *pair.Record) {
		r.Phase = pair.PhaseFailingOver
		r.Body.Switch = &pair.Switch{ID: "1a2b", Verb: pair.VerbFailover, From: "redis-a", To: "redis-b", Epoch: 2, Window: json.RawMessage(`{}`)}
	})
	master := s.source.Masters()[0]
	master.Do(t, "CONFIG", "SET", "min-replicas-to-write", "900001")
	const underWay = "site redis-a: instance redis-a takes part in a failover of pair dr2 that has not ended"
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, fault.CodeRefused, underWay, "resume or cancel it first")
	if value := master.Do(t, "CONFIG", "GET", "min-replicas-to-write").([]any)[1]; fmt.Sprint(value) != "900001" {
		t.Errorf("the apply opened the primary: min-replicas-to-write is %v", value)
	}
	run(t, failover...).want(t, fault.CodeRefused, underWay)
	master.Do(t, "CONFIG", "SET", "min-replicas-to-write", "0")

	other(func(r *pair.Record) { r.Primary = "redis-b" })
	run(t, failover...).want(t, fault.CodeRefused, "site redis-a: instance redis-a is the standby of pair dr2 already")
	// What keeps applications from writing there is the other pair's protection.
	master.Do(t, "CONFIG", "SET", "min-replicas-to-write", "900001")
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	if value := master.Do(t, "CONFIG", "GET", "min-replicas-to-write").([]any)[1]; fmt.Sprint(value) != "900001" {
		t.Errorf("the apply opened the other pair's standby: min-replicas-to-write is %v", value)
	}
	master.Do(t, "CONFIG", "SET", "min-replicas-to-write", "0")
	s.asBefore(t)
}
