package plugin

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// copied makes the checkpoints that replicators leave: every shard is copied,
// and applied further than its master will get in a test.
func (s *scene) copied(t *testing.T) {
	t.Helper()
	c, err := testredis.Dial(s.target.Pods[1].Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	commands := [][]string{{"AUTH", wire.SyncUser, s.syncPassword(t)}}
	for shard, master := range s.source.Masters() {
		replID := ""
		for line := range strings.Lines(fmt.Sprint(master.Do(t, "INFO", "replication"))) {
			if id, ok := strings.CutPrefix(strings.TrimSpace(line), "master_replid:"); ok {
				replID = id
			}
		}
		commands = append(commands, []string{
			"HSET", wire.CheckpointKey("dr1", shard), wire.CkptEpoch, "1", wire.CkptReplID, replID,
			wire.CkptOffset, "1000000000", wire.CkptDB, "0", wire.CkptState, wire.CkptStateStream,
		})
	}
	for _, command := range commands {
		if _, err := c.Do(command...); err != nil {
			t.Fatalf("%s: %v", command[0], err)
		}
	}
}

// asBefore fails unless no data pod of site a is closed for writes and the
// record says that nothing is under way.
func (s *scene) asBefore(t *testing.T) {
	t.Helper()
	for _, server := range append(s.source.Masters(), s.source.Replicas(0)...) {
		reply := server.Do(t, "CONFIG", "GET", "min-replicas-to-write").([]any)
		if fmt.Sprint(reply[1]) != "0" {
			t.Errorf("%s: min-replicas-to-write is %v", server.Addr, reply[1])
		}
	}
	record := s.b.Object("/api/v1/namespaces/redis/configmaps/redis-sync-dr1")
	if phase, _, err := unstructured.NestedString(record.Object, "data", "phase"); err != nil || phase != "InSync" {
		t.Errorf("the record is in phase %q, %v", phase, err)
	}
}

func (s *scene) hasJob() bool {
	return slices.ContainsFunc(s.b.Paths(), func(path string) bool { return strings.HasPrefix(path, jobsPath) })
}

// TestFailoverCompares: a planned switch compares a sample first. What keeps it
// from that, and what it finds, ends the switch before anything is closed.
func TestFailoverCompares(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	failover := func(t *testing.T, args string) result {
		t.Helper()
		return run(t, append([]string{"failover", "dr1", "--context", "site-b", "--no-reverse"}, strings.Fields(args)...)...)
	}
	for args, step := range map[string]string{
		"":               " 1. compare a sample of both sites",
		"--verify=full":  " 1. compare every key of both sites",
		"--verify=none":  " 1. close site redis-a",
		"--verify=other": `--verify "other": expected full, sample or none`,
	} {
		code := 0
		if args == "--verify=other" {
			code = fault.CodeError
		}
		failover(t, "--dry-run "+args).want(t, code, step)
	}

	equal := wire.VerifyResult{SchemaVersion: 1, Mode: wire.VerifySample, Compared: 7, EqualKeys: 7, Rounds: 1, Positions: true}
	differ := equal
	differ.EqualKeys, differ.Missing, differ.Rounds, differ.Suspects = 6, 1, 3, 1
	differ.Samples = []wire.VerifySampleKey{{Kind: wire.VerifyMissing, Key: `"of an order"`, Type: "hash"}}
	hot := equal
	hot.EqualKeys, hot.Unsettled = 5, 2
	back := "taken back: site redis-a is the primary, as before"
	for _, c := range []struct {
		name   string
		status corev1.PodStatus
		log    string
		code   int
		texts  []string
	}{
		{
			"differences", ended, line(t, wire.VerifyLine{Result: &differ}), fault.CodeDiffers,
			[]string{"site redis-b is no copy of site redis-a: of 7 keys 1 are missing", "confirmed at equal positions", `missing    db 0 hash "of an order"`, back, "--verify=none"},
		},
		{"no result", ended, "panic: something\n", fault.CodeError, []string{"ended without a result", back}},
		{"no image", waiting, "", fault.CodeError, []string{"ImagePullBackOff", back, "--verify=none"}},
		{"too slow", ended, line(t, wire.VerifyLine{Error: "timed out in round 1", TimedOut: true}), fault.CodeTimeout, []string{"timed out in round 1", back}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := s.jobs(t, c.status, c.log)
			failover(t, "--yes --timeout 50s").want(t, c.code, c.texts...)
			s.asBefore(t)
			if got := strings.Join(args(), " "); !strings.Contains(got, "--mode sample") || !strings.Contains(got, "--timeout 50s") {
				t.Errorf("the Job runs %q", got)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		s.jobs(t, running, "")
		interrupted := make(chan result)
		go func() { interrupted <- failover(t, "--yes") }()
		testredis.Eventually(t, time.Minute, "the Job", s.hasJob)
		interrupt(t)
		(<-interrupted).want(t, fault.CodeInterrupted, back)
		s.asBefore(t)
		if s.hasJob() {
			t.Error("the Job is still there")
		}
	})
	// Keys that keep changing do not stop it.
	t.Run("equal", func(t *testing.T) {
		args := s.jobs(t, ended, line(t, wire.VerifyLine{Result: &hot}))
		r := failover(t, "--yes --verify=full -o json").want(t, 0, "2 of 7 keys that were compared kept changing")
		var outcome execute.SwitchResult
		if err := json.Unmarshal([]byte(r.out), &outcome); err != nil {
			t.Fatal(err)
		}
		if outcome.Primary != "redis-b" || outcome.Epoch != 2 || outcome.Verify == nil || outcome.Verify.Unsettled != 2 || outcome.UnavailableSeconds <= 0 {
			t.Errorf("failover reached %+v", outcome)
		}
		if got := strings.Join(args(), " "); !strings.Contains(got, "--mode full") || !strings.Contains(got, "--timeout 30m0s --source-site redis-a") {
			t.Errorf("the Job runs %q", got)
		}
		if s.hasJob() {
			t.Error("the Job is still there")
		}
	})
}

// TestFailoverWithoutTheNamespace: somebody deleted the primary's namespace, and
// the record in it. That is a lost site like any other.
func TestFailoverWithoutTheNamespace(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	for _, path := range s.a.Paths() {
		if path == "/api/v1/namespaces/redis" || strings.Contains(path, "/namespaces/redis/") {
			s.a.Remove(t, path)
		}
	}
	at := []string{"failover", "dr1", "--context", "site-b"}
	run(t, at...).want(t, fault.CodeRefused, "namespace redis does not exist", "--accept-data-loss")
	run(t, append(at, "--accept-data-loss", "--yes")...).want(t, 0, "primary redis-b", "phase FailedOver")
	run(t, "status", "dr1", "--context", "site-b").want(t, fault.CodeError, "namespace redis does not exist", "took over at epoch 2 without it")
}

// fenced is the epoch of the fence of site b.
func (s *scene) fenced(t *testing.T) string {
	t.Helper()
	return fmt.Sprint(s.target.Pods[1].Do(t, "GET", wire.FenceKey("dr1")))
}

// TestFailoverFromADyingNamespace: somebody deletes the primary's namespace, and
// it is not gone yet. Nothing can be created there any more, not even a lock, so
// it counts as lost, and nothing is done there.
func TestFailoverFromADyingNamespace(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	s.a.Edit(t, "/api/v1/namespaces/redis", func(u *unstructured.Unstructured) { u.SetDeletionTimestamp(&metav1.Time{Time: time.Now()}) })
	for _, verb := range []string{"get", "update", "create"} {
		s.a.Deny(verb, "leases")
	}
	before := s.a.Object(recordPath)
	at := []string{"failover", "dr1", "--context", "site-b"}
	run(t, at...).want(t, fault.CodeRefused, "namespace redis is being deleted", "would be lost", "--accept-data-loss")
	run(t, append(at, "--accept-data-loss", "--yes")...).want(t, 0, "namespace redis is being deleted; ", "would be lost", "primary redis-b", "phase FailedOver")
	if fence := s.fenced(t); fence != "2" {
		t.Errorf("the fence is at %s", fence)
	}
	if after := s.a.Object(recordPath); !reflect.DeepEqual(before, after) {
		t.Errorf("the record of the dying namespace was changed: %v", after)
	}
	run(t, "status", "dr1", "--context", "site-b").want(t, fault.CodeError, "namespace redis is being deleted", "took over at epoch 2 without it")
}

// TestFailoverWithoutRights: the user may do nothing at the primary any more, or
// too little. Only who accepts the loss goes on, and is told what was not asked;
// the fence of the new primary is raised as ever.
func TestFailoverWithoutRights(t *testing.T) {
	for name, deny := range map[string][2]string{
		"nothing":  {"get", "configmaps"},
		"no lock":  {"create", "leases"},
		"no ports": {"create", "pods/portforward"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.control(t)
			run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
			s.copied(t)
			s.a.Deny(deny[0], deny[1])
			if name == "no ports" {
				s.a.Deny("get", deny[1])
			}
			at := []string{"failover", "dr1", "--context", "site-b"}
			run(t, append(at, "--yes")...).want(t, fault.CodeAuth, "site redis-a", deny[1])
			if fence := s.fenced(t); fence != "1" {
				t.Errorf("refused, and yet the fence is at %s", fence)
			}
			run(t, append(at, "--accept-data-loss", "--yes")...).want(t, 0,
				"site redis-a does not answer: it was not asked: ", deny[1], "would be lost", "primary redis-b", "phase FailedOver, epoch 2")
			if fence := s.fenced(t); fence != "2" {
				t.Errorf("the fence is at %s", fence)
			}
		})
	}
	// At the standby nothing is forgiven.
	t.Run("at the standby", func(t *testing.T) {
		s := newScene(t)
		s.control(t)
		run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
		s.copied(t)
		s.b.Deny("create", "leases")
		run(t, "failover", "dr1", "--context", "site-b", "--accept-data-loss", "--yes").want(t, fault.CodeAuth, "site redis-b", "leases")
		s.asBefore(t)
	})
}

// TestFailoverInterrupted: who interrupts a switch while nobody can write, or
// whose terminal goes away, does not leave it so.
func TestFailoverInterrupted(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	c, err := testredis.Dial(s.target.Pods[1].Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// What the standby lacks never comes.
	for _, command := range [][]string{{"AUTH", wire.SyncUser, s.syncPassword(t)}, {"HSET", wire.CheckpointKey("dr1", 1), wire.CkptPending, "1"}} {
		if _, err := c.Do(command...); err != nil {
			t.Fatalf("%s: %v", command[0], err)
		}
	}
	out := &notes{}
	over := begin(t, out, "failover", "dr1", "--context", "site-b", "--no-reverse", "--verify=none", "--timeout", "1h", "--yes")
	testredis.Eventually(t, time.Minute, "the closing", func() bool { return strings.Contains(out.String(), "ok close site redis-a") })
	interrupt(t)
	(<-over).want(t, fault.CodeInterrupted, "interrupted", "taken back: site redis-a is the primary, as before")
	s.asBefore(t)
	run(t, "status", "dr1", "--context", "site-b").want(t, 0, "record: InSync")
}
