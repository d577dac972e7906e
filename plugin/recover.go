package plugin

import (
	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

const recoverLong = `
Starts copying from the new primary back to the old one, after a failover that
could not do so itself.

Where the old primary has refused writes since both sites were equal, it is fed
from there. Otherwise it may hold writes that the new primary never had, and it
gets a full copy, which removes them: recover refuses until
--discard-divergence says that they may go.`

const cancelLong = `
Takes back a failover or failback that was interrupted, while the new primary
has not taken writes: the old primary serves again. After the roles have changed
this is a switch back at the next epoch.

Once the new primary may have taken writes cancel refuses: resume ends the
switch, and failback returns to where it was.`

const resumeLong = `
Goes on with a failover, failback or cancel that was interrupted, from where it
stopped, whoever ran it. It does what running the same verb again does.`

// NewRecoverCommand makes the verb recover.
func NewRecoverCommand(o *Options) *cobra.Command {
	cmd, s := switchCommand(o, pair.VerbRecover, "Feed the old primary from the new one", recoverLong, switchCodes,
		`  kubectl redis-sync recover dr1 --context site-b -n redis

  # What only the old primary has may go
  kubectl redis-sync recover dr1 --context site-b -n redis --discard-divergence --yes`)
	cmd.Flags().BoolVar(&s.switchover.Discard, "discard-divergence", false, "the old primary's own writes may be replaced by a full copy")
	return cmd
}

// NewCancelCommand makes the verb cancel.
func NewCancelCommand(o *Options) *cobra.Command {
	cmd, _ := switchCommand(o, pair.VerbCancel, "Take back a switch that was interrupted", cancelLong, switchCodes,
		`  kubectl redis-sync cancel dr1 --context site-a -n redis`)
	return cmd
}

// NewResumeCommand makes the verb resume.
func NewResumeCommand(o *Options) *cobra.Command {
	cmd, s := switchCommand(o, pair.VerbResume, "Go on with a switch that was interrupted", resumeLong, plannedCodes,
		`  kubectl redis-sync resume dr1 --context site-a -n redis`)
	cmd.Flags().BoolVar(&s.switchover.AcceptDataLoss, "accept-data-loss", false, "go on while the old primary does not answer: what it had not sent is lost")
	cmd.Flags().BoolVar(&s.switchover.AcceptIncomplete, "accept-incomplete-copy", false, "with --accept-data-loss: promote a standby whose full copy has not ended, or that lacks values which only the primary has")
	s.addVerify(cmd)
	s.addHooks(cmd)
	return cmd
}
