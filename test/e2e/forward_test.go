package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
)

const shards = 3

func objectsAsFixtures(t *testing.T, s *scene) {
	for _, p := range s.scenario.Placements {
		c, err := s.world.Cluster(p.Site)
		if err != nil {
			t.Fatal(err)
		}
		result, err := c.Compare(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d objects compared with %s", p.Site, result.Objects, p.Fixture)
		for _, d := range result.Differences {
			t.Error(d)
		}
	}
}

func discoverFinds(t *testing.T, s *scene) {
	for _, p := range s.scenario.Placements {
		r := s.plugin(t, 0, "discover", "--context", p.Site, "-n", p.Namespace)
		contains(t, r.Stdout, p.Instance, p.Kind)
		masters, err := s.instance(p.Site).Masters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range masters {
			contains(t, r.Stdout, m.Pod)
		}
	}
}

func (s *scene) instance(site string) *harness.Instance {
	if site == s.pair.Source.Site {
		return s.source
	}
	return s.target
}

func planOnly(t *testing.T, s *scene) {
	r := s.plugin(t, 0, s.pair.Args("plan")...)
	for i := range shards {
		contains(t, r.Stdout, fmt.Sprintf("%s-to-%s-%d", s.pair.Name, s.pair.Target.Instance, i))
	}
	pods, err := s.source.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		contains(t, r.Stdout, s.pair.Name+"-"+pod.Name)
	}
	s.plugin(t, 2, s.pair.Args("plan", "--detailed-exitcode")...)
	y := s.plugin(t, 0, s.pair.Args("plan", "-o", "yaml")...)
	contains(t, y.Stdout, "kind: Deployment", "kind: ConfigMap", "kind: Secret", "kind: Service", "type: NodePort")
	s.nothingCreated(t)
}

func applyUnderWrites(t *testing.T, s *scene) {
	filled, err := s.runner.Fill(t.Context(), 5000, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the source holds %d keys", filled.Total)
	if s.writers, err = s.runner.Write(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
	// A key that the source does not have: refused without a policy, removed
	// with "prune".
	masters, err := s.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.target.Do(t.Context(), masters[0].Pod, "SET", "stale", "x"); err != nil {
		t.Fatal(err)
	}
	refused := s.plugin(t, 3, s.pair.Args("apply", "--yes")...)
	contains(t, refused.Stderr, s.pair.Target.Instance, "stale-keys")
	s.nothingCreated(t)
	s.plugin(t, 0, s.pair.Args("apply", "--yes", "--stale-keys", "prune", "--stale-keys-max-share", "1", "--timeout", "5m")...)
	reply, err := s.target.Do(t.Context(), masters[0].Pod, "EXISTS", "stale")
	if err != nil {
		t.Fatal(err)
	}
	if reply != int64(0) {
		t.Error("the stale key is still on the target")
	}
}

func secondPlan(t *testing.T, s *scene) {
	s.plugin(t, 0, s.pair.Args("plan", "--detailed-exitcode", "--stale-keys", "prune", "--stale-keys-max-share", "1")...)
	s.plugin(t, 0, "plan", s.pair.Name, "--detailed-exitcode", "--context", s.pair.Target.Site, "-n", s.pair.Target.Namespace)
	s.plugin(t, 0, s.pair.Args("apply", "--yes", "--stale-keys", "prune", "--stale-keys-max-share", "1", "--timeout", "2m")...)
}

func statusShows(t *testing.T, s *scene) {
	r := s.plugin(t, 0, s.pair.Later("status")...)
	contains(t, r.Stdout, "InSync", s.pair.Source.Instance, s.pair.Target.Instance)
	j := s.plugin(t, 0, s.pair.Later("status", "-o", "json")...)
	var any map[string]any
	if err := json.Unmarshal([]byte(j.Stdout), &any); err != nil {
		t.Errorf("status -o json: %v", err)
	}
	contains(t, s.plugin(t, 0, s.pair.Later("wait", "--for", "in-sync", "--timeout", "1m")...).Stdout, "live InSync")
	s.plugin(t, 4, s.pair.Later("wait", "--for", "primary="+s.pair.Target.Instance, "--timeout", "0")...)
	if _, err := s.world.KubectlRun(t.Context(), s.pair.Target.Site, "-n", s.pair.Target.Namespace, "wait",
		"--for=condition=Available", "deploy", "-l", "redis-sync.io/pair="+s.pair.Name, "--timeout=20s"); err != nil {
		t.Error(err)
	}
	if _, err := s.world.KubectlRun(t.Context(), s.pair.Target.Site, "-n", s.pair.Target.Namespace, "wait",
		"--for=jsonpath={.data.phase}=InSync", "configmap/redis-sync-"+s.pair.Name, "--timeout=5s"); err != nil {
		t.Error(err)
	}
	for _, status := range s.statuses(t) {
		if status.Source.Role != "slave" {
			t.Errorf("shard %d reads from a %s, expected a replica", status.Shard, status.Source.Role)
		}
		if status.Epoch != 1 || status.Delivery != wire.ExactlyOnce || !status.Complete {
			t.Errorf("shard %d: epoch %d, delivery %s, complete %v", status.Shard, status.Epoch, status.Delivery, status.Complete)
		}
	}
}

func (s *scene) statuses(t *testing.T) []wire.Status {
	t.Helper()
	statuses, err := s.world.Statuses(t.Context(), s.pair)
	if err != nil {
		t.Fatal(err)
	}
	if len(statuses) != shards {
		t.Fatalf("%d replicators, expected %d", len(statuses), shards)
	}
	return statuses
}

// inSync waits until all shards are in sync.
func (s *scene) inSync(t *testing.T, bound time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	start := time.Now()
	if err := s.world.WaitApplied(ctx, s.pair, shards); err != nil {
		t.Fatal(err)
	}
	t.Logf("in sync after %.1f s", time.Since(start).Seconds())
}

// equalNow stops the writers, waits, compares, and starts the writers again.
func equalNow(t *testing.T, s *scene) {
	stats, err := s.writers.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commands acknowledged, %d refused, %d without an answer; last error %q", stats.Acknowledged, stats.Failed, stats.Unknown, stats.LastError)
	if stats.Acknowledged == 0 {
		t.Error("nothing was written")
	}
	s.inSync(t, 2*time.Minute)
	s.compare(t)
	if s.writers, err = s.runner.Write(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) compare(t *testing.T) {
	t.Helper()
	result, err := s.world.Compare(t.Context(), s.source, s.target, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := verify.WriteText(testWriter{t}, result); err != nil {
		t.Fatal(err)
	}
	if !result.Equal() || result.Compared == 0 {
		t.Errorf("the sides differ: %+v", result)
	}
}

func deleteLeavesNothing(t *testing.T, s *scene) {
	if s.writers != nil {
		if _, err := s.writers.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.plugin(t, 0, s.pair.Later("delete", "--yes")...)
	s.nothingCreated(t)
	s.plugin(t, 10, s.pair.Later("status")...)
	// The copy stays.
	masters, err := s.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	size, err := s.target.Do(t.Context(), masters[0].Pod, "DBSIZE")
	if err != nil {
		t.Fatal(err)
	}
	if size.(int64) < 5000 {
		t.Errorf("the target holds %d keys after delete", size)
	}
	objectsAsFixtures(t, s)
}

// daocloud runs the path once more with the labels that DaoCloud puts on its instances.
func daocloud(t *testing.T, world *harness.World) {
	s := open(t, world, "daocloud", "dce")
	objectsAsFixtures(t, s)
	discoverFinds(t, s)
	applyUnderWrites(t, s)
	equalNow(t, s)
	deleteLeavesNothing(t, s)
	for _, p := range s.scenario.Placements {
		c, err := world.Cluster(p.Site)
		if err != nil {
			t.Fatal(err)
		}
		bounded, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := c.Remove(bounded, p); err != nil {
			t.Error(err)
		}
	}
}
