package sidecar_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestFrozenWithABatch freezes a replicator that has read everything and can
// write none of it: batches in its sockets, batches in hand, the rest in its
// spool. Another one takes the shard and goes on; then the first is woken.
// None of its bytes may arrive after those of the second.
func TestFrozenWithABatch(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": patientCluster} {
		t.Run(name, func(t *testing.T) {
			src, dst := testredis.Start(t, debugArgs()...), target(t)
			fence(t, dst)
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
			first := startProcess(t, l)
			first.waitFor(t, time.Minute, "the first to be in sync", func(s wire.Status) bool { return s.InSync })

			for _, m := range dst.masters {
				m.Signal(t, syscall.SIGSTOP)
				t.Cleanup(func() { m.Signal(t, syscall.SIGCONT) })
			}
			countUp(t, src, 30_000) // 5 MB, more than the sockets take
			first.waitFor(t, time.Minute, "the first to have read all", func(s wire.Status) bool {
				return strconv.FormatInt(s.Source.Offset, 10) == infoField(t, src, "master_repl_offset") && s.Source.Offset-s.AppliedOffset > 4<<20
			})
			if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			for _, m := range dst.masters {
				m.Signal(t, syscall.SIGCONT)
			}

			second := start(t, l)
			second.waitEqualOffsets(t, src)
			want := contents(t, src)
			compare(t, want, contents(t, dst.masters...))
			if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			select {
			case <-first.done:
			case <-time.After(time.Minute):
				t.Fatal("the first goes on a minute after it was woken")
			}
			if code := first.cmd.ProcessState.ExitCode(); code <= 0 || !strings.Contains(first.out.String(), "superseded") {
				t.Errorf("the first ended with exit code %d: %s", code, first.out.String())
			}
			compare(t, want, contents(t, dst.masters...))
			countUp(t, src, 100)
			second.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst.masters...))
			second.finish(t)
		})
	}
}

// countUp writes what shows when it is applied twice or in another order: n
// INCR and n APPEND with texts of 100 bytes, to 100 keys each.
func countUp(t *testing.T, s *testredis.Server, n int) {
	t.Helper()
	c, err := testredis.Dial(s.Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	commands := make([][]string, 0, 2*n)
	for i := range n {
		key := strconv.Itoa(i % 100)
		commands = append(commands, []string{"INCR", "n:" + key}, []string{"APPEND", "a:" + key, fmt.Sprintf("%0100d", i)})
	}
	if _, err := c.Pipeline(commands...); err != nil {
		t.Fatal(err)
	}
}
