package sidecar_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestGoesOnWhereThePluginSays: after a switch the opposite link begins with a
// checkpoint that the plugin wrote, under a new epoch, at a position that it
// settled while the stream had another database selected. No full copy, and
// every command once, in its own database.
func TestGoesOnWhereThePluginSays(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{"standalone", "cluster"} {
		t.Run(shape, func(t *testing.T) {
			src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
			testredis.StartReplica(t, src, debugArgs()...) // makes the backlog
			nodes, holder := targetOf(t, shape)
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: "type = " + strconv.Quote(shape) + "\naddress = " + strconv.Quote(nodes[0].Addr)}
			db := "0"
			if shape == "standalone" {
				db = "3"
			}
			src.Do(t, "SELECT", db)
			bump := func() {
				for i := range 200 {
					src.Do(t, "INCR", "n"+strconv.Itoa(i%20))
					src.Do(t, "RPUSH", "l"+strconv.Itoa(i%7), strconv.Itoa(i))
				}
			}
			bump()
			first := start(t, l)
			first.waitInSync(t)
			first.finish(t)

			source, target := client(t, src), client(t, holder)
			var at redisx.StreamPosition
			testredis.Eventually(t, 30*time.Second, "a settled position", func() bool {
				var err error
				at, err = source.SettlePosition(t.Context(), "p")
				return err == nil
			})
			if at.DB != 0 || at.ReplID == "" || at.Offset == 0 {
				t.Fatalf("position %+v", at)
			}
			bump() // in the other database: the stream selects it again
			if _, _, err := target.RaiseFence(t.Context(), "p", 2); err != nil {
				t.Fatal(err)
			}
			if err := target.WriteCheckpoints(t.Context(), "p", 2, []redisx.NewCheckpoint{{ReplID: at.ReplID, Offset: at.Offset, DB: at.DB, Slots: "0-16383"}}); err != nil {
				t.Fatal(err)
			}
			l.epoch = 2
			second := start(t, l)
			s := second.waitInSync(t)
			bump()
			testredis.Eventually(t, 30*time.Second, "the last command", func() bool {
				return second.Status().Get().AppliedOffset >= offset(t, src)
			})
			if s.FullSync.Count != 0 || s.FullSync.Partial != 1 {
				t.Errorf("%d full copies and %d partial ones: %s", s.FullSync.Count, s.FullSync.Partial, s.FullSync.Reason)
			}
			src.Do(t, "SELECT", "0")
			compare(t, contents(t, src), contents(t, nodes...))
			second.finish(t)
		})
	}
}

// TestGoesOnUnderAnotherEpoch: a checkpoint that is carried to a later epoch
// is gone on from, also where the nodes of a cluster stand at different
// offsets because the replicator before ended without warning.
func TestGoesOnUnderAnotherEpoch(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{"standalone", "cluster"} {
		t.Run(shape, func(t *testing.T) {
			src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
			nodes, holder := targetOf(t, shape)
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: "type = " + strconv.Quote(shape) + "\naddress = " + strconv.Quote(nodes[0].Addr)}
			current := start(t, l)
			current.waitInSync(t)
			stop := write(t, src)
			target := client(t, holder)
			for epoch := int64(2); epoch <= 4; epoch++ {
				testredis.Eventually(t, 30*time.Second, "commands of this epoch", func() bool {
					return current.Status().Get().Stream.Commands > 200
				})
				if _, _, err := target.RaiseFence(t.Context(), "p", epoch); err != nil {
					t.Fatal(err)
				}
				for _, n := range nodes { // in the middle of whatever it does
					if _, err := client(t, n).KillOlder(t.Context(), "p", epoch); err != nil {
						t.Fatal(err)
					}
				}
				if err := target.CarryCheckpoints(t.Context(), "p", 1, epoch-1, epoch); err != nil {
					t.Fatal(err)
				}
				testredis.Eventually(t, 30*time.Second, "the fence is noticed", func() bool {
					return current.Status().Get().Phase == wire.PhaseFenced
				})
				current.stop()
				l.epoch = int(epoch)
				current = start(t, l)
				if s := current.waitInSync(t); s.FullSync.Count != 0 {
					t.Errorf("epoch %d: %d full copies: %s", epoch, s.FullSync.Count, s.FullSync.Reason)
				}
			}
			stop()
			testredis.Eventually(t, 30*time.Second, "the last command", func() bool {
				return current.Status().Get().AppliedOffset >= offset(t, src)
			})
			compare(t, contents(t, src), contents(t, nodes...))
			current.finish(t)
		})
	}
}

// targetOf starts a target of one shape with its fence; holder has the keys of
// the pair.
func targetOf(t *testing.T, shape string) (nodes []*testredis.Server, holder *testredis.Server) {
	t.Helper()
	if shape != "cluster" {
		s := testredis.Start(t, debugArgs()...)
		fence(t, s)
		return []*testredis.Server{s}, s
	}
	c := testredis.StartCluster(t, 3, 0, debugArgs()...)
	fence(t, c)
	for _, n := range c.Masters() {
		if _, err := n.TryDo("GET", wire.FenceKey("p")); err == nil {
			holder = n
		}
	}
	return c.Masters(), holder
}

func client(t *testing.T, s *testredis.Server) *redisx.Client {
	t.Helper()
	c, err := redisx.Open(t.Context(), redisx.DialAddr(s.Addr), redisx.Options{Name: s.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// offset is where the stream of a server ends.
func offset(t *testing.T, s *testredis.Server) int64 {
	t.Helper()
	n, err := strconv.ParseInt(infoField(t, s, "master_repl_offset"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
