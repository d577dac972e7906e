package plugin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// madeAnew makes a StatefulSet another one of the same name.
func madeAnew(set string) func(*unstructured.Unstructured) {
	return func(u *unstructured.Unstructured) {
		u.SetUID(types.UID(set + " again"))
		u.SetCreationTimestamp(metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	}
}

// TestReplacedPrimary: the primary's StatefulSets are others, and none of its
// nodes is known. While its masters go on with the history that the standby
// follows it is the same data. With another history only who gives it up goes
// on, and then the old primary takes no more writes.
func TestReplacedPrimary(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	for _, set := range []string{"redis-a-leader", "redis-a-follower"} {
		s.a.Edit(t, "/apis/apps/v1/namespaces/redis/statefulsets/"+set, madeAnew(set))
	}
	s.editRecord(t, func(r *pair.Record) {
		state := r.Body.Sites["redis-a"]
		state.NodeIDs = []string{strings.Repeat("0", 40)}
		r.Body.Sites["redis-a"] = state
	})
	status := func() result { return run(t, "status", "dr1", "--context", "site-b") }
	anew := "site redis-a: RedisCluster redis/redis-a was made anew since the last apply, at 2026-01-02T03:04:05Z: StatefulSet redis-a-follower, redis-a-leader is another one"
	r := status().want(t, 0, "warning  "+anew+". Its data are the same: it goes on with the history that site redis-b is a copy of",
		"kubectl redis-sync apply dr1 notes the new identity", "Possible now: plan, apply, status, verify, pause, failover, delete")
	if strings.Contains(r.out, "--accept-data-loss") {
		t.Errorf("nothing is lost:\n%s", r.out)
	}
	run(t, "plan", "dr1", "--context", "site-b").want(t, 0, "warning  "+anew, "site redis-b becomes a copy of what is there now")
	failover := []string{"failover", "dr1", "--context", "site-b", "--verify=none", "--yes"}
	run(t, append(failover, "--dry-run")...).want(t, 0, "close site redis-a", "wait until site redis-b has applied everything", "wait until site redis-a is in sync")

	c, err := testredis.Dial(s.target.Pods[1].Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, command := range [][]string{
		{"AUTH", wire.SyncUser, s.syncPassword(t)},
		{"HSET", wire.CheckpointKey("dr1", 1), wire.CkptReplID, strings.Repeat("0", 40)},
	} {
		if _, err := c.Do(command...); err != nil {
			t.Fatalf("%s: %v", command[0], err)
		}
	}
	status().want(t, 0, "error    "+anew+". It may hold other data: it does not go on with the history that site redis-b is a copy of",
		"kubectl redis-sync failover dr1 --accept-data-loss makes site redis-b the primary", "makes site redis-b a copy of it", "Possible now: plan, apply, status, verify, pause, failover, delete")
	run(t, failover...).want(t, fault.CodeRefused, "the primary, site redis-a, is not the instance that the record knows", "--accept-data-loss makes site redis-b the primary")
	s.asBefore(t)
	run(t, append(failover, "--accept-data-loss")...).want(t, 0, "1. close site redis-a", "site redis-a answers: it is closed first", "primary redis-b", "phase FailedOver, epoch 2")
	for i, master := range s.source.Masters() {
		if answer := master.Do(t, "ACL", "DRYRUN", "default", "FLUSHALL"); answer == "OK" {
			t.Errorf("master %d of the old primary takes writes", i)
		}
		if reply := fmt.Sprint(master.Do(t, "CONFIG", "GET", "min-replicas-to-write")); reply != "[min-replicas-to-write 0]" {
			t.Errorf("master %d of the old primary: %s", i, reply)
		}
	}
	s.target.Pods[1].Do(t, "SET", "of an application", "1")
}

// TestReplacedStandby: the standby's StatefulSet is another one, around the copy
// or without it. It is not promoted before an apply has noted it.
func TestReplacedStandby(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	sets := "/apis/apps/v1/namespaces/redis/statefulsets/"
	s.b.Edit(t, sets+"rfr-redis-b", madeAnew("rfr-redis-b"))
	at := []string{"dr1", "--context", "site-b"}
	call := func(verb string, more ...string) result {
		return run(t, append(append([]string{verb}, at...), more...)...)
	}
	anew := "site redis-b: RedisFailover redis/redis-b was made anew since the last apply, at 2026-01-02T03:04:05Z: StatefulSet rfr-redis-b is another one"
	notes := "kubectl redis-sync apply dr1 notes the new identity"
	call("status").want(t, 0, "error    "+anew+". It has the checkpoints of a complete copy, of epoch 1", notes, "Possible now: plan, apply, status, verify, pause, delete")
	call("failover", "--yes").want(t, fault.CodeRefused, "site redis-b is not the instance that the record knows")
	s.asBefore(t)

	c, err := testredis.Dial(s.target.Pods[1].Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, command := range [][]string{{"AUTH", wire.SyncUser, s.syncPassword(t)}, {"DEL", wire.CheckpointKey("dr1", 1), wire.FenceKey("dr1")}} {
		if _, err := c.Do(command...); err != nil {
			t.Fatalf("%s: %v", command[0], err)
		}
	}
	call("status").want(t, 0, "error    "+anew+". It is no complete copy any more: shard 1 has no checkpoint", notes+", and copies to it again")
	call("plan").want(t, 0, "warning  "+anew, "apply notes the new identity")
	call("apply", "--yes").want(t, 0)
	if r := call("status").want(t, 0); strings.Contains(r.out, "anew") {
		t.Errorf("apply did not note it:\n%s", r.out)
	}
	if reply := fmt.Sprint(s.target.Pods[1].Do(t, "GET", wire.FenceKey("dr1"))); reply != "1" {
		t.Errorf("the fence is %s", reply)
	}
}
