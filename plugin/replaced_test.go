package plugin

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

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
		s.a.Edit(t, "/apis/apps/v1/namespaces/redis/statefulsets/"+set, func(u *unstructured.Unstructured) { u.SetUID(types.UID(set + " again")) })
	}
	s.editRecord(t, func(r *pair.Record) {
		state := r.Body.Sites["redis-a"]
		state.NodeIDs = []string{strings.Repeat("0", 40)}
		r.Body.Sites["redis-a"] = state
	})
	run(t, "status", "dr1", "--context", "site-b").
		want(t, 0, "error    site redis-a: RedisCluster redis/redis-a was made anew since the last apply",
			"kubectl redis-sync failover dr1 --accept-data-loss makes site redis-b the primary", "makes site redis-b a copy of it", "Possible now: plan, apply, status, verify, pause, failover, delete")
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
