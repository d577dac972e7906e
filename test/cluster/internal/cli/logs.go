package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/machine"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

func newLogs() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs SITE [COMPONENT]",
		Short: "Show the log of a component, or which components started and ended",
		Long: "Show the last lines of a component's log: " + strings.Join(machine.Components(), ", ") + ".\n" +
			"Without a component, show when each started and ended.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := site.Open(args[0])
			if err != nil {
				return err
			}
			file := machine.LogFile(s)
			if len(args) == 2 {
				if !slices.Contains(machine.Components(), args[1]) {
					return fmt.Errorf("no component %q: there are %s", args[1], strings.Join(machine.Components(), ", "))
				}
				file = filepath.Join(s.OnDisk(machine.LogDir), args[1]+".log")
			}
			argv := []string{"tail", fmt.Sprintf("--lines=%d", lines)}
			if follow {
				argv = append(argv, "--follow=name")
			}
			return fmt.Errorf("run tail: %w", syscall.Exec("/usr/bin/tail", append(argv, file), os.Environ()))
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many lines")
	return cmd
}
