package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/test/harness"
)

// verifyFinds compares both sides with the verb: under writes, after a change
// of one field at the target, and at rest.
func verifyFinds(t *testing.T, s *scene) {
	const key = "e2e:verified"
	s.onSource(t, "HSET", key, "a", "1", "b", "2")
	s.onTarget(t, func() bool { return s.doOnTarget(t, "HGET", key, "b") == "2" })

	s.verify(t, "--mode", "sample", "--sample", "500")
	s.doProtected(t, "hset", "HSET", key, "b", "other")
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
	// What is no copy is not promoted, and nothing is closed for that.
	contains(t, s.plugin(t, 5, s.pair.Later("failover", "--yes", "--max-lag", "1m", "--verify", "full")...).Stderr,
		"is no copy of site", "1 are different", `"`+key+`"`, "taken back")
	if !takesWrites(t, s.source) {
		t.Error("the primary is to go on taking writes")
	}
	s.doProtected(t, "hset", "HSET", key, "b", "2")

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
	return fmt.Sprint(s.replyOfTarget(t, args...))
}

func (s *scene) replyOfTarget(t *testing.T, args ...any) any {
	t.Helper()
	masters, err := s.target.Masters(t.Context())
	if err != nil || len(masters) == 0 {
		t.Fatalf("no master of the target: %v", err)
	}
	reply, err := s.target.Do(t.Context(), masters[0].Pod, args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// doProtected writes to a protected standby, which takes no writes of
// applications, as its administrator can: the rules of the default user are
// afterwards word for word what they were.
func (s *scene) doProtected(t *testing.T, name string, args ...any) {
	t.Helper()
	before := s.defaultUser(t)
	s.doOnTarget(t, "ACL", "SETUSER", "default", "+"+name)
	s.doOnTarget(t, args...)
	restore := []any{"ACL", "SETUSER", "default"}
	for _, rule := range strings.Fields(before) {
		if rule[0] == '+' || rule[0] == '-' { // the list begins with +@all or -@all, which forgets the rest
			restore = append(restore, rule)
		}
	}
	s.doOnTarget(t, restore...)
	if after := s.defaultUser(t); after != before {
		t.Fatal("the rules of the default user are not as they were")
	}
}

// defaultUser gives the rules of the default user as ACL LIST words them; they
// hold hashes of passwords.
func (s *scene) defaultUser(t *testing.T) string {
	t.Helper()
	for _, line := range s.replyOfTarget(t, "ACL", "LIST").([]any) {
		if rules, ok := strings.CutPrefix(fmt.Sprint(line), "user default "); ok {
			return rules
		}
	}
	t.Fatal("ACL LIST has no default user")
	return ""
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
