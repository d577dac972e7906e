package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// hookInto makes the hook before-close of a directory with its output going to
// a file, as it is when the plugin writes to a terminal.
func hookInto(t *testing.T, script string) (call func(context.Context) error, output func() string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	hook, err := hooksIn(hookDir(t, map[string]string{"before-close": script}), time.Hour, "dr1", execute.Operation{}, file)
	if err != nil {
		t.Fatal(err)
	}
	r := &pair.Record{Body: pair.Body{Switch: &pair.Switch{From: "a", To: "b"}}}
	call = func(ctx context.Context) error { return hook(ctx, switchover.Step{Op: switchover.OpClose}, false, r) }
	return call, func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// pidIn reads the number of a process; 0 while it is not there.
func pidIn(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(text), "\n") {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestHookIntoAFile: who stays behind and keeps the output open is noticed, also
// where the output is a file.
func TestHookIntoAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	call, output := hookInto(t, "echo begun; sleep 1000 & echo $! >"+path)
	if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "left a process behind") {
		t.Errorf("%v", err)
	}
	if output() != "begun\n" {
		t.Errorf("it printed %q", output())
	}
	pid := pidIn(t, path)
	testredis.Eventually(t, time.Minute, "the end of what it left behind", func() bool { return gone(pid) })
}

// TestHookLeavesAJob: what a failed hook has started in the background, with its
// output elsewhere or not, does not go on while the switch is taken back. A job
// of one that succeeded was left on purpose.
func TestHookLeavesAJob(t *testing.T) {
	for name, c := range map[string]struct {
		output string // of the job
		status int
		fails  string // "" for a hook that succeeds
	}{
		"of a failed one":                  {">/dev/null 2>&1", 7, "hook before-close: exit status 7"},
		"of a failed one, into its output": {"", 7, "hook before-close: exit status 7"},
		"of one that succeeded":            {">/dev/null 2>&1", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pid")
			call, _ := hookInto(t, fmt.Sprintf("sleep 1000 %s & echo $! >%s; exit %d", c.output, path, c.status))
			err := call(t.Context())
			pid := pidIn(t, path)
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
			if c.fails != "" {
				if err == nil || err.Error() != c.fails {
					t.Errorf("it said %v", err)
				}
				testredis.Eventually(t, time.Minute, "the end of the job", func() bool { return gone(pid) })
				return
			}
			if err != nil || gone(pid) {
				t.Errorf("it said %v, and its job is there: %t", err, !gone(pid))
			}
		})
	}
}

// TestHookHasTimeToEnd: what a hook started may end in order, although its shell
// is gone at once.
func TestHookHasTimeToEnd(t *testing.T) {
	dir := t.TempDir()
	ready, done := filepath.Join(dir, "ready"), filepath.Join(dir, "done")
	call, _ := hookInto(t, `(trap 'sleep 0.2; echo >`+done+`; exit' TERM; echo $$ >`+ready+`; while :; do sleep 0.1; done) >/dev/null 2>&1 &
wait`)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- call(ctx) }()
	testredis.Eventually(t, time.Minute, "the hook", func() bool { return pidIn(t, ready) != 0 })
	enough := errors.New("enough")
	cancel(enough)
	if err := <-ended; !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(done); err != nil {
		t.Errorf("it was killed before it could end: %v", err)
	}
}

const (
	hookOfProcess = "REDIS_SYNC_TEST_HOOK"
	processStays  = "REDIS_SYNC_TEST_HOOK_STAYS" // after its hook has ended
)

// TestHookProcess is, run by TestHookEndsWithThePlugin, the process that it asks
// to end; else it has nothing to do.
func TestHookProcess(*testing.T) {
	path := os.Getenv(hookOfProcess)
	if path == "" {
		return
	}
	ctx, stop := interruptible(os.Stderr)
	defer stop()
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdout, cmd.Stderr = struct{ *os.File }{os.Stderr}, struct{ *os.File }{os.Stderr}
	fmt.Fprintf(os.Stderr, "the hook: %v\n", runHook(ctx, cmd))
	if os.Getenv(processStays) != "" {
		time.Sleep(time.Hour)
	}
}

// TestHookEndsWithThePlugin: no hook goes on when the plugin is ended, be it by
// a terminal that goes away or by somebody who does not want to wait.
func TestHookEndsWithThePlugin(t *testing.T) {
	// Where SIGHUP is ignored, as under nohup, what is started would ignore it
	// too; a signal that is handled here is not ignored there.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	defer signal.Stop(heard)
	for name, c := range map[string]struct {
		trap    string // what the hook pays no heed to
		signals []syscall.Signal
		code    int
		says    string
	}{
		"hangup":    {signals: []syscall.Signal{syscall.SIGHUP}, says: "the hook: stopped: interrupted"},
		"interrupt": {signals: []syscall.Signal{syscall.SIGINT}, says: "the hook: stopped: interrupted"},
		"twice": {
			trap: "trap '' TERM HUP INT; ", signals: []syscall.Signal{syscall.SIGINT, syscall.SIGTERM},
			code: fault.CodeInterrupted, says: "interrupt again to stop at once",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pid")
			hook := hookDir(t, map[string]string{"hook": c.trap + "echo $$ >" + path + "; while :; do sleep 0.1; done"})
			cmd := exec.Command(os.Args[0], "-test.run=^TestHookProcess$") //nolint:gosec // this binary
			cmd.Env = append(os.Environ(), hookOfProcess+"="+filepath.Join(hook, "hook"))
			if len(c.signals) > 1 { // the second one comes in time on any machine
				cmd.Env = append(cmd.Env, processStays+"=1")
			}
			out := &notes{}
			cmd.Stderr = out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			testredis.Eventually(t, time.Minute, "the hook", func() bool { return pidIn(t, path) != 0 })
			for _, signal := range c.signals {
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				testredis.Eventually(t, time.Minute, "the answer", func() bool { return strings.Contains(out.String(), "interrupted: ") })
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != c.code {
				t.Errorf("ended with %v", err)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("it says\n%s", out.String())
			}
			pid := pidIn(t, path)
			testredis.Eventually(t, time.Minute, "the end of the hook", func() bool { return gone(pid) })
		})
	}
}

// TestHookLooksAgain: while before-commit runs the old primary is opened by
// somebody. What was written then has to come over before the roles change.
func TestHookLooksAgain(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	dir := t.TempDir()
	begun, goOn := filepath.Join(dir, "begun"), filepath.Join(dir, "go-on")
	hooks := hookDir(t, map[string]string{"before-commit": "echo >>" + begun + "; while [ ! -e " + goOn + " ]; do sleep 0.1; done"})
	over := begin(t, &notes{}, "failover", "dr1", "--context", "site-b", "--no-reverse", "--verify=none", "--yes", "--hook", hooks)
	times := func() int {
		text, err := os.ReadFile(begun)
		if err != nil {
			return 0
		}
		return bytes.Count(text, []byte("\n"))
	}
	testredis.Eventually(t, time.Minute, "before-commit", func() bool { return times() == 1 })
	for _, master := range s.source.Masters() {
		master.Do(t, "CONFIG", "SET", "min-replicas-to-write", "0")
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := (<-over).want(t, 0, "primary redis-b")
	if n := strings.Count(r.errOut, "ok look again: roles, offsets, fence"); times() != 2 || n != 2 {
		t.Errorf("the hook ran %d times, after %d looks:\n%s", times(), n, r.errOut)
	}
}
