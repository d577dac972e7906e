package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cluster"
)

func newStop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop SITE...",
		Short: "Switch clusters off, as a power loss does; their disks stay",
		Args:  cobra.MinimumNArgs(1),
		RunE: asRoot(func(cmd *cobra.Command, names []string) error {
			sites, err := open(names)
			if err != nil {
				return err
			}
			for _, s := range sites {
				if err := cluster.Off(s); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: off\n", s.Name)
			}
			return nil
		}),
	}
}

func newStart() *cobra.Command {
	timeout := defaultTimeout
	cmd := &cobra.Command{
		Use:   "start SITE...",
		Short: "Switch clusters on again, with the data of their pods",
		Args:  cobra.MinimumNArgs(1),
		RunE: asRoot(func(cmd *cobra.Command, names []string) error {
			sites, err := open(names)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := cluster.PrepareHost(); err != nil {
				return err
			}
			return on(ctx, sites)
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	return cmd
}
