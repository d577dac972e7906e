package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fullSyncs sums up full copies over all replicators.
func (s *scene) fullSyncs(t *testing.T) int64 {
	t.Helper()
	var n int64
	for _, status := range s.statuses(t) {
		n += status.FullSync.Count
	}
	return n
}

// sourceFailover makes a follower the master of its shard while the operator
// does not move labels. Discovery must not believe the labels, the copy must
// go on without a second full copy.
func sourceFailover(t *testing.T, s *scene) {
	cluster, err := s.world.Cluster(s.pair.Source.Site)
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.PauseLabels(t.Context(), s.pair.Source, true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.PauseLabels(context.WithoutCancel(t.Context()), s.pair.Source, false); err != nil {
			t.Error(err)
		}
	}()
	before := s.fullSyncs(t)
	leader, follower := s.pair.Source.Instance+"-leader-1", s.pair.Source.Instance+"-follower-1"
	if s.isMaster(t, follower) {
		leader, follower = follower, leader
	}
	// An election can fail for want of a vote, and the nodes give it up after
	// 5 s (CLUSTER_MF_TIMEOUT in cluster.h): ask again then.
	var asked time.Time
	s.eventually(t, 30*time.Second, follower+" is a master", func() bool {
		if s.isMaster(t, follower) {
			return !s.isMaster(t, leader)
		}
		if time.Since(asked) > 6*time.Second {
			asked = time.Now()
			if _, err := s.source.Do(t.Context(), follower, "CLUSTER", "FAILOVER"); err != nil {
				t.Fatal(err)
			}
		}
		return false
	})
	pod, err := cluster.Typed.CoreV1().Pods(s.pair.Source.Namespace).Get(t.Context(), follower, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if role := pod.Labels["redis-role"]; role != "slave" {
		t.Errorf("the label of %s should be stale, it says %q", follower, role)
	}
	r := s.plugin(t, 0, "discover", "--context", s.pair.Source.Site, "-n", s.pair.Source.Namespace)
	contains(t, r.Stdout, follower)
	contains(t, strings.ToLower(r.Stdout), "stale")
	s.inSync(t, time.Minute)
	equalNow(t, s)
	if after := s.fullSyncs(t); after != before {
		t.Errorf("%d full copies before the failover, %d after it", before, after)
	}
}

func (s *scene) isMaster(t *testing.T, pod string) bool {
	t.Helper()
	masters, err := s.source.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range masters {
		if m.Pod == pod {
			return true
		}
	}
	return false
}

// targetFailover lets Sentinel make another pod the master of the target.
func targetFailover(t *testing.T, s *scene) {
	masters, err := s.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := masters[0].Pod
	cluster, err := s.world.Cluster(s.pair.Target.Site)
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Typed.CoreV1().Pods(s.pair.Target.Namespace).Delete(t.Context(), old, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, time.Minute, "a new master on the target", func() bool {
		masters, err := s.target.Masters(t.Context())
		return err == nil && len(masters) == 1 && masters[0].Pod != old
	})
	s.inSync(t, 2*time.Minute)
	bounded, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := cluster.WaitReady(bounded, s.pair.Target); err != nil {
		t.Fatal(err)
	}
	equalNow(t, s)
}

// replicatorRestart kills a replicator pod: the new one goes on where the
// target's checkpoint says, without a full copy.
func replicatorRestart(t *testing.T, s *scene) {
	deployments, err := s.world.Replicators(t.Context(), s.pair)
	if err != nil {
		t.Fatal(err)
	}
	old, err := s.world.ReplicatorPod(t.Context(), s.pair, deployments[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.world.KubectlRun(t.Context(), s.pair.Target.Site, "-n", s.pair.Target.Namespace,
		"delete", "pod", old, "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, time.Minute, "a new replicator pod answers", func() bool {
		pod, err := s.world.ReplicatorPod(t.Context(), s.pair, deployments[0])
		if err != nil || pod == old {
			return false
		}
		_, err = s.world.Statuses(t.Context(), s.pair)
		return err == nil
	})
	s.inSync(t, time.Minute)
	status := s.statuses(t)[0]
	if status.FullSync.Count != 0 || status.FullSync.Partial != 1 {
		t.Errorf("the new process made %d full copies and %d partial resyncs, expected 0 and 1", status.FullSync.Count, status.FullSync.Partial)
	}
	equalNow(t, s)
}

// networkCut parts the sites: the replicators must say that they lag, and go
// on without a full copy when the network is back.
func networkCut(t *testing.T, s *scene) {
	before := s.fullSyncs(t)
	cut := []string{s.pair.Source.Site, s.pair.Target.Site}
	if err := s.world.Cut(t.Context(), cut...); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := s.world.Restore(context.WithoutCancel(t.Context()), cut...); err != nil {
				t.Error(err)
			}
		}
	}
	defer restore()
	s.eventually(t, 90*time.Second, "every replicator notices the cut", func() bool {
		for _, status := range s.statuses(t) {
			if status.InSync {
				return false
			}
		}
		return true
	})
	r := s.plugin(t, 0, s.pair.Later("status")...)
	t.Log(r.Stdout)
	restore()
	s.inSync(t, 3*time.Minute)
	equalNow(t, s)
	if after := s.fullSyncs(t); after != before {
		t.Errorf("%d full copies before the cut, %d after it", before, after)
	}
}

func (s *scene) eventually(t *testing.T, bound time.Duration, what string, check func() bool) {
	t.Helper()
	start := time.Now()
	for !check() {
		if time.Since(start) > bound {
			t.Fatalf("not within %s: %s", bound, what)
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Logf("%s after %.1f s", what, time.Since(start).Seconds())
}

// deadlineWhileAway lets the deadlines of keys pass on the target while the
// source has moved them: the replicators are not there to say so in time.
func deadlineWhileAway(t *testing.T, s *scene) {
	masters, err := s.source.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// One key a slot range would do; a few of each cover every shard.
	on := func(do func(pod, key string) error) {
		t.Helper()
		for _, m := range masters {
			for i := range 5 {
				key := fmt.Sprintf("deadline:{%s}:%d", tagIn(m.Slots), i)
				if err := do(m.Pod, key); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	on(func(pod, key string) error {
		_, err := s.source.Do(t.Context(), pod, "SET", key, "kept", "PX", "20000")
		return err
	})
	s.inSync(t, 10*time.Second)
	s.scaleReplicators(t, 0)
	on(func(pod, key string) error {
		command := []any{"GETEX", key, "EX", "3600"}
		if key[len(key)-1]%2 == 0 {
			command = []any{"PERSIST", key}
		}
		_, err := s.source.Do(t.Context(), pod, command...)
		return err
	})
	targets, err := s.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.eventually(t, 40*time.Second, "the deadlines passed on the target", func() bool {
		gone := true
		on(func(_, key string) error {
			n, err := s.target.Do(t.Context(), targets[0].Pod, "EXISTS", key)
			gone = gone && n == int64(0)
			return err
		})
		return gone
	})
	s.scaleReplicators(t, 1)
	s.inSync(t, time.Minute)
	on(func(_, key string) error {
		value, err := s.target.Do(t.Context(), targets[0].Pod, "GET", key)
		if err != nil || value != "kept" {
			t.Errorf("key %s is lost on the target: %v %v", key, value, err)
		}
		return nil
	})
	equalNow(t, s)
}

// tagIn finds a hash tag whose slot is in one of the ranges.
func tagIn(ranges [][2]int) string {
	for i := 0; ; i++ {
		tag := fmt.Sprint("t", i)
		for _, r := range ranges {
			if slot := topology.KeySlot(tag); slot >= r[0] && slot <= r[1] {
				return tag
			}
		}
	}
}

// scaleReplicators pauses (0) or resumes (1) all replicators, as a user would
// with kubectl, and waits until their pods are gone or answer.
func (s *scene) scaleReplicators(t *testing.T, n int) {
	t.Helper()
	place := s.pair.Target
	selector := "redis-sync.io/pair=" + s.pair.Name
	if _, err := s.world.KubectlRun(t.Context(), place.Site, "-n", place.Namespace, "scale", "deployment", "-l", selector, fmt.Sprint("--replicas=", n)); err != nil {
		t.Fatal(err)
	}
	c := s.cluster(t, place)
	s.eventually(t, time.Minute, fmt.Sprintf("%d pods a replicator", n), func() bool {
		pods, err := c.Typed.CoreV1().Pods(place.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != n*shards {
			return false
		}
		if n > 0 {
			_, err = s.world.Statuses(t.Context(), s.pair)
		}
		return err == nil
	})
}

// sourceRestart restarts every pod of the source at once: they come back with
// other addresses and, being masters from a file, other replication ids.
func sourceRestart(t *testing.T, s *scene) {
	if _, err := s.writers.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.writers = nil // until they write again
	s.inSync(t, time.Minute)
	pods, err := s.source.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", s.pair.Source.Namespace, "delete", "pod", "--wait=false"}
	for _, pod := range pods {
		args = append(args, pod.Name)
	}
	if _, err := s.world.KubectlRun(t.Context(), s.pair.Source.Site, args...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second) // until the operator has seen the outage
	bounded, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if err := s.cluster(t, s.pair.Source).WaitReady(bounded, s.pair.Source); err != nil {
		t.Fatal(err)
	}
	if s.writers, err = s.runner.Write(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
	s.inSync(t, 3*time.Minute)
	equalNow(t, s)
}
