// Command demo shows the whole of kubectl redis-sync on this machine: two
// Kubernetes clusters, a Redis Cluster in one, a Redis with Sentinel in the
// other, and the second kept as a copy of the first under live writes. It
// leaves everything running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	"github.com/redis-sync/kubectl-redis-sync/test/loadpod"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

func main() { os.Exit(status()) }

func status() int {
	down := flag.Bool("down", false, "remove the clusters of the demo")
	scenario := flag.String("scenario", "default", "default or daocloud")
	keys := flag.Int("keys", 20000, "keys to load beside the corner cases")
	rate := flag.Int("rate", 300, "steps of live writers a second")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	world, err := harness.New(os.Stdout)
	if err == nil {
		if *down {
			err = world.ClustersDown(ctx)
		} else {
			err = run(ctx, world, *scenario, *keys, *rate)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, w *harness.World, scenarioName string, keys, rate int) error {
	if os.Geteuid() != 0 {
		return errors.New("the demo starts Kubernetes clusters on this machine and needs root")
	}
	scenario, err := sites.Find(scenarioName)
	if err != nil {
		return err
	}
	pair := harness.Pair{Name: "demo", Source: scenario.Placements[0], Target: scenario.Placements[1]}
	var writers *loadpod.Writers
	var runner loadpod.Runner
	steps := []struct {
		what string
		do   func() error
	}{
		{"Debian packages for the Redis image", func() error { return w.Packages(ctx) }},
		{"build the plugin, the replicator's image and the images of the test", func() error { return w.Build(ctx) }},
		{"start the Kubernetes clusters site-a and site-b", func() error { return w.ClustersUp(ctx) }},
		{"start redis-a (Redis Cluster, 3 + 3) in site-a and redis-b (Sentinel, 3 + 3) in site-b", func() error { return w.RedisUp(ctx, scenario) }},
		{fmt.Sprintf("load %d keys and the corner cases of all types into redis-a", keys), func() error {
			cluster, err := w.Cluster(pair.Source.Site)
			if err != nil {
				return err
			}
			runner = loadpod.Runner{Cluster: cluster, Placement: pair.Source}
			filled, err := runner.Fill(ctx, keys, 1)
			if err == nil {
				fmt.Printf("    redis-a holds %d keys\n", filled.Total)
			}
			return err
		}},
		{fmt.Sprintf("start live writers on redis-a, %d steps a second", rate), func() (err error) {
			writers, err = runner.Write(ctx, rate)
			return err
		}},
		{"plan", func() error { return w.Stream(ctx, os.Stdout, pair.Args("plan", "--stale-keys", "prune")...) }},
		{"apply", func() error {
			return w.Stream(ctx, os.Stdout, pair.Args("apply", "--stale-keys", "prune", "--yes", "--timeout", "5m")...)
		}},
		{"status", func() error { return w.Stream(ctx, os.Stdout, pair.Later("status")...) }},
		{"stop the writers and wait until redis-b has applied everything", func() error {
			stats, err := writers.Stop(ctx)
			if err != nil {
				return err
			}
			fmt.Printf("    %d commands were acknowledged, %d refused, %d without an answer\n", stats.Acknowledged, stats.Failed, stats.Unknown)
			bounded, cancel := context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			masters, err := shards(ctx, w, pair)
			if err != nil {
				return err
			}
			return w.WaitApplied(bounded, pair, masters)
		}},
		{"compare redis-a with redis-b, key by key", func() error { return compare(ctx, w, pair) }},
	}
	for _, s := range steps {
		if err := w.Step(s.what, s.do); err != nil {
			return err
		}
	}
	memory, err := w.Memory(ctx, pair)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(memory))
	for name := range memory {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("replicator %s uses %.1f MiB of memory\n", name, float64(memory[name])/(1<<20))
	}
	fmt.Printf("the demo took %.0f s\n\n%s", time.Since(w.Started).Seconds(), usage(w, pair))
	return nil
}

// shards is how many masters with slots the source has now.
func shards(ctx context.Context, w *harness.World, pair harness.Pair) (int, error) {
	source, err := w.Instance(ctx, pair.Source)
	if err != nil {
		return 0, err
	}
	defer source.Close()
	masters, err := source.Masters(ctx)
	return len(masters), err
}

func compare(ctx context.Context, w *harness.World, pair harness.Pair) error {
	result, err := w.ComparePair(ctx, pair, verify.Options{})
	if err != nil {
		return err
	}
	if err := verify.WriteText(os.Stdout, result); err != nil {
		return err
	}
	if !result.Equal() {
		return errors.New("redis-a and redis-b do not hold the same")
	}
	return nil
}

func usage(w *harness.World, pair harness.Pair) string {
	path := w.BinDir()
	if found, err := exec.LookPath("kubectl"); err != nil || found != w.Kubectl {
		path += string(os.PathListSeparator) + filepath.Dir(w.Kubectl)
	}
	return fmt.Sprintf(`Both clusters are up. To use them from this shell:

  export PATH=%s:$PATH
  export KUBECONFIG=%s
  kubectl redis-sync status %s --context %s -n %s -w
  kubectl redis-sync discover --context %s -n %s
  kubectl redis-sync delete %s --context %s -n %s

make demo-down removes the clusters.
`, path, w.Kubeconfig, pair.Name, pair.Target.Site, pair.Target.Namespace, pair.Source.Site, pair.Source.Namespace,
		pair.Name, pair.Target.Site, pair.Target.Namespace)
}
