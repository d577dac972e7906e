package plugin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// waitForReplica bounds the wait for what a master counts once a second.
const waitForReplica = time.Minute

const recordPath = "/api/v1/namespaces/redis/configmaps/redis-sync-dr1"

// TestStatusSeesDamage: what somebody changed by hand, or a dead command left,
// is shown with what to do, and that mends it.
func TestStatusSeesDamage(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, s *scene, status func() result, mended func())
	}{
		{"open standby", openStandby},
		{"closed primary", closedPrimary},
		{"records of hand", recordsOfHand},
		{"switch left in the middle", switchLeft},
		{"another instance", anotherInstance},
		{"without the servers", withoutTheServers}, // the last one: it ends them
	} {
		t.Run(c.name, func(t *testing.T) {
			status := func() result { return run(t, "status", "dr1", "--context", "site-b").want(t, 0) }
			mended := func() {
				t.Helper()
				if r := status(); strings.Contains(r.out, "Findings") {
					t.Errorf("nothing is to be wrong:\n%s", r.out)
				}
			}
			mended()
			c.do(t, s, status, mended)
		})
	}
}

// openStandby: somebody gave a user of the standby its rights
// back, or a pod came back without ACLs.
func openStandby(t *testing.T, s *scene, status func() result, mended func()) {
	const open = "standby writable: pod rfr-redis-b-%d takes writes of applications %s: user default may write"
	s.target.Pods[0].Do(t, "ACL", "SETUSER", "default", "+@all")
	status().want(t, 0, "warning  site redis-b: "+fmt.Sprintf(open, 0, "when it becomes the master"), "try: kubectl redis-sync apply dr1")
	s.target.Pods[1].Do(t, "ACL", "SETUSER", "default", "+@all")
	status().want(t, 0, "error    site redis-b: "+fmt.Sprintf(open, 1, "now"))
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	if _, err := s.target.Pods[1].TryDo("SET", "of an application", "1"); err == nil {
		t.Error("the standby takes writes after the apply")
	}
	mended()

	s.target.Pods[1].Do(t, "ACL", "SETUSER", "default", "+del")
	s.target.Pods[1].Do(t, "DEL", wire.FenceKey("dr1"))
	status().want(t, 0, "the fence is gone, the record is at epoch 1: the replicators write nothing")
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	mended()
}

// closedPrimary: a switch that came too late closed it, or a
// hand. What was ours apply ends.
func closedPrimary(t *testing.T, s *scene, status func() result, mended func()) {
	masters := s.source.Masters()
	refuses := func(m *testredis.Server) bool {
		_, err := m.TryDo("XADD", "no key of its slots", "MAXLEN", "1", "*", "f", "v")
		return err != nil && strings.Contains(err.Error(), "NOREPLICAS")
	}
	masters[0].Do(t, "CONFIG", "SET", "min-replicas-to-write", "900001")
	masters[2].Do(t, "CONFIG", "SET", "min-replicas-to-write", "900001")
	status().want(t, 0, "error    site redis-a: the primary refuses writes (NOREPLICAS): pods redis-a-leader-0, redis-a-leader-2 are still closed by a switch",
		"try: kubectl redis-sync apply dr1")
	run(t, "plan", "dr1", "--context", "site-b", "--detailed-exitcode").want(t, fault.CodeChanges, "2 to change", "Writes/redis-a-leader-0", "refuses writes since a switch")
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	for i, m := range masters {
		if value := m.Do(t, "CONFIG", "GET", "min-replicas-to-write").([]any)[1]; fmt.Sprint(value) != "0" || refuses(m) {
			t.Errorf("master %d: min-replicas-to-write is %v", i, value)
		}
	}
	mended()

	masters[1].Do(t, "CONFIG", "SET", "min-replicas-to-write", "2")
	status().want(t, 0, "error    site redis-a: pod redis-a-leader-1 refuses writes (NOREPLICAS): min-replicas-to-write is 2, and 1 replicas are there",
		"set min-replicas-to-write lower")
	masters[1].Do(t, "CONFIG", "SET", "min-replicas-to-write", "1")
	testredis.Eventually(t, waitForReplica, "the replica counts", func() bool {
		return !strings.Contains(status().out, "NOREPLICAS")
	})
	mended()
}

// recordsOfHand: a copy of the record is missing, or was edited.
func recordsOfHand(t *testing.T, s *scene, status func() result, mended func()) {
	failover := func() result { return run(t, "failover", "dr1", "--context", "site-b", "--dry-run") }
	s.a.Remove(t, recordPath)
	status().want(t, 0, "warning  record: site redis-a has no record: configmap redis/redis-sync-dr1 is missing", "apply writes both again")
	failover().want(t, fault.CodeRefused, "site redis-a has no record", "kubectl redis-sync apply dr1 writes it again")
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	mended()

	edit := func(server *testkube.Server, key, value string) {
		server.Edit(t, recordPath, func(u *unstructured.Unstructured) {
			if err := unstructured.SetNestedField(u.Object, value, "data", key); err != nil {
				t.Error(err)
			}
		})
	}
	good := s.a.Object(recordPath)
	edit(s.a, "failedStep", "of a hand")
	status().want(t, 0, "error    record: the records of the sites redis-a and redis-b differ in failedStep (", `"of a hand"`, "one was edited by hand")
	failover().want(t, fault.CodeRefused, "edited by hand", "delete the ConfigMap that is wrong")
	s.a.Add(t, good)
	mended()

	edit(s.a, "primary", "redis-b")
	run(t, "status", "dr1", "--context", "site-b").want(t, fault.CodeRefused, "the two records of pair dr1 disagree: at epoch 1")
	s.a.Add(t, good)
	edit(s.a, "epoch", "soon")
	run(t, "status", "dr1", "--context", "site-b").want(t, fault.CodeRefused, "site redis-a: configmap redis/redis-sync-dr1: key epoch", "correct that ConfigMap, or delete it")
	s.a.Remove(t, recordPath)
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	mended()
}

// switchLeft: the roles have changed in both records, and that is all.
func switchLeft(t *testing.T, s *scene, status func() result, mended func()) {
	good := map[*testkube.Server]*unstructured.Unstructured{s.a: s.a.Object(recordPath), s.b: s.b.Object(recordPath)}
	for server, object := range good {
		data, _, err := unstructured.NestedStringMap(object.Object, "data")
		if err != nil {
			t.Fatal(err)
		}
		record, err := pair.RecordFromData(data)
		if err != nil {
			t.Fatal(err)
		}
		record.Phase, record.Primary, record.Epoch = pair.PhaseFailingOver, "redis-b", 2
		record.Body.Switch = &pair.Switch{ID: "1a2b", Verb: pair.VerbFailover, From: "redis-a", To: "redis-b", Epoch: 2, Window: json.RawMessage(`{}`)}
		if data, err = record.Data(); err != nil {
			t.Fatal(err)
		}
		server.Edit(t, recordPath, func(u *unstructured.Unstructured) {
			if err := unstructured.SetNestedStringMap(u.Object, data, "data"); err != nil {
				t.Error(err)
			}
		})
	}
	status().want(t, 0, "warning  switch: a failover from site redis-a to site redis-b (operation 1a2b) is under way, or was interrupted; last at",
		"nobody can write until it goes on", "kubectl redis-sync resume dr1, or cancel")
	run(t, "plan", "dr2", "--source", testSource, "--target", testTarget).want(t, fault.CodeRefused, "takes part in a failover of pair dr1 that has not ended")
	for server, object := range good {
		server.Add(t, object)
	}
	mended()
}

// anotherInstance: one that was made anew under the same name.
func anotherInstance(t *testing.T, s *scene, status func() result, mended func()) {
	anew := func(server *testkube.Server, set string) {
		server.Edit(t, "/apis/apps/v1/namespaces/redis/statefulsets/"+set, func(u *unstructured.Unstructured) { u.SetUID(types.UID(set + " again")) })
	}
	// The pods are still the nodes that they were.
	anew(s.a, "redis-a-leader")
	anew(s.a, "redis-a-follower")
	mended()
	anew(s.b, "rfr-redis-b")
	status().want(t, 0, "error    site redis-b: RedisFailover redis/redis-b was made anew since the last apply, at 2026-01-05T08:00:00Z: StatefulSet rfr-redis-b is another one",
		"It is no complete copy any more: shard 0 has no checkpoint", "kubectl redis-sync apply dr1 notes the new identity, and copies to it again",
		"Possible now: plan, apply, status, verify, pause, delete")
	failover := []string{"failover", "dr1", "--context", "site-b", "--verify=none", "--yes"}
	run(t, failover...).want(t, fault.CodeRefused, "site redis-b is not the instance that the record knows: ", "StatefulSet rfr-redis-b is another one", "apply notes the new one")
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	mended()
}

// withoutTheServers: who may not read the passwords, and who finds
// the servers dead, gets the rest.
func withoutTheServers(t *testing.T, s *scene, status func() result, _ func()) {
	for pod := range s.a.Forward {
		s.a.Forward[pod] = "127.0.0.1:1"
	}
	status().want(t, 0, "error    site redis-a: the primary's servers were asked in vain", "InSync (record: InSync)")
	s.b.Deny("get", "secrets")
	status().want(t, 0, "info     site redis-b: its servers were not asked who may write there", "ClusterRole redis-sync-discover")
}
