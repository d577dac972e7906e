// Package e2e drives the real plugin against two real Kubernetes clusters with
// Redis in them. It runs when E2E=1 is set, as root; E2E_DOWN=1 removes the
// clusters at the end, E2E_FULL=1 runs TestFull, E2E_NAMESPACE puts the instances beside those of a demo.
package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	"github.com/redis-sync/kubectl-redis-sync/test/loadpod"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// scene is what the steps of one scenario share.
type scene struct {
	world          *harness.World
	scenario       sites.Scenario
	pair           harness.Pair
	source, target *harness.Instance
	runner         loadpod.Runner
	writers        *loadpod.Writers
}

// TestEndToEnd is one story: every step needs the ones before it.
func TestEndToEnd(t *testing.T) {
	steps := []struct {
		name string
		do   func(*testing.T, *scene)
	}{
		{"objects are as the operators make them", objectsAsFixtures},
		{"discover finds the instances", discoverFinds},
		{"bad input is refused and creates nothing", badInput},
		{"misspelt key in sync.toml", misspeltKey},
		{"plan shows everything and changes nothing", planOnly},
		{"apply under live writes", applyUnderWrites},
		{"a second plan has no changes", secondPlan},
		{"status", statusShows},
		{"both sides hold the same", equalNow},
		{"verify finds one changed field", verifyFinds},
		{"the standby takes no writes of applications", standbyProtected},
		{"failover of a source shard with stale labels", sourceFailover},
		{"failover of the target", targetFailover},
		{"the standby is protected again", protectedAgain},
		{"restart of a replicator", replicatorRestart},
		{"cut and restore of the network", networkCut},
		{"deadlines that pass while the replicators are away", deadlineWhileAway},
		{"restart of the whole source with other addresses", sourceRestart},
		{"failover and failback under live writes", circle},
		{"the plugin is killed in the middle of a switch", killed},
		{"the primary's site is lost and comes back", lostSite},
		{"delete leaves nothing", deleteLeavesNothing},
		{"every verb works with its documented rights", documentedRights},
	}
	if reason := unable("E2E", "make e2e"); reason != "" {
		t.Skipf("SKIPPED: %d end-to-end steps and the second scenario: %s", len(steps), reason)
	}
	world := start(t)
	s := open(t, world, "default", "e2e")
	for _, step := range steps {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, s) }) {
			if independent[step.name] {
				continue
			}
			s.explain(t)
			t.Fatalf("stopped after %q: the later steps need it", step.name)
		}
	}
	t.Run("labels of DaoCloud", func(t *testing.T) { daocloud(t, world) })
}

// start builds everything and starts the clusters.
func start(t *testing.T) *harness.World {
	t.Helper()
	world, err := harness.New(testWriter{t})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	setup := []struct {
		what string
		do   func(context.Context) error
	}{
		{"packages", world.Packages}, {"build", world.Build}, {"clusters", world.ClustersUp},
	}
	for _, s := range setup {
		if err := world.Step(s.what, func() error { return s.do(ctx) }); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("E2E_DOWN") == "1" {
		t.Cleanup(func() {
			if err := world.ClustersDown(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	return world
}

// independent are the steps whose failure does not keep the later ones from running.
var independent = map[string]bool{
	"bad input is refused and creates nothing":           true,
	"misspelt key in sync.toml":                          true,
	"status":                                             true,
	"restart of the whole source with other addresses":   true,
	"deadlines that pass while the replicators are away": true,
	"every verb works with its documented rights":        true,
}

// unable says why the end-to-end tests cannot run here.
func unable(variable, target string) string {
	if os.Getenv(variable) != "1" {
		return variable + "=1 is not set (" + target + " sets it)"
	}
	if os.Geteuid() != 0 {
		return "starting Kubernetes clusters needs root"
	}
	return ""
}

// open brings a scenario up and connects to both instances. What an earlier
// run left is removed.
func open(t *testing.T, world *harness.World, scenarioName, pair string) *scene {
	t.Helper()
	scenario, err := sites.Find(scenarioName)
	if err != nil {
		t.Fatal(err)
	}
	if scenarioName == "default" {
		scenario = scenario.In(os.Getenv("E2E_NAMESPACE"))
	}
	s := &scene{world: world, scenario: scenario}
	s.pair = harness.Pair{Name: pair, Source: scenario.Placements[0], Target: scenario.Placements[1]}
	if scenarioName == "default" {
		s.alone(t)
	}
	bounded, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	if err := world.Step("redis of scenario "+scenarioName, func() error { return world.RedisUp(bounded, scenario) }); err != nil {
		t.Fatal(err)
	}
	for _, open := range []struct {
		p    sites.Placement
		into **harness.Instance
	}{{s.pair.Source, &s.source}, {s.pair.Target, &s.target}} {
		if *open.into, err = world.Instance(t.Context(), open.p); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*open.into).Close)
	}
	cluster, err := world.Cluster(s.pair.Source.Site)
	if err != nil {
		t.Fatal(err)
	}
	s.runner = loadpod.Runner{Cluster: cluster, Placement: s.pair.Source}
	s.clean(t)
	return s
}

// alone starts the clusters anew when another pair, a demo's, has the
// instances: its standby is protected, and its writers run.
func (s *scene) alone(t *testing.T) {
	t.Helper()
	others, err := s.world.OtherPairs(t.Context(), s.pair)
	if err != nil {
		t.Fatal(err)
	}
	if len(others) == 0 {
		return
	}
	t.Logf("pairs %q of an earlier run are here: starting from new clusters", others)
	if err := s.world.Step("clusters without them", func() error {
		if err := s.world.ClustersDown(t.Context()); err != nil {
			return err
		}
		return s.world.ClustersUp(t.Context())
	}); err != nil {
		t.Fatal(err)
	}
}

// clean removes the pair of an earlier run and empties the target.
func (s *scene) clean(t *testing.T) {
	t.Helper()
	left, err := s.world.Leftovers(t.Context(), s.pair)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		s.plugin(t, 0, s.pair.Later("delete", "--yes", "--purge")...)
	}
	masters, err := s.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range masters {
		if _, err := s.target.Do(t.Context(), m.Pod, "FLUSHALL"); err != nil {
			t.Fatal(err)
		}
	}
}

// plugin calls kubectl redis-sync and wants that exit code.
func (s *scene) plugin(t *testing.T, code int, args ...string) harness.Result {
	t.Helper()
	start := time.Now()
	r, err := s.world.Plugin(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f s: %s", time.Since(start).Seconds(), r)
	if r.Code != code {
		t.Fatalf("exit code %d, expected %d", r.Code, code)
	}
	return r
}

// nothingCreated fails when the plugin left objects on either site.
func (s *scene) nothingCreated(t *testing.T) {
	t.Helper()
	left, err := s.world.Leftovers(t.Context(), s.pair)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("objects exist that should not:\n%s", strings.Join(left, "\n"))
	}
}

// explain prints what helps to understand a failure.
func (s *scene) explain(t *testing.T) {
	for _, c := range [][]string{
		s.pair.Later("status"),
	} {
		if r, err := s.world.Plugin(context.Background(), c...); err == nil {
			t.Log(r)
		}
	}
	for _, p := range s.scenario.Placements {
		r, err := s.world.KubectlRun(context.Background(), p.Site, "-n", p.Namespace, "get", "pods,deployments,services,configmaps", "-o", "wide")
		if err != nil {
			t.Log(err)
			continue
		}
		t.Log(r)
	}
	r, err := s.world.KubectlRun(context.Background(), s.pair.Target.Site, "-n", s.pair.Target.Namespace, "logs",
		"-l", "redis-sync.io/pair="+s.pair.Name, "--prefix", "--tail", "30")
	if err != nil {
		t.Log(err)
		return
	}
	t.Log(r)
}

// testWriter sends progress to the log of the test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	fmt.Print(string(p))
	return len(p), nil
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("missing %q in:\n%s", p, text)
		}
	}
}
