package plugin

import (
	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

const recoverLong = `
Starts copying from the new primary back to the old one, after a failover that
could not do so itself.

Where the old primary has refused writes since both sites were equal, it is fed
from there. Otherwise it may hold writes that the new primary never had, and it
gets a full copy, which removes them. Both sites are compared first, by a Job
beside the new primary, also with --dry-run: how many keys only the old primary
has, how many differ, and how many only the new one has. By default that is a
sample; --verify=full compares every key, --verify=none nothing.

Then recover refuses until you decide: --rescue-file=PATH saves every key that
only the old primary has, and its version of those that differ, into a file on
this machine before anything is overwritten; --discard-divergence lets them go.
Every key is compared for that, after the old primary was protected from
writes. The file is an RDB file that redis-server loads; rescue show reads it.`

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
		`  # What would be done, and what would be lost
  kubectl redis-sync recover dr1 --context site-b -n redis --verify=full --dry-run --discard-divergence

  # What only the old primary has is saved first
  kubectl redis-sync recover dr1 --context site-b -n redis --rescue-file=lost.rdb

  # What only the old primary has may go
  kubectl redis-sync recover dr1 --context site-b -n redis --discard-divergence --yes`)
	flags := cmd.Flags()
	flags.StringVar(&s.rescueFile, "rescue-file", "", "save what only the old primary has, or has otherwise, into this new file before a full copy replaces it")
	flags.BoolVar(&s.switchover.Discard, "discard-divergence", false, "the old primary's own writes may be replaced by a full copy")
	flags.StringVar(&s.verify, "verify", string(wire.VerifySample), "what of both sites is compared before a full copy, to count what it replaces: full, sample or none")
	s.completeVerify(cmd)
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
	cmd.Flags().BoolVar(&s.switchover.AcceptDataLoss, "accept-data-loss", false, "go on while the old primary does not answer, or you lack rights there: what it had not sent is lost")
	cmd.Flags().BoolVar(&s.switchover.AcceptIncomplete, "accept-incomplete-copy", false, "with --accept-data-loss: promote a standby whose full copy has not ended, or that lacks values which only the primary has")
	cmd.Flags().BoolVar(&s.switchover.NoReverse, "no-reverse", false, "leave it to recover to feed the old primary, also where the switch was begun without that flag")
	s.addVerify(cmd)
	s.addHooks(cmd)
	return cmd
}
