package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cluster"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/host"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// defaultTimeout leaves room for a slow machine; it takes 20 s on two cores.
const defaultTimeout = 4 * time.Minute

var defaultSites = []string{"site-a", "site-b"}

func newUp() *cobra.Command {
	timeout := defaultTimeout
	cmd := &cobra.Command{
		Use:   "up [SITE...]",
		Short: "Create and start clusters (site-a and site-b), and wait until they are ready",
		Long: `Create and start clusters, in parallel, and wait until their nodes are ready.

What runs already stays as it is; what was stopped or has crashed is started
again with its data. Debian packages that are missing are installed first.`,
		RunE: asRoot(func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = defaultSites
			}
			// Before the clock starts: a mirror's speed says nothing about the clusters.
			if err := host.InstallPackages(cmd.OutOrStdout()); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return up(ctx, cmd, names)
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait until they are ready, not counting packages")
	return cmd
}

func up(ctx context.Context, cmd *cobra.Command, names []string) error {
	began := time.Now()
	out := cmd.OutOrStdout()
	if err := cluster.PrepareHost(); err != nil {
		return err
	}
	var sites []site.Site
	for _, name := range names {
		s, err := site.Create(name)
		if err != nil {
			return err
		}
		sites = append(sites, s)
	}
	if err := on(ctx, sites); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d clusters ready in %.1fs\n", len(sites), time.Since(began).Seconds())
	fmt.Fprintf(out, "export KUBECONFIG=%s\n", config.Kubeconfig())
	return nil
}

// on switches sites on and rewrites the kubeconfig, which has all sites.
func on(ctx context.Context, sites []site.Site) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sites {
		group.Go(func() error { return cluster.On(ctx, s, reporter) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	all, err := site.All()
	if err != nil {
		return err
	}
	return config.WriteKubeconfig(all)
}
