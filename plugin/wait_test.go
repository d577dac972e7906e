package plugin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

func TestWait(t *testing.T) {
	s := newScene(t)
	wait := func(more ...string) result {
		return run(t, append([]string{"wait", "dr1", "--context", "site-b"}, more...)...)
	}
	wait("--timeout=0").want(t, fault.CodeNotFound, "no pair dr1")
	wait("--for=delete", "--timeout=0").want(t, 0, "pair dr1 is gone")
	for condition, text := range map[string]string{
		"insync": "is nothing to wait for: expected in-sync", "in-sync=1": "nothing to wait for", "primary=": "nothing to wait for",
		"phase=Nonsense": "expected one of Planned, Syncing", "phase=Lagging": "no phase", // never in a record
	} {
		wait("--for="+condition).want(t, fault.CodeError, text)
	}
	wait("--timeout=-1s").want(t, fault.CodeError, "less than 0")

	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	wait().want(t, 0, "pair dr1: in-sync, after", "phase InSync, live InSync, epoch 1, primary redis-a")
	wait("--for=complete", "--timeout=0").want(t, 0)
	wait("--for=phase=insync", "--timeout=0").want(t, 0, "phase=InSync")
	wait("--for=primary=redis-a", "--timeout=0").want(t, 0)
	wait("--for=primary=redis-b", "--timeout=0").want(t, fault.CodeTimeout, "not primary=redis-b after 0s: the primary is site redis-a")
	wait("--for=primary=redis-x", "--timeout=0").want(t, fault.CodeError, "no site \"redis-x\": its sites are redis-a and redis-b")
	wait("--for=delete", "--timeout=0").want(t, fault.CodeTimeout, "the record exists, in phase InSync")

	s.say(t, 1, wire.Status{Phase: wire.PhaseFullSync, FullSync: wire.FullSyncStatus{Keys: 3, TotalKeys: 10}})
	wait("--timeout=0").want(t, fault.CodeTimeout, "waiting: shard 1: FullSync: 3 of about 10 keys", "not in-sync after 0s: shard 1: FullSync")
	wait("--for=complete", "--timeout=0").want(t, fault.CodeTimeout, "shard 1: FullSync")
	late := wait("--timeout=0", "-o", "json").want(t, fault.CodeTimeout)
	var outcome execute.WaitResult
	if err := json.Unmarshal([]byte(late.out), &outcome); err != nil {
		t.Fatal(err)
	}
	if outcome.Met || outcome.For != "in-sync" || outcome.Live != pair.PhaseSyncing || outcome.Primary != "redis-a" || outcome.Waiting == "" {
		t.Errorf("the wait ended with %+v", outcome)
	}

	// It goes on until the condition is met.
	said, ended := s.waits(t)
	s.say(t, 1, wire.Status{Phase: wire.PhaseStreaming, InSync: true, Complete: true})
	(<-ended).want(t, 0, "waiting: shard 1: FullSync", "live InSync")
	if strings.Count(said.String(), "waiting:") == 0 {
		t.Error("it did not say what it waited for")
	}

	_, ended = s.waits(t, "--for=live=Paused")
	run(t, "pause", "dr1", "--context", "site-b").want(t, 0)
	(<-ended).want(t, 0, "live Paused")
	wait("--timeout=0").want(t, fault.CodeTimeout, "the pair is paused")
	run(t, "start", "dr1", "--context", "site-b").want(t, 0)

	// A site that does not answer is waited for; an interruption ends the wait.
	dead := kubeconfig(t, map[string]string{"site-b": "http://127.0.0.1:1"})
	silent := []string{"--context", "site-a", "--site-kubeconfig", "redis-b=" + dead}
	run(t, append([]string{"wait", "dr1", "--timeout=0"}, silent...)...).want(t, fault.CodeTimeout, "site redis-b does not answer")
	run(t, append([]string{"wait", "dr1", "--timeout=0", "--for=primary=redis-a"}, silent...)...).want(t, 0)
	_, ended = s.waits(t, silent...)
	interrupt(t)
	(<-ended).want(t, fault.CodeInterrupted, "stopped waiting")

	s.say(t, 2, wire.Status{Phase: wire.PhaseFailed, Error: "type 99 is unknown"})
	wait().want(t, fault.CodeError, "dr1-to-redis-b-2", "type 99 is unknown")
	wait("--for=phase=InSync", "--timeout=0").want(t, 0) // of the last command
	s.say(t, 2, wire.Status{Phase: wire.PhaseStreaming, InSync: true, Complete: true})

	_, ended = s.waits(t, "--for=delete")
	run(t, "delete", "dr1", "--context", "site-b", "--yes").want(t, 0)
	(<-ended).want(t, 0, "pair dr1 is gone")
}

// waits begins a wait and comes back when it has said what it waits for.
func (s *scene) waits(t *testing.T, more ...string) (*notes, <-chan result) {
	t.Helper()
	said := &notes{}
	ended := begin(t, said, append([]string{"wait", "dr1", "--context", "site-b", "--timeout=10m"}, more...)...)
	testredis.Eventually(t, time.Minute, "the wait", func() bool { return strings.Contains(said.String(), "waiting: ") })
	return said, ended
}

// TestPauseInterrupted: who does not wait for the end of the pods was interrupted,
// and no time was over.
func TestPauseInterrupted(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	stays := s.b.Object("/apis/apps/v1/namespaces/redis/deployments/dr1-to-redis-b-0").GetLabels()
	s.b.Add(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stays", Namespace: "redis", Labels: stays}})
	out := &notes{}
	over := begin(t, out, "pause", "dr1", "--context", "site-b")
	testredis.Eventually(t, time.Minute, "the wait", func() bool { return strings.Contains(out.String(), "ok stop the replicators") })
	interrupt(t)
	(<-over).want(t, fault.CodeInterrupted, "waiting for the replicators to end", "the Deployments are scaled to 0")
	run(t, "status", "dr1", "--context", "site-b").want(t, 0, "Paused")
}
