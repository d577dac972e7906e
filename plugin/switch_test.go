package plugin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// editRecord changes both copies of the record, as verbs do.
func (s *scene) editRecord(t *testing.T, change func(*pair.Record)) {
	t.Helper()
	for _, server := range []*testkube.Server{s.a, s.b} {
		server.Edit(t, recordPath, func(u *unstructured.Unstructured) {
			data, _, err := unstructured.NestedStringMap(u.Object, "data")
			if err != nil {
				t.Fatal(err)
			}
			record, err := pair.RecordFromData(data)
			if err != nil {
				t.Fatal(err)
			}
			change(record)
			if data, err = record.Data(); err == nil {
				err = unstructured.SetNestedStringMap(u.Object, data, "data")
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func outcomeOf(t *testing.T, r result) execute.SwitchResult {
	t.Helper()
	var outcome execute.SwitchResult
	if err := json.Unmarshal([]byte(r.out), &outcome); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	return outcome
}

// TestDryRun: it says how the pair is, not how it would be, and its steps are
// those that are done then.
func TestDryRun(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	failover := []string{"failover", "dr1", "--context", "site-b", "--no-reverse", "--verify=none", "-o", "json"}
	dry := outcomeOf(t, run(t, append(failover, "--dry-run")...).want(t, 0))
	if dry.Phase != pair.PhaseInSync || dry.Epoch != 1 || dry.Primary != "redis-a" || dry.Standby != "redis-b" || !dry.DryRun || len(dry.Left) != 0 {
		t.Errorf("the dry run says %+v", dry)
	}
	s.asBefore(t)
	done := outcomeOf(t, run(t, append(failover, "--yes")...).want(t, 0))
	if fmt.Sprint(done.Steps) != fmt.Sprint(dry.Steps) || len(done.Steps) < 8 {
		t.Errorf("steps:\n%v\nthe dry run said:\n%v", done.Steps, dry.Steps)
	}
	if done.Phase != pair.PhaseFailedOver || done.Epoch != 2 || done.Primary != "redis-b" {
		t.Errorf("failover reached %+v", done)
	}
}

// TestDryRunOfAnOpenEnd: a switch that cannot come to its end while the old
// primary is away has steps all the same.
func TestDryRunOfAnOpenEnd(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	s.editRecord(t, func(r *pair.Record) {
		r.Body.Switch = &pair.Switch{
			ID: "op", Verb: pair.VerbFailover, From: "redis-a", To: "redis-b", Epoch: 2, Base: 1, Before: r.Phase,
			Window: json.RawMessage(`{}`), Shards: r.Body.Shards,
		}
		r.Body.Shards = []pair.ShardState{{Slots: topology.AllSlots(), Pods: []string{"rfr-redis-b-1"}}}
		r.Epoch, r.Primary, r.Phase = 2, "redis-b", pair.PhaseFailingOver
	})
	dead := kubeconfig(t, map[string]string{"elsewhere": "http://127.0.0.1:1"})
	resume := []string{"resume", "dr1", "--context", "site-b", "--site-kubeconfig", "redis-a=" + dead, "--site-context", "redis-a=elsewhere"}
	open := "site redis-b is the primary, but site redis-a does not answer and is not protected as the standby"
	dry := run(t, append(resume, "--dry-run")...).want(t, 0, "warning: "+open, "then: recover", " 1. raise the fence of site redis-b to epoch 2", "open site redis-b for writes")
	over := run(t, append(resume, "--yes", "-o", "json")...).want(t, fault.CodePartial, open)
	var steps strings.Builder
	for i, step := range outcomeOf(t, over).Steps {
		fmt.Fprintf(&steps, "%2d. %s\n", i+1, step)
	}
	if steps.String() != dry.out {
		t.Errorf("steps:\n%s\nthe dry run said:\n%s", steps.String(), dry.out)
	}
}

// TestRefusedClosing: a safety check that stops a switch at its first step
// leaves none behind, so that "nothing was done" is true.
func TestRefusedClosing(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	const resource = "/apis/redis.redis.opstreelabs.in/v1beta2/namespaces/redis/redisclusters/redis-a"
	s.a.Edit(t, resource, func(u *unstructured.Unstructured) {
		if err := unstructured.SetNestedStringSlice(u.Object, []string{"min-replicas-to-write 1"}, "spec", "redisLeader", "redisConfig", "dynamicConfig"); err != nil {
			t.Fatal(err)
		}
	})
	failover := []string{"failover", "dr1", "--context", "site-b", "--no-reverse", "--verify=none", "--yes"}
	run(t, failover...).want(t, fault.CodeRefused, `sets "min-replicas-to-write 1"`, "taken back: site redis-a is the primary, as before", "take it out of the custom resource")
	s.asBefore(t)
	// One that somebody else began, and that is gone on with, is taken back too:
	// but then something was done.
	s.editRecord(t, func(r *pair.Record) {
		r.Body.Switch = &pair.Switch{ID: "op", Verb: pair.VerbFailover, From: "redis-a", To: "redis-b", Epoch: 2, Base: 1, Before: r.Phase}
		r.Phase = pair.PhaseFailingOver
	})
	run(t, "resume", "dr1", "--context", "site-b", "--verify=none", "--yes").want(t, fault.CodeError, `sets "min-replicas-to-write 1"`, "taken back", "take it out of the custom resource")
	s.asBefore(t)
}
