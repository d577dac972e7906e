package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

const failoverLong = `
Makes the standby the primary.

While the primary answers this is planned and loses nothing: a sample of the
data of both sites is compared, the primary's writes are closed, the standby
applies the rest, the roles change, and the old primary becomes the standby, fed
from the position at which both were equal. For the time between closing and
opening nobody can write.

Sites that differ are not switched (exit code 5): nothing was closed, and the
differences are printed. --verify=full compares every key, for up to 30 minutes,
in which applications go on writing; --verify=none nothing.

When the primary does not answer, failover refuses and says since when and what
would be lost; --accept-data-loss goes on without it. recover brings the old
primary back later.

A failover that was interrupted goes on when it is run again; resume does the
same, and cancel takes it back while that is possible. If the standby does not
catch up within --timeout, the failover is taken back by itself, and so it is
when the comparison fails, or when you interrupt it before the roles change.`

const failbackLong = `
Makes the preferred primary the primary again: a planned failover in the other
direction. It loses nothing and refuses while the present primary does not
answer.`

// NewFailoverCommand makes the verb failover.
func NewFailoverCommand(o *Options) *cobra.Command {
	cmd, s := switchCommand(o, pair.VerbFailover, "Make the standby the primary", failoverLong, plannedCodes,
		`  # What would be done
  kubectl redis-sync failover dr1 --context site-b -n redis --dry-run

  # Planned, without a question
  kubectl redis-sync failover dr1 --context site-b -n redis --yes

  # The primary's cluster is lost
  kubectl redis-sync failover dr1 --context site-b -n redis --accept-data-loss`)
	s.addPlanned(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&s.switchover.AcceptDataLoss, "accept-data-loss", false, "go on while the primary does not answer, or you lack rights there: what it had not sent is lost")
	flags.BoolVar(&s.switchover.AcceptIncomplete, "accept-incomplete-copy", false, "with --accept-data-loss: promote a standby whose full copy has not ended, or that lacks values which only the primary has")
	flags.BoolVar(&s.switchover.NoReverse, "no-reverse", false, "leave it to recover to feed the old primary")
	return cmd
}

// NewFailbackCommand makes the verb failback.
func NewFailbackCommand(o *Options) *cobra.Command {
	cmd, s := switchCommand(o, pair.VerbFailback, "Make the preferred primary the primary again", failbackLong, plannedCodes,
		`  kubectl redis-sync failback dr1 --context site-a -n redis --yes`)
	s.addPlanned(cmd)
	return cmd
}

// addPlanned adds the flags of a planned switch.
func (s *switchOptions) addPlanned(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&s.switchover.MaxLag, "max-lag", 10*time.Second, "refuse a planned switch while the standby is further behind; 0 for no bound")
	s.addVerify(cmd)
	s.addHooks(cmd)
}

func (s *switchOptions) addVerify(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.verify, "verify", string(wire.VerifySample), "what of both sites a planned switch compares before it closes the primary: full, sample or none")
	s.completeVerify(cmd)
}

func (s *switchOptions) completeVerify(cmd *cobra.Command) {
	s.completeFlag(cmd, "verify", func(context.Context, []string, string) []string {
		return []string{string(wire.VerifyFull), string(wire.VerifySample), verifyNone}
	})
}

func (s *switchOptions) addHooks(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.hooks, "hook", "", fmt.Sprintf("directory with executables that are run at %s", hookPoints))
	cmd.Flags().DurationVar(&s.hookLimit, "hook-timeout", hookTimeout, "how long each of them may run; then it is stopped, with everything that it started, and has failed")
}
