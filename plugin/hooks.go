package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// hookPoints are the names of the executables, for a help text.
const hookPoints = "before-close, before-commit, after-open and after-sync"

// hookOf names the hook of a step; "" for none.
func hookOf(step switchover.Step, after bool) string {
	switch {
	case step.Op == switchover.OpClose && !after:
		return "before-close"
	case step.Op == switchover.OpCommit && !after:
		return "before-commit"
	case step.Op == switchover.OpOpen && after:
		return "after-open"
	case step.Op == switchover.OpAwait && after:
		return "after-sync"
	}
	return ""
}

// hooksIn runs the executables of a directory at their points. One that fails
// before the commit stops the switch there; one that fails later is reported.
func hooksIn(dir, pairName string, op execute.Operation, out io.Writer) (func(context.Context, switchover.Step, bool, *pair.Record) error, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no hooks
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("--hook %s: expected a directory", dir)
	}
	return func(ctx context.Context, step switchover.Step, after bool, r *pair.Record) error {
		point := hookOf(step, after)
		if point == "" {
			return nil
		}
		path, err := filepath.Abs(filepath.Join(dir, point))
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); os.IsNotExist(err) {
			return nil
		}
		s := r.Body.Switch
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = append(os.Environ(),
			"REDIS_SYNC_HOOK="+point, "REDIS_SYNC_PAIR="+pairName, "REDIS_SYNC_VERB="+string(op.Verb), "REDIS_SYNC_OPERATION="+op.ID,
			"REDIS_SYNC_FROM="+s.From, "REDIS_SYNC_TO="+s.To, "REDIS_SYNC_EPOCH="+strconv.FormatInt(s.Epoch, 10),
			"REDIS_SYNC_FORCED="+strconv.FormatBool(s.Forced),
		)
		cmd.Stdout, cmd.Stderr = out, out // the result has standard output for itself
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("hook %s: %w", point, err)
		}
		return nil
	}, nil
}
