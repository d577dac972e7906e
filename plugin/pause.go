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

const pauseLong = `
Stops the replicators of a pair and waits until their pods are gone. The standby
stays as it is. start lets them go on from where they stopped, without a full
copy as long as the source's replication backlog reaches back to there.

The primary's site need not answer.`

const startLong = `
Lets the replicators of a paused pair go on from where they stopped, and waits
until the standby is in sync.`

// scaleOptions are the flags of pause and start.
type scaleOptions struct {
	*Options
	verb    pair.Verb
	sites   siteFlags
	output  string
	wait    bool
	timeout time.Duration
}

// NewPauseCommand makes the verb pause.
func NewPauseCommand(o *Options) *cobra.Command {
	s := &scaleOptions{Options: o, verb: pair.VerbPause}
	cmd := &cobra.Command{
		Use:     "pause PAIR",
		Short:   "Stop the replicators of a pair",
		Long:    long(pauseLong, "pause", 0, 1, 3, 4, 6, 10, 11, 12, 130),
		Example: `  kubectl redis-sync pause dr1 --context site-b -n redis`,
	}
	s.add(cmd, 2*time.Minute)
	return cmd
}

// NewStartCommand makes the verb start.
func NewStartCommand(o *Options) *cobra.Command {
	s := &scaleOptions{Options: o, verb: pair.VerbStart}
	cmd := &cobra.Command{
		Use:     "start PAIR",
		Short:   "Let the replicators of a paused pair go on",
		Long:    long(startLong, "start", 0, 1, 3, 4, 6, 10, 11, 12, 130),
		Example: `  kubectl redis-sync start dr1 --context site-b -n redis`,
	}
	s.add(cmd, 30*time.Minute)
	cmd.Flags().BoolVar(&s.wait, "wait", true, "wait until the target is in sync")
	return cmd
}

func (s *scaleOptions) add(cmd *cobra.Command, timeout time.Duration) {
	cmd.Args = onePair
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(s.output, "json"); err != nil {
			return err
		}
		return s.run(cmd.Context(), args[0])
	}
	s.sites.add(cmd)
	cmd.Flags().StringVarP(&s.output, "output", "o", "", "output format: json")
	cmd.Flags().DurationVar(&s.timeout, "timeout", timeout, "how long to wait")
	s.completeWith(cmd, "json")
}

func (s *scaleOptions) run(ctx context.Context, name string) error {
	request, err := s.request(name, s.verb, s.sites)
	if err != nil {
		return err
	}
	session, err := execute.Open(ctx, s.connector(), request)
	if err != nil {
		return err
	}
	defer closeSession(session)
	if err := checkLegal(session, s.verb); err != nil {
		return err
	}
	if err := execute.CheckAccess(ctx, session, s.verb); err != nil {
		return err
	}
	operation, err := execute.NewOperation(s.verb, whoami(), version.Get().Version)
	if err != nil {
		return err
	}
	do := execute.Start
	if s.verb == pair.VerbPause {
		do = execute.Pause
	}
	progress := newProgress(s.ErrOut)
	result, err := do(ctx, session, execute.ScaleOptions{Operation: operation, Wait: s.wait, Timeout: s.timeout, Progress: progress})
	progress.Close()
	if err != nil {
		return err
	}
	if s.output == "json" {
		return printJSON(s.Out, result)
	}
	what := "goes on"
	if result.Paused {
		what = "is paused"
	}
	_, err = fmt.Fprintf(s.Out, "pair %s %s, %.1f s\n", name, what, result.Seconds)
	return err
}
