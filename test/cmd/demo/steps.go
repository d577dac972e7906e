package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	"github.com/redis-sync/kubectl-redis-sync/test/loadpod"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// demo is one run.
type demo struct {
	*harness.World
	scenario   sites.Scenario
	pair       harness.Pair
	keys, rate int
	writers    *loadpod.Writers
}

// step is one thing that is shown.
type step struct {
	what string
	do   func(context.Context) error
}

// steps are the whole circle: copy, switch, write there, switch back.
func (d *demo) steps() []step {
	back := harness.Pair{Name: d.pair.Name, Source: d.pair.Target, Target: d.pair.Source}
	return []step{
		{"Debian packages for the Redis image", d.Packages},
		{"build the plugin, the replicator's image and the images of the test", d.Build},
		{"start the Kubernetes clusters site-a and site-b", d.ClustersUp},
		{
			"start redis-a (Redis Cluster, 3 + 3) in site-a and redis-b (Sentinel, 3 + 3) in site-b",
			func(ctx context.Context) error { return d.RedisUp(ctx, d.scenario) },
		},
		{fmt.Sprintf("load %d keys and the corner cases of all types into redis-a", d.keys), d.fill},
		{fmt.Sprintf("applications write to redis-a, %d steps a second", d.rate), d.write(d.pair.Source)},
		{"plan", d.plugin(d.pair.Args("plan", "--stale-keys", "prune")...)},
		{"apply", d.plugin(d.pair.Args("apply", "--stale-keys", "prune", "--yes", "--timeout", "5m")...)},
		{"status", d.plugin(d.pair.Later("status")...)},
		{"verify, while applications write", d.plugin(d.pair.Later("verify")...)},
		{"stop the writers, wait until redis-b has applied everything, and compare key by key without the plugin", d.equal(d.pair)},
		{"applications write to redis-a again", d.write(d.pair.Source)},
		{"failover: what it would do", d.plugin(d.pair.Later("failover", "--dry-run")...)},
		{"failover, while applications write", d.plugin(d.pair.Later("failover", "--yes")...)},
		{"the applications follow: they write to redis-b", d.follow(d.pair.Target)},
		{"status: redis-a is fed from redis-b", d.plugin(d.pair.Later("status")...)},
		{"failback, while applications write", d.plugin(back.Later("failback", "--yes")...)},
		{"the applications follow: they write to redis-a", d.follow(d.pair.Source)},
		{"stop the writers, wait until redis-b has applied everything, and compare key by key without the plugin", d.equal(d.pair)},
		{"status", d.plugin(d.pair.Later("status")...)},
	}
}

// plugin calls kubectl redis-sync and shows what it says.
func (d *demo) plugin(args ...string) func(context.Context) error {
	return func(ctx context.Context) error { return d.Stream(ctx, os.Stdout, args...) }
}

func (d *demo) runner(p sites.Placement) (loadpod.Runner, error) {
	cluster, err := d.Cluster(p.Site)
	return loadpod.Runner{Cluster: cluster, Placement: p}, err
}

func (d *demo) fill(ctx context.Context) error {
	runner, err := d.runner(d.pair.Source)
	if err != nil {
		return err
	}
	filled, err := runner.Fill(ctx, d.keys, 1)
	if err == nil {
		fmt.Printf("    redis-a holds %d keys\n", filled.Total)
	}
	return err
}

// write starts live writers beside an instance.
func (d *demo) write(p sites.Placement) func(context.Context) error {
	return func(ctx context.Context) error {
		runner, err := d.runner(p)
		if err == nil {
			d.writers, err = runner.Write(ctx, d.rate)
		}
		return err
	}
}

// follow ends the writers of the old primary, which refuses them, and starts
// those of the new one.
func (d *demo) follow(p sites.Placement) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := d.stop(ctx); err != nil {
			return err
		}
		return d.write(p)(ctx)
	}
}

// stop ends the writers and says what they were told.
func (d *demo) stop(ctx context.Context) error {
	stats, err := d.writers.Stop(ctx)
	if err == nil {
		fmt.Printf("    %d commands were acknowledged, %d refused, %d without an answer\n", stats.Acknowledged, stats.Failed, stats.Unknown)
	}
	return err
}

// equal waits until everything is applied, and compares both sides with
// another program than the one that is shown.
func (d *demo) equal(p harness.Pair) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := d.stop(ctx); err != nil {
			return err
		}
		shards, err := d.shards(ctx, p)
		if err != nil {
			return err
		}
		bounded, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		if err := d.WaitApplied(bounded, p, shards); err != nil {
			return err
		}
		result, err := d.ComparePair(ctx, p, verify.Options{})
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
}

// shards is how many masters with slots the source has now.
func (d *demo) shards(ctx context.Context, p harness.Pair) (int, error) {
	source, err := d.Instance(ctx, p.Source)
	if err != nil {
		return 0, err
	}
	defer source.Close()
	masters, err := source.Masters(ctx)
	return len(masters), err
}
