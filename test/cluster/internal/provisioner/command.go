package provisioner

import (
	"errors"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// NewCommand returns the provisioner as a component of a machine.
func NewCommand() *cobra.Command {
	var kubeconfig, node string
	command := &cobra.Command{
		Use:           "storage-provisioner",
		Short:         "Make a local volume for each claim of the default storage class",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kubeconfig == "" || node == "" {
				return errors.New("--kubeconfig and --node are needed")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			return Run(ctx, kubeconfig, node)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&node, "node", "", "the node whose disk the volumes are on")
	return command
}
