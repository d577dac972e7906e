package sidecar_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestProtectedStandby takes @write from the default user and gives it back,
// under writes: the replicator goes on as the user that may write, and as the
// other one after a server lost its ACLs, without a command lost or doubled.
func TestProtectedStandby(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{"standalone", "cluster"} {
		t.Run(shape, func(t *testing.T) {
			src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
			var nodes []*testredis.Server
			if shape == "cluster" {
				dst := testredis.StartCluster(t, 3, 0, debugArgs()...)
				fence(t, dst)
				nodes = dst.Masters()
			} else {
				nodes = []*testredis.Server{testredis.Start(t, debugArgs()...)}
				fence(t, nodes[0])
			}
			password := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(password, []byte("only-replicators-know"), 0o600); err != nil {
				t.Fatal(err)
			}
			r := start(t, link{slots: "0-16383", sources: []string{src.Addr}, target: fmt.Sprintf(
				"type = %q\naddress = %q\nsync_username = %q\nsync_password_file = %q", shape, nodes[0].Addr, wire.SyncUser, password)})
			r.waitInSync(t)
			stop := write(t, src)
			writable := func(s wire.Status) bool {
				return slices.ContainsFunc(s.Findings, func(f string) bool { return strings.HasPrefix(f, "standby writable") })
			}
			for round := range 3 {
				testredis.Eventually(t, 60*time.Second, "the default user", func() bool {
					s := r.Status().Get()
					return s.InSync && s.Target.User == "" && writable(s)
				})
				for _, n := range nodes {
					n.Do(t, "ACL", "SETUSER", wire.SyncUser, "reset", "on", ">only-replicators-know", "~*", "&*", "+@all")
					if round == 1 { // for a while nobody may write
						n.Do(t, "ACL", "SETUSER", wire.SyncUser, "-@write")
					}
					n.Do(t, "ACL", "SETUSER", "default", "-@write")
				}
				if round == 1 {
					testredis.Eventually(t, 30*time.Second, "a reason why nothing is written", func() bool {
						return strings.Contains(r.Status().Get().Error, "NOPERM") || strings.Contains(r.Status().Get().Error, "permission")
					})
					for _, n := range nodes {
						n.Do(t, "ACL", "SETUSER", wire.SyncUser, "+@all")
					}
				}
				testredis.Eventually(t, 60*time.Second, "the user that may write", func() bool {
					s := r.Status().Get()
					return s.InSync && s.Target.User == wire.SyncUser && !writable(s)
				})
				for _, n := range nodes {
					n.Do(t, "ACL", "SETUSER", "default", "+@all")
					n.Do(t, "ACL", "DELUSER", wire.SyncUser)
				}
			}
			stop()
			r.waitEqualOffsets(t, src)
			s := r.waitInSync(t)
			compare(t, contents(t, src), contents(t, nodes...))
			if s.FullSync.Count != 1 {
				t.Errorf("%d full copies: %s", s.FullSync.Count, s.FullSync.Reason)
			}
			r.finish(t)
		})
	}
}

// write sends commands that must be applied once each, until stop is called;
// stop returns when the last one was answered.
func write(t *testing.T, src *testredis.Server) (stop func()) {
	t.Helper()
	c, err := testredis.Dial(src.Addr, src.Password)
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer c.Close()
		for i := 0; ; i++ {
			for _, command := range [][]string{
				{"INCR", "n" + strconv.Itoa(i%50)}, {"RPUSH", "l" + strconv.Itoa(i%5), strconv.Itoa(i)}, {"APPEND", "a" + strconv.Itoa(i%3), "x"},
			} {
				if _, err := c.Do(command...); err != nil {
					t.Error(err)
					return
				}
			}
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { close(end); group.Wait() }) }
	t.Cleanup(stop)
	return stop
}
