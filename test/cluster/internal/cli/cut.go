package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/network"
)

func newCut() *cobra.Command {
	return &cobra.Command{
		Use:   "cut SITE [SITE]",
		Short: "Cut the network between two sites, or of one site to everything",
		Long: `Drop all packets between two sites, in both directions and without an answer,
those of established connections included; this machine still reaches both.
With one site, drop all packets from and to it, this machine's included.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: asRoot(func(_ *cobra.Command, names []string) error {
			rules, err := cutRules(names)
			if err != nil {
				return err
			}
			return network.Cut(rules)
		}),
	}
}

func newRestore() *cobra.Command {
	return &cobra.Command{
		Use:   "restore SITE [SITE]",
		Short: "Undo the cut of the same arguments",
		Args:  cobra.RangeArgs(1, 2),
		RunE: asRoot(func(_ *cobra.Command, names []string) error {
			rules, err := cutRules(names)
			if err != nil {
				return err
			}
			return network.Restore(rules)
		}),
	}
}

func cutRules(names []string) ([][2]string, error) {
	sites, err := open(names)
	if err != nil {
		return nil, err
	}
	switch {
	case len(names) == 1 && len(sites) == 1:
		return network.Around(sites[0]), nil
	case len(sites) == 2 && sites[0] != sites[1]:
		return network.Between(sites[0], sites[1]), nil
	default:
		return nil, errors.New("expected one site or two different ones")
	}
}
