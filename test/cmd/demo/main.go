// Command demo shows the whole of kubectl redis-sync on this machine: two
// Kubernetes clusters, a Redis Cluster in one, a Redis with Sentinel in the
// other, the second kept as a copy of the first under live writes, a failover
// to it and the way back. It leaves everything running.
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

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
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
	d := &demo{
		World: w, scenario: scenario, keys: keys, rate: rate,
		pair: harness.Pair{Name: "demo", Source: scenario.Placements[0], Target: scenario.Placements[1]},
	}
	for _, s := range d.steps() {
		if err := w.Step(s.what, func() error { return s.do(ctx) }); err != nil {
			return err
		}
	}
	if err := d.memory(ctx); err != nil {
		return err
	}
	fmt.Printf("the demo took %.0f s\n\n%s", time.Since(w.Started).Seconds(), usage(w, d.pair))
	return nil
}

// memory prints what the replicators use.
func (d *demo) memory(ctx context.Context) error {
	memory, err := d.Memory(ctx, d.pair)
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
	return nil
}

func usage(w *harness.World, pair harness.Pair) string {
	path := w.BinDir()
	if found, err := exec.LookPath("kubectl"); err != nil || found != w.Kubectl {
		path += string(os.PathListSeparator) + filepath.Dir(w.Kubectl)
	}
	at := fmt.Sprintf("%s --context %s -n %s", pair.Name, pair.Target.Site, pair.Target.Namespace)
	return fmt.Sprintf(`Both clusters are up. To use them from this shell:

  export PATH=%s:$PATH
  export KUBECONFIG=%s
  kubectl redis-sync status %s -w
  kubectl redis-sync failover %s
  kubectl redis-sync failback %s
  kubectl redis-sync delete %s

make demo-down removes the clusters.
`, path, w.Kubeconfig, at, at, at, at)
}
