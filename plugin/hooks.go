package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// hookNames are the executables of a hook directory, in the order in which a
// switch comes by.
var hookNames = []string{"before-close", "before-commit", "after-open", "after-sync"}

// hookPoints are their names, for a text.
const hookPoints = "before-close, before-commit, after-open and after-sync"

// checkHooks refuses a directory that would do nothing, or not all that
// somebody meant it to do.
func checkHooks(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("--hook %s: expected a directory: %w", dir, err)
	}
	found := 0
	for _, entry := range entries {
		name := entry.Name()
		if slices.Contains(hookNames, name) {
			found++
			continue
		}
		if strings.HasPrefix(name, "before-") || strings.HasPrefix(name, "after-") {
			return fmt.Errorf("--hook %s: %q is no hook: they are %s", dir, name, hookPoints)
		}
	}
	if found == 0 {
		return fmt.Errorf("--hook %s: the directory holds no hook: they are %s", dir, hookPoints)
	}
	return nil
}

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
// before the commit stops the switch there, and it is taken back; one that
// fails later is reported.
func hooksIn(dir, pairName string, op execute.Operation, out io.Writer) (func(context.Context, switchover.Step, bool, *pair.Record) error, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no hooks
	}
	if err := checkHooks(dir); err != nil {
		return nil, err
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
			// Its exit status is not ours, so the error is not wrapped.
			return errors.New("hook " + point + ": " + err.Error())
		}
		return nil
	}, nil
}
