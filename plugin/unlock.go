package plugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

const unlockLong = `
Removes the locks of a pair, which a command that was killed has left behind.
There is no need to wait for it: the next command takes over the lock of one
that has not renewed it for half a minute.

A command that still runs is not stopped at once: it notices at its next
renewal, and ends at its next safe point.`

const verbUnlock = pair.Verb("unlock")

// unlockOptions are the flags of unlock.
type unlockOptions struct {
	*Options
	sites siteFlags
	yes   bool
}

// NewUnlockCommand makes the verb unlock.
func NewUnlockCommand(o *Options) *cobra.Command {
	u := &unlockOptions{Options: o}
	cmd := &cobra.Command{
		Use:     "unlock PAIR",
		Short:   "Remove the lock that a dead command has left behind",
		Long:    long(unlockLong, string(verbUnlock), 0, 1, 3, 10, 11, 12, 130),
		Example: `  kubectl redis-sync unlock dr1 --context site-b -n redis`,
		Args:    onePair,
		RunE:    func(cmd *cobra.Command, args []string) error { return u.run(cmd.Context(), args[0]) },
	}
	u.sites.add(cmd)
	cmd.Flags().BoolVarP(&u.yes, "yes", "y", false, "do not ask")
	u.completeWith(cmd)
	return cmd
}

func (u *unlockOptions) run(ctx context.Context, name string) error {
	request, err := u.request(name, verbUnlock, u.sites)
	if err != nil {
		return err
	}
	session, err := execute.Open(ctx, u.connector(), request)
	if err != nil {
		return err
	}
	defer closeSession(session)
	held, err := execute.LockHolders(ctx, session)
	if err != nil {
		return err
	}
	if len(held) == 0 {
		if err := session.Unreachable(); err != nil {
			return err
		}
		_, err = fmt.Fprintf(u.Out, "nobody holds the lock of pair %s\n", name)
		return err
	}
	for _, h := range held {
		fmt.Fprintln(u.ErrOut, escapeLines(h.Holder.Error()))
	}
	if err := u.confirm(u.yes, fmt.Sprintf("Remove the lock of pair %s? Make sure that this command is dead.", name)); err != nil {
		return err
	}
	for _, h := range held {
		if err := h.Party.Kube.Unlock(ctx, h.Party.Site.Namespace, pair.RecordName(name), h.Holder.Holder); err != nil {
			return err
		}
	}
	if _, err = fmt.Fprintf(u.Out, "the lock of pair %s is removed\n", name); err != nil {
		return err
	}
	return session.Unreachable()
}
