package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verifyFinds compares both sides with the verb: under writes, after a change
// of one field at the target, and at rest.
func verifyFinds(t *testing.T, s *scene) {
	const key = "e2e:verified"
	s.onSource(t, "HSET", key, "a", "1", "b", "2")
	s.onTarget(t, func() bool { return s.doOnTarget(t, "HGET", key, "b") == "2" })

	s.verify(t, "--mode", "sample", "--sample", "500")
	// A protected standby takes no writes of applications; its administrator
	// can still make it.
	s.doOnTarget(t, "ACL", "SETUSER", "default", "+hset")
	s.doOnTarget(t, "HSET", key, "b", "other")
	r := s.plugin(t, 5, s.pair.Later("verify", "-o", "json")...)
	var result wire.VerifyResult
	if err := json.Unmarshal([]byte(r.Stdout), &result); err != nil {
		t.Fatalf("verify -o json: %v", err)
	}
	named := false
	for _, sample := range result.Samples {
		named = named || sample.Kind == wire.VerifyDifferent && sample.Key == `"`+key+`"` && sample.Type == "hash"
	}
	if result.Different != 1 || result.Missing+result.Extra+result.TTLDiffers != 0 || !named || !result.Positions {
		t.Errorf("one field was changed at the target; verify found %d different, %d missing, %d extra, %d of another TTL, positions %v (%s), samples %+v",
			result.Different, result.Missing, result.Extra, result.TTLDiffers, result.Positions, result.PositionsWhy, result.Samples)
	}
	s.doOnTarget(t, "HSET", key, "b", "2")
	s.doOnTarget(t, "ACL", "SETUSER", "default", "-hset")

	if _, err := s.writers.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.inSync(t, 2*time.Minute)
	contains(t, s.verify(t).Stdout, "both sides hold the same")
	var err error
	if s.writers, err = s.runner.Write(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
	s.noJobs(t)
}

func (s *scene) verify(t *testing.T, more ...string) harness.Result {
	t.Helper()
	return s.plugin(t, 0, s.pair.Later("verify", more...)...)
}

// noJobs: verify leaves nothing behind.
func (s *scene) noJobs(t *testing.T) {
	t.Helper()
	client := s.cluster(t, s.pair.Target).Typed
	selector := metav1.ListOptions{LabelSelector: "redis-sync.io/verify"}
	jobs, err := client.BatchV1().Jobs(s.pair.Target.Namespace).List(t.Context(), selector)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := client.CoreV1().Pods(s.pair.Target.Namespace).List(t.Context(), selector)
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs.Items)+len(pods.Items) > 0 {
		t.Errorf("verify left %d Jobs and %d pods behind", len(jobs.Items), len(pods.Items))
	}
}

// onSource runs a command on the master that takes it.
func (s *scene) onSource(t *testing.T, args ...any) {
	t.Helper()
	masters, err := s.source.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range masters {
		if _, err = s.source.Do(t.Context(), m.Pod, args...); err == nil {
			return
		}
	}
	t.Fatalf("no master of the source takes %v: %v", args[0], err)
}

// doOnTarget runs a command on the target's master.
func (s *scene) doOnTarget(t *testing.T, args ...any) string {
	t.Helper()
	masters, err := s.target.Masters(t.Context())
	if err != nil || len(masters) == 0 {
		t.Fatalf("no master of the target: %v", err)
	}
	reply, err := s.target.Do(t.Context(), masters[0].Pod, args...)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(reply)
}

// onTarget waits for something to be so there.
func (s *scene) onTarget(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(300 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the target did not get there within a minute")
		}
	}
}
