package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

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
	if _, err := s.source.Do(t.Context(), follower, "CLUSTER", "FAILOVER"); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, 30*time.Second, follower+" is a master", func() bool { return s.isMaster(t, follower) && !s.isMaster(t, leader) })
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
	t.Log(fmt.Sprintf("%s after %.1f s", what, time.Since(start).Seconds()))
}
