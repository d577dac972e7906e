package e2e

import (
	"strings"
	"testing"
	"time"
)

// refusesApplications fails unless every data pod of the standby refuses a
// write of an application, and the replicators go on.
func (s *scene) refusesApplications(t *testing.T) {
	t.Helper()
	pods, err := s.target.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		for _, write := range [][]any{{"SET", "of an application", "1"}, {"FLUSHALL"}, {"EVAL", "return redis.call('set', KEYS[1], '1')", 1, "of an application"}} {
			_, err := s.target.Do(t.Context(), pod.Name, write...)
			if err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "permission") && !strings.Contains(err.Error(), "can't run this command") {
				t.Errorf("pod %s: %v of an application: %v", pod.Name, write[0], err)
			}
		}
	}
	statuses, err := s.world.Statuses(t.Context(), s.pair)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range statuses {
		if status.Target.User != "redis-sync" {
			t.Errorf("shard %d is written as user %q", status.Shard, status.Target.User)
		}
	}
}

// standbyProtected takes part in the story before and after the failover of
// the target.
func standbyProtected(t *testing.T, s *scene) {
	s.refusesApplications(t)
	s.inSync(t, time.Minute)
	equalNow(t, s)
}

// protectedAgain: the pod that was deleted came back without ACLs. The others
// held, among them the new master; plan sees the gap and apply closes it.
func protectedAgain(t *testing.T, s *scene) {
	masters, err := s.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.target.Do(t.Context(), masters[0].Pod, "SET", "of an application", "1"); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("the new master %s: SET of an application: %v", masters[0].Pod, err)
	}
	plan := s.plugin(t, 2, s.pair.Later("plan", "--detailed-exitcode")...)
	contains(t, plan.Stdout, "ACL/", "user default may write")
	s.plugin(t, 0, s.pair.Later("apply", "--yes", "--timeout", "2m")...)
	s.refusesApplications(t)
	s.plugin(t, 0, s.pair.Later("plan", "--detailed-exitcode")...)
	equalNow(t, s)
}
