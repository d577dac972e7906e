package cli

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/network"
)

func newExec() *cobra.Command {
	return &cobra.Command{
		Use:   "exec SITE -- COMMAND [ARGUMENT...]",
		Short: "Run a command of this machine in a site's network",
		Long: `Run a command of this machine in a site's network namespace: it has the address
of the site's node and reaches its pods and services. It ends with the site.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			sites, err := open(args[:1])
			if err != nil {
				return err
			}
			if len(sites) != 1 {
				return fmt.Errorf("expected one site, not %s", args[0])
			}
			program, err := exec.LookPath(args[1])
			if err != nil {
				return err
			}
			return network.Do(sites[0].Netns(), func() error {
				return fmt.Errorf("run %s: %w", program, syscall.Exec(program, args[1:], os.Environ()))
			})
		},
	}
}
