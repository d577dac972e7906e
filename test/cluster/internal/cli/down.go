package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cluster"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

func newDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down [SITE...]",
		Short: "Remove clusters (all of them) with everything that belongs to them",
		Long: `Remove clusters, all unless some are named, with their processes, network
namespaces, control groups and data. It also clears away what a crash left, and
does nothing where there is nothing.`,
		RunE: asRoot(func(cmd *cobra.Command, names []string) error {
			traces, err := cluster.Traces()
			if err != nil {
				return err
			}
			if len(names) == 0 {
				names = traces
			}
			slices.Sort(names)
			var errs []error
			for _, name := range slices.Compact(names) {
				if !slices.Contains(traces, name) {
					errs = append(errs, fmt.Errorf("no site %q here", name))
					continue
				}
				// The record may be missing or broken; the name is enough then.
				s, err := site.Open(name)
				if err != nil {
					s = site.Site{Name: name}
				}
				if err := cluster.Remove(s); err != nil {
					errs = append(errs, fmt.Errorf("remove %s: %w", name, err))
				}
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			left, err := site.All()
			if err != nil {
				return err
			}
			if len(left) > 0 {
				return config.WriteKubeconfig(left)
			}
			if err := cluster.RemoveHost(); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "nothing of the test clusters is left")
			return nil
		}),
	}
}
