package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/version"
)

const applyLong = `
Creates a pair, or brings it to what plan shows, and waits until the target is
in sync. Doing it again does what is left to do; with nothing left it changes
nothing.

Before anything is created the checks of plan run. A target that holds keys is
refused until --stale-keys says what happens to those that the source does not
have. If the source cannot be reached from the target's site, what was created
is removed again.`

// applyOptions are the flags of apply.
type applyOptions struct {
	*Options
	definition definitionFlags
	sites      siteFlags
	output     string
	yes        bool
	wait       bool
	force      bool
	timeout    time.Duration
}

// NewApplyCommand makes the verb apply.
func NewApplyCommand(o *Options) *cobra.Command {
	a := &applyOptions{Options: o}
	cmd := &cobra.Command{
		Use:   "apply PAIR [--source REF --target REF | -f FILE]",
		Short: "Create or update a pair and wait until it is in sync",
		Long:  long(applyLong, "apply", 0, 1, 3, 4, 10, 11, 12, 130),
		Example: `  # A new pair; keys that only the target has are removed
  kubectl redis-sync apply dr1 --source site-a/redis/redis-a --target site-b/redis/redis-b --stale-keys prune

  # Again, from either of its clusters, without a question
  kubectl redis-sync apply dr1 --context site-b -n redis --yes`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(a.output, "json"); err != nil {
				return err
			}
			return a.run(cmd.Context(), args[0])
		},
	}
	a.definition.add(cmd)
	a.sites.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&a.output, "output", "o", "", "output format: json")
	flags.BoolVarP(&a.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&a.wait, "wait", true, "wait until the target is in sync")
	flags.BoolVar(&a.force, "force-conflicts", false, "take over fields that another manager has set")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Minute, "how long to wait")
	a.completeWith(cmd, "json")
	return cmd
}

func (a *applyOptions) run(ctx context.Context, name string) error {
	world, report, err := a.observe(ctx, name, &a.definition, a.sites, pair.VerbApply, a.force)
	if err != nil {
		return err
	}
	defer closeSession(world.Session)
	shown := *a.Options
	shown.Out = a.ErrOut // the result of apply is what it reached
	if err := printPlan(&shown, report, false); err != nil {
		return err
	}
	if err := execute.RefuseOn(report.Findings); err != nil {
		return err
	}
	if report.Counts.Changes() {
		if err := a.confirm(a.yes, fmt.Sprintf("Apply these changes to pair %s?", name)); err != nil {
			return err
		}
	}
	operation, err := execute.NewOperation(pair.VerbApply, whoami(), version.Get().Version)
	if err != nil {
		return err
	}
	progress := newProgress(a.ErrOut)
	result, err := execute.Apply(ctx, world, execute.NewFinder(), report.Changes, execute.ApplyOptions{
		Operation: operation, Force: a.force, Wait: a.wait, Timeout: a.timeout, Progress: progress,
	})
	progress.Close()
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.Out, result)
	}
	return printApplied(a.Out, result)
}

func printApplied(out interface{ Write([]byte) (int, error) }, r *execute.ApplyResult) error {
	var err error
	switch {
	case !r.Counts.Changes() && r.Phase == pair.PhaseInSync:
		_, err = fmt.Fprintf(out, "pair %s is in sync: %s -> %s, epoch %d, nothing to change\n", r.Pair, r.Primary, r.Standby, r.Epoch)
	case r.Phase == pair.PhaseInSync && r.Keys == 0 && r.Bytes == 0:
		_, err = fmt.Fprintf(out, "pair %s is in sync: %s -> %s, epoch %d, without a full copy, %.1f s\n",
			r.Pair, r.Primary, r.Standby, r.Epoch, r.Seconds)
	case r.Phase == pair.PhaseInSync || r.Phase == pair.PhaseRecoverInSync:
		_, err = fmt.Fprintf(out, "pair %s is in sync: %s -> %s, epoch %d, %d keys and %s copied in full, %.1f s\n",
			r.Pair, r.Primary, r.Standby, r.Epoch, r.Keys, bytesText(r.Bytes), r.Seconds)
	default:
		_, err = fmt.Fprintf(out, "pair %s is applied: phase %s, %s -> %s, epoch %d, %.1f s\n",
			r.Pair, r.Phase, r.Primary, r.Standby, r.Epoch, r.Seconds)
	}
	return err
}
