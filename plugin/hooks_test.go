package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// hookDir makes a directory with these executables.
func hookDir(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // it is to be run
			t.Fatal(err)
		}
	}
	return dir
}

// TestHooks: they are run at their points with the state in their environment.
// One that fails before the commit stops the switch there, one that fails
// later is reported, and a directory that would do nothing is refused.
func TestHooks(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	failover := func(dir string) result {
		return run(t, "failover", "dr1", "--context", "site-b", "--no-reverse", "--verify=none", "--yes", "--hook", dir)
	}
	failover(t.TempDir()).want(t, fault.CodeError, "holds no hook: they are before-close")
	failover(hookDir(t, map[string]string{"before-close": "", "after-opened": ""})).want(t, fault.CodeError, `"after-opened" is no hook`)
	failover(filepath.Join(t.TempDir(), "nowhere")).want(t, fault.CodeError, "expected a directory")
	s.asBefore(t)

	failover(hookDir(t, map[string]string{"before-close": "echo cannot move >&2; exit 1"})).
		want(t, fault.CodeRefused, "cannot move", "hook before-close: exit status 1; nothing was done")
	s.asBefore(t)
	failover(hookDir(t, map[string]string{"before-commit": "exit 3"})).
		want(t, fault.CodeError, "hook before-commit: exit status 3; taken back: site redis-a is the primary, as before")
	s.asBefore(t)
	s.jobs(t, ended, line(t, wire.VerifyLine{Result: &wire.VerifyResult{SchemaVersion: 1, Mode: wire.VerifySample, Compared: 7, EqualKeys: 7, Positions: true}}))
	compared := hookDir(t, map[string]string{"before-close": "exit 1"})
	run(t, "failover", "dr1", "--context", "site-b", "--no-reverse", "--yes", "--hook", compared).
		want(t, fault.CodeError, "hook before-close: exit status 1; taken back")
	s.asBefore(t)

	log := filepath.Join(t.TempDir(), "log")
	note := `echo "$REDIS_SYNC_HOOK $REDIS_SYNC_PAIR $REDIS_SYNC_VERB $REDIS_SYNC_FROM $REDIS_SYNC_TO $REDIS_SYNC_EPOCH $REDIS_SYNC_FORCED ${REDIS_SYNC_OPERATION:+id}" >>` + log
	r := failover(hookDir(t, map[string]string{"before-close": note, "before-commit": note, "after-open": note + "; exit 1"}))
	r.want(t, 0, "warning: hook: hook after-open: exit status 1", "primary redis-b")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, point := range []string{"before-close", "before-commit", "after-open"} {
		want.WriteString(point + " dr1 failover redis-a redis-b 2 false id\n")
	}
	if string(text) != want.String() {
		t.Errorf("the hooks saw\n%sexpected\n%s", text, want.String())
	}
}

// TestHookTimeout: a hook that hangs, or is interrupted, ends with everything
// that it started, and the switch is taken back.
func TestHookTimeout(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	pids := filepath.Join(t.TempDir(), "pids")
	// The shell and a child of its own, both of which would stay for long.
	hang := "sleep 1000 & echo $! >>" + pids + "; echo $$ >>" + pids + "; wait"
	begun := func() []string {
		text, err := os.ReadFile(pids)
		if err != nil || strings.Count(string(text), "\n") < 2 {
			return nil
		}
		return strings.Fields(string(text))
	}
	ended := func() {
		t.Helper()
		for _, text := range begun() {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			testredis.Eventually(t, time.Minute, "the end of process "+text, func() bool { return gone(pid) })
		}
		if err := os.Remove(pids); err != nil {
			t.Fatal(err)
		}
	}
	args := func(dir string, more ...string) []string {
		return append([]string{"failover", "dr1", "--context", "site-b", "--no-reverse", "--verify=none", "--yes", "--hook", dir}, more...)
	}
	point := func(name string) string { return hookDir(t, map[string]string{name: hang}) }
	run(t, args(point("before-close"), "--hook-timeout=0s")...).want(t, fault.CodeError, "--hook-timeout 0s: expected a time above 0")

	run(t, args(point("before-commit"), "--hook-timeout=2s")...).
		want(t, fault.CodeError, "hook before-commit: stopped: not done within 2s (--hook-timeout); taken back: site redis-a is the primary, as before")
	ended()
	s.asBefore(t)

	for name, text := range map[string]string{
		"before-close":  "hook before-close: stopped: interrupted; nothing was done",
		"before-commit": "hook before-commit: stopped: interrupted; taken back: site redis-a is the primary, as before",
	} {
		over := begin(t, &notes{}, args(point(name))...)
		testredis.Eventually(t, time.Minute, name, func() bool { return begun() != nil })
		interrupt(t)
		(<-over).want(t, fault.CodeInterrupted, text)
		ended()
		s.asBefore(t)
	}

	left := hookDir(t, map[string]string{"before-close": "sleep 1000 & echo $! >>" + pids + "; echo $! >>" + pids})
	run(t, args(left)...).want(t, fault.CodeRefused, "left a process behind that kept its output open", "nothing was done")
	ended()
	s.asBefore(t)
}

// gone tells that a process is there no more, or waits to be asked how it ended.
func gone(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	return strings.Contains(string(text), ") Z ")
}
