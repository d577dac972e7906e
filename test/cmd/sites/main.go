// Command sites brings the Redis instances of a scenario into running
// Kubernetes clusters as their operators make them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/images"
	"github.com/redis-sync/kubectl-redis-sync/test/operator"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

const usage = `Usage: sites [flags] VERB

Verbs:
  up       install operator, definitions and instances, wait until Redis serves
  compare  compare the live objects with the fixtures
  pause    stop moving role labels (as a busy operator does)
  resume   move role labels again
  down     remove the instances
`

func main() {
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "file with a context for each site")
	scenario := flag.String("scenario", "default", "default or daocloud")
	site := flag.String("site", "", "only this site")
	timeout := flag.Duration("timeout", 5*time.Minute, "bound of the whole run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := run(ctx, *kubeconfig, *scenario, *site, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, scenarioName, onlySite, verb string) error {
	scenario, err := sites.Find(scenarioName)
	if err != nil {
		return err
	}
	type job struct {
		p sites.Placement
		c *sites.Cluster
	}
	var jobs []job
	for _, p := range scenario.Placements {
		if onlySite != "" && p.Site != onlySite {
			continue
		}
		c, err := sites.Connect(kubeconfig, p.Site)
		if err != nil {
			return err
		}
		jobs = append(jobs, job{p, c})
	}
	each := func(do func(job) error) error {
		for _, j := range jobs {
			if err := do(j); err != nil {
				return err
			}
		}
		return nil
	}
	switch verb {
	case "up":
		start := time.Now()
		if err := each(func(j job) error {
			if err := operator.Deploy(ctx, j.c.Typed, images.AgentImage); err != nil {
				return err
			}
			return j.c.Install(ctx, j.p, images.RedisImage)
		}); err != nil {
			return err
		}
		return each(func(j job) error {
			if err := j.c.WaitReady(ctx, j.p); err != nil {
				return err
			}
			fmt.Printf("%s: %s %s/%s serves after %.0f s\n", j.p.Site, j.p.Kind, j.p.Namespace, j.p.Instance, time.Since(start).Seconds())
			return nil
		})
	case "compare":
		return each(func(j job) error {
			result, err := j.c.Compare(ctx, j.p)
			if err != nil {
				return err
			}
			fmt.Printf("%s: %d objects compared with %s, %d differences\n", j.p.Site, result.Objects, j.p.Fixture, len(result.Differences))
			for _, d := range result.Differences {
				fmt.Println("  " + d)
			}
			if len(result.Differences) > 0 {
				return fmt.Errorf("site %s: objects differ from the fixture", j.p.Site)
			}
			return nil
		})
	case "pause", "resume":
		return each(func(j job) error { return j.c.PauseLabels(ctx, j.p, verb == "pause") })
	case "down":
		return each(func(j job) error { return j.c.Remove(ctx, j.p) })
	default:
		flag.Usage()
		return fmt.Errorf("unknown verb %q", verb)
	}
}
