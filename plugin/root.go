package plugin

import (
	"flag"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/version"
)

const rootLong = `Keeps a Redis in another Kubernetes cluster, of another shape, an exact and
continuously updated copy of this one.

A pair is two sites: two Redis instances, in any two clusters or namespaces, of
any shape (standalone, replicas, Sentinel, Redis Cluster). One of them is the
primary; the other is kept as its copy by replicators that run beside it.

Flags come after the verb: kubectl redis-sync plan --context site-a.

EXIT STATUS
  0    done, or nothing to do
  1    error
  2    plan has changes (only with --detailed-exitcode)
  3    refused by a safety check, nothing done
  4    timed out, state as reported
  5    verification found differences
  6    stopped in the middle, run again to go on
  10   no such pair or instance
  11   another operation holds the lock
  12   authentication or RBAC
  130  interrupted`

// NewRootCommand gives the command tree.
func NewRootCommand(o *Options) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-redis_sync",
		Short:         "Keep two Redis instances of any shape in sync across Kubernetes clusters",
		Long:          rootLong,
		Version:       version.Get().Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl redis-sync"},
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"auto", "always", "never"}, o.Color) {
				return fmt.Errorf("--color %q: expected auto, always or never", o.Color)
			}
			return nil
		},
	}
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.ErrOut)
	o.ConfigFlags.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVar(&o.Color, "color", o.Color, "when to colour the output: auto, always or never")
	if err := root.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return o.contexts(""), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err) // cli-runtime has no --context any more: every test would see it
	}
	addLogFlag(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.Wrap(fault.CodeError, cmd.CommandPath()+" --help", err)
	})
	root.AddCommand(
		NewDiscoverCommand(o), NewPlanCommand(o), NewApplyCommand(o), NewStatusCommand(o), NewWaitCommand(o), NewVerifyCommand(o),
		NewPauseCommand(o), NewStartCommand(o),
		NewFailoverCommand(o), NewFailbackCommand(o), NewRecoverCommand(o), NewCancelCommand(o), NewResumeCommand(o), NewRunbookCommand(o),
		NewRescueCommand(o), NewDeleteCommand(o), NewUnlockCommand(o), NewVersionCommand(o),
	)
	return root
}

// addLogFlag adds klog's -v, as kubectl has it, and none of its other flags.
func addLogFlag(root *cobra.Command) {
	logFlags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(logFlags)
	root.PersistentFlags().AddGoFlag(logFlags.Lookup("v"))
}
