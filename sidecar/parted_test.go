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

// TestLostHistory: the replicator is killed while the nodes of the target are
// at different places of the stream, and the source is replaced by a replica
// that never had the last of it. The position that the target goes on from is
// one that the promoted replica grants; what some nodes have beyond it must go.
func TestLostHistory(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{"repeatable": "SET", "in a script": "APPEND", "in parts": "MSET", "none": ""} {
		t.Run(name, func(t *testing.T) {
			a := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
			b := testredis.StartReplica(t, a, append(debugArgs(), "--repl-backlog-size", "64mb")...)
			dst := patientCluster(t)
			fence(t, dst)
			a.Do(t, "EVAL", "for i=1,25000 do redis.call('SET','key:'..i,'common') end", "0") // so that the lost ones are few
			l := link{slots: "0-16383", sources: []string{a.Addr}, target: dst.target}
			first := startProcess(t, l)
			first.waitFor(t, time.Minute, "the first to be in sync", func(s wire.Status) bool { return s.InSync && s.AppliedOffset == offset(t, a) })
			loseSome(t, a, b, dst.masters, first, command)
			if err := first.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-first.done
			dst.masters[1].Signal(t, syscall.SIGCONT)
			a.Kill()
			b.Do(t, "REPLICAOF", "NO", "ONE")
			b.Do(t, "SET", "after", "the failover")

			l.sources = []string{a.Addr, b.Addr}
			second := start(t, l)
			second.waitEqualOffsets(t, b)
			compare(t, contents(t, b), contents(t, dst.masters...))
			s := second.Status().Get()
			// When the third node is woken, it runs what is in its socket. With a
			// script that moves its frontier as well, and the source refuses.
			switch {
			case command == "" && s.FullSync.Count != 0, command != "" && s.FullSync.Count != 1,
				(command == "SET" || command == "MSET") && !strings.Contains(s.FullSync.Reason, "lost what came after"):
				t.Errorf("%d full copies, %d partial: %s", s.FullSync.Count, s.FullSync.Partial, s.FullSync.Reason)
			}
			if lost := s.FullSync.Causes[wire.CauseHistoryLost]; (command == "SET" || command == "MSET") && lost != 1 {
				t.Errorf("%d of %v are for the lost history", lost, s.FullSync.Causes)
			}
			second.finish(t)
		})
	}
}

// loseSome ends what a replica gets of the source. With a command it lets one
// node of the target not answer, so that no position is noted, and waits until
// another one has commands that come now. A position is noted at most once a
// second: one must not be due.
func loseSome(t *testing.T, src, replica *testredis.Server, nodes []*testredis.Server, r *process, command string) {
	t.Helper()
	t.Cleanup(func() { nodes[1].Signal(t, syscall.SIGCONT) })
	host, port, _ := strings.Cut(src.Addr, ":")
	lost := []string{"MSET"}
	for i := range 2100 {
		lost = append(lost, fmt.Sprintf("lost:%d", i+1), "lost")
	}
	for try := range 20 {
		replica.Do(t, "REPLICAOF", host, port)
		src.Do(t, "SET", "key:0", strconv.Itoa(try))
		testredis.Eventually(t, 30*time.Second, "the replica to have everything", func() bool { return offset(t, src) == offset(t, replica) })
		replica.Do(t, "REPLICAOF", "127.0.0.1", "1") // it keeps its data, and gets no more
		r.waitFor(t, time.Minute, "the position to be noted", func(s wire.Status) bool { return s.AppliedOffset == offset(t, src) })
		if command == "" {
			return
		}
		nodes[1].Signal(t, syscall.SIGSTOP)
		if command == "MSET" {
			src.Do(t, lost...)
		} else {
			src.Do(t, "EVAL", "for i=1,100 do redis.call(ARGV[1],'lost:'..i,'lost') end", "0", command)
		}
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			for i := range 100 {
				if v, err := nodes[0].TryDo("EXISTS", fmt.Sprintf("lost:%d", i)); err == nil && v == int64(1) {
					return
				}
			}
		}
		nodes[1].Signal(t, syscall.SIGCONT)
		src.Do(t, "EVAL", "for i=1,2100 do redis.call('DEL','lost:'..i) end", "0")
	}
	t.Fatal("no node had commands beyond the noted position")
}
