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
	"sync"
	"sync/atomic"
	"time"

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

// hookTimeout is how long a hook may run where nobody says otherwise. In
// before-commit and after-open nobody can write meanwhile.
const hookTimeout = time.Minute

// hookGrace is how long a hook that was asked to end, or what it left behind, may
// take to do so, and how long what it leaves behind may hold its output.
const hookGrace = 5 * time.Second

// hooksIn runs the executables of a directory at their points. One that fails
// before the commit stops the switch there, and it is taken back; one that
// fails later is reported. So is one that takes longer than the limit.
func hooksIn(dir string, limit time.Duration, pairName string, op execute.Operation, out io.Writer) (func(context.Context, switchover.Step, bool, *pair.Record) error, error) {
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
		ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s (--hook-timeout)", limit))
		defer cancel()
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = append(os.Environ(),
			"REDIS_SYNC_HOOK="+point, "REDIS_SYNC_PAIR="+pairName, "REDIS_SYNC_VERB="+string(op.Verb), "REDIS_SYNC_OPERATION="+op.ID,
			"REDIS_SYNC_FROM="+s.From, "REDIS_SYNC_TO="+s.To, "REDIS_SYNC_EPOCH="+strconv.FormatInt(s.Epoch, 10),
			"REDIS_SYNC_FORCED="+strconv.FormatBool(s.Forced),
		)
		// The result has standard output for itself. A file would be handed to the
		// hook as it is, and nobody would notice who keeps it open.
		plain := struct{ io.Writer }{out}
		cmd.Stdout, cmd.Stderr = plain, plain
		if err := runHook(ctx, cmd); err != nil {
			return fmt.Errorf("hook %s: %w", point, err)
		}
		return nil
	}, nil
}

// runHook runs it in a group with everything that it starts. What a hook that
// failed, or whose ctx ended, has started ends with it: it is asked to, and killed
// where it does not within hookGrace. It would go on with a switch that is taken
// back. A job that a hook leaves in the background and then succeeds is left alone.
func runHook(ctx context.Context, cmd *exec.Cmd) error {
	inGroup(cmd)
	var asked atomic.Int64 // Unix nanoseconds
	cmd.Cancel = func() error {
		asked.Store(time.Now().UnixNano())
		return endGroup(cmd)
	}
	cmd.WaitDelay = hookGrace
	if err := currentHook.start(cmd); err != nil {
		return errors.New(err.Error())
	}
	defer currentHook.over()
	err := cmd.Wait()
	if err == nil {
		return nil
	}
	if asked.Load() == 0 {
		asked.Store(time.Now().UnixNano())
		_ = endGroup(cmd) // mostly nothing is left
	}
	awaitGroup(cmd, time.Unix(0, asked.Load()).Add(hookGrace))
	killGroup(cmd)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay):
		return errors.New("it ended, and left a process behind that kept its output open: that one was stopped")
	}
	return errors.New(err.Error()) // its exit status is not ours
}

// groupInterval is how often it is asked whether a group has ended.
const groupInterval = 20 * time.Millisecond

// awaitGroup waits until nothing is left of a group, but not past a deadline.
func awaitGroup(cmd *exec.Cmd, deadline time.Time) {
	for !groupGone(cmd) && time.Now().Before(deadline) {
		time.Sleep(groupInterval)
	}
}

// currentHook is the hook that runs now.
var currentHook hookProcess

// hookProcess is a hook that must not outlive this process: a group of its own
// gets no signal of the terminal.
type hookProcess struct {
	mu  sync.Mutex
	cmd *exec.Cmd // nil: none
}

func (p *hookProcess) start(cmd *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd = cmd
	return nil
}

func (p *hookProcess) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = nil
}

// kill ends the hook that runs, and lets no other begin: the process ends.
func (p *hookProcess) kill() {
	p.mu.Lock()
	if p.cmd != nil {
		killGroup(p.cmd)
	}
}
