// Command sites brings the Redis instances of a scenario into running
// Kubernetes clusters as their operators make them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	"github.com/redis-sync/kubectl-redis-sync/test/images"
	"github.com/redis-sync/kubectl-redis-sync/test/loadpod"
	"github.com/redis-sync/kubectl-redis-sync/test/operator"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

const usage = `Usage: sites [flags] VERB

Verbs:
  up       install operator, definitions and instances, wait until Redis serves
  compare  compare the live objects with the fixtures
  pause    stop moving role labels (as a busy operator does)
  resume   move role labels again
  load     load the data set into the first instance of the scenario
  write    start live writers on it
  stats    print what the writers did so far
  stop     stop the writers and print what they did
  verify   compare the data of both instances of the scenario
  down     remove the instances
`

func main() { os.Exit(status()) }

func status() int {
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "file with a context for each site")
	scenario := flag.String("scenario", "default", "default or daocloud")
	namespace := flag.String("namespace", "", "put the instances there instead of where the scenario has them")
	site := flag.String("site", "", "only this site")
	keys := flag.Int("keys", 5000, "keys that load writes beside the corner cases")
	rate := flag.Int("rate", 300, "steps of live writers a second")
	timeout := flag.Duration("timeout", 5*time.Minute, "bound of the whole run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	run := runner{kubeconfig: *kubeconfig, scenario: *scenario, namespace: *namespace, site: *site, keys: *keys, rate: *rate}
	if err := run.verb(ctx, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

type runner struct {
	kubeconfig, scenario, namespace, site string

	keys, rate int
}

func (r runner) verb(ctx context.Context, verb string) error {
	scenario, err := sites.Find(r.scenario)
	if err != nil {
		return err
	}
	scenario = scenario.In(r.namespace)
	type job struct {
		p sites.Placement
		c *sites.Cluster
	}
	var jobs []job
	for _, p := range scenario.Placements {
		if r.site != "" && p.Site != r.site {
			continue
		}
		c, err := sites.Connect(r.kubeconfig, p.Site)
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
	case "load", "write", "stats", "stop":
		return r.data(ctx, loadpod.Runner{Cluster: jobs[0].c, Placement: jobs[0].p}, verb)
	case "verify":
		return r.verify(ctx, scenario)
	case "down":
		return each(func(j job) error { return j.c.Remove(ctx, j.p) })
	default:
		flag.Usage()
		return fmt.Errorf("unknown verb %q", verb)
	}
}

// data loads or writes beside an instance and prints the result as JSON.
func (r runner) data(ctx context.Context, at loadpod.Runner, verb string) error {
	var out any
	var err error
	switch verb {
	case "load":
		out, err = at.Fill(ctx, r.keys, 1)
	case "write":
		if _, err = at.Write(ctx, r.rate); err == nil {
			return nil
		}
	case "stats":
		out, err = at.Writers().Stats(ctx)
	default:
		out, err = at.Writers().Stop(ctx)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// verify compares the data of both instances key by key.
func (r runner) verify(ctx context.Context, scenario sites.Scenario) error {
	world, err := harness.New(os.Stderr)
	if err != nil {
		return err
	}
	world.Kubeconfig = r.kubeconfig
	result, err := world.ComparePair(ctx, harness.Pair{Source: scenario.Placements[0], Target: scenario.Placements[1]}, verify.Options{})
	if err != nil {
		return err
	}
	if err := verify.WriteText(os.Stdout, result); err != nil {
		return err
	}
	if !result.Equal() {
		return errors.New("the instances do not hold the same")
	}
	return nil
}
