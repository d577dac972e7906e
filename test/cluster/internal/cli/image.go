package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/image"
)

func newLoadImage() *cobra.Command {
	return &cobra.Command{
		Use:   "load-image SITE|all FILE.tar...",
		Short: "Import images from docker-archives or OCI archives",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sites, err := open(args[:1])
			if err != nil {
				return err
			}
			for _, s := range sites {
				for _, file := range args[1:] {
					said, err := image.Load(cmd.Context(), s, file)
					if err != nil {
						return err
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s: %s\n", s.Name, file, strings.TrimSpace(said))
				}
			}
			return nil
		},
	}
}
