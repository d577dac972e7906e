package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/version"
)

const deleteLong = `
Removes everything that apply made, on both sites: the replicators and their
configuration, the Services, the checkpoints in the target, and the record. The
data of both sites stays as it is; the target is no longer a copy.

The fence stays in the target: one key, which keeps a forgotten replicator from
writing. --purge removes it as well.

If a site does not answer, what can be removed is removed, what remains is
listed, and the exit code is 6.`

// deleteOptions are the flags of delete.
type deleteOptions struct {
	*Options
	sites   siteFlags
	output  string
	yes     bool
	purge   bool
	keep    bool
	timeout time.Duration
}

// NewDeleteCommand makes the verb delete.
func NewDeleteCommand(o *Options) *cobra.Command {
	d := &deleteOptions{Options: o}
	cmd := &cobra.Command{
		Use:   "delete PAIR",
		Short: "Stop copying and remove every object of a pair",
		Long:  long(deleteLong, "delete", 0, 1, 3, 6, 10, 11, 12, 130),
		Example: `  kubectl redis-sync delete dr1 --context site-b -n redis

  # Without a question, the fence as well
  kubectl redis-sync delete dr1 --yes --purge`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(d.output, "json"); err != nil {
				return err
			}
			return d.run(cmd.Context(), args[0])
		},
	}
	d.sites.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&d.output, "output", "o", "", "output format: json")
	flags.BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&d.purge, "purge", false, "remove the fence from the target as well")
	flags.BoolVar(&d.keep, "keep-keys", false, "leave our keys in the target, for one that does not answer any more")
	cmd.MarkFlagsMutuallyExclusive("purge", "keep-keys")
	flags.DurationVar(&d.timeout, "timeout", 2*time.Minute, "how long to wait until everything is gone")
	d.completeWith(cmd, "json")
	return cmd
}

func (d *deleteOptions) run(ctx context.Context, name string) error {
	request, err := d.request(name, pair.VerbDelete, d.sites)
	if err != nil {
		return err
	}
	session, err := execute.Open(ctx, d.connector(), request)
	if err != nil {
		return err
	}
	defer closeSession(session)
	if err := checkLegal(session, pair.VerbDelete); err != nil {
		return err
	}
	if err := execute.CheckAccess(ctx, session, pair.VerbDelete); err != nil {
		return err
	}
	doomed, err := execute.ListDoomed(ctx, session)
	if err != nil {
		return err
	}
	for _, item := range doomed {
		fmt.Fprintf(d.ErrOut, "delete %s\n", item)
	}
	if err := d.confirm(d.yes, fmt.Sprintf("Delete these %d objects of pair %s?", len(doomed), name)); err != nil {
		return err
	}
	operation, err := execute.NewOperation(pair.VerbDelete, whoami(), version.Get().Version)
	if err != nil {
		return err
	}
	progress := newProgress(d.ErrOut)
	result, err := execute.Delete(ctx, session, execute.NewFinder(), execute.DeleteOptions{
		Operation: operation, Purge: d.purge, KeepKeys: d.keep, Timeout: d.timeout, Progress: progress,
	})
	progress.Close()
	if err != nil && fault.ExitCode(err) != fault.CodePartial {
		return err
	}
	if d.output == "json" {
		if printErr := printJSON(d.Out, result); printErr != nil {
			return printErr
		}
		return err
	}
	for _, note := range result.Notes {
		fmt.Fprintln(d.ErrOut, "note: "+escapeLines(note))
	}
	if err == nil {
		_, err = fmt.Fprintf(d.Out, "pair %s is deleted: %d objects and %d of our keys removed\n", name, len(result.Deleted), result.Keys)
	}
	return err
}
