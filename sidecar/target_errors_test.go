package sidecar_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// waitEqualOffsets waits until the target has everything that the source has
// written, and nothing is being waited for.
func (r *running) waitEqualOffsets(t *testing.T, src *testredis.Server) {
	t.Helper()
	testredis.Eventually(t, 60*time.Second, "the target to have all that the source has", func() bool {
		select {
		case err := <-r.done:
			t.Fatalf("the replicator ended: %v", err)
		default:
		}
		s := r.Status().Get()
		return s.InSync && s.Complete && s.Error == "" && s.Stream.PendingKeys == 0 && strconv.FormatInt(s.AppliedOffset, 10) == infoField(t, src, "master_repl_offset")
	})
}

// waitReason waits until the status says why nothing is written.
func (r *running) waitReason(t *testing.T, reason string) {
	t.Helper()
	testredis.Eventually(t, 60*time.Second, "the status to say "+reason, func() bool {
		select {
		case err := <-r.done:
			t.Fatalf("the replicator ended: %v", err)
		default:
		}
		s := r.Status().Get()
		return strings.Contains(s.Error, reason) && !s.InSync
	})
}

// writeInOrder makes writes whose result tells their order and number.
func writeInOrder(t *testing.T, src *testredis.Server, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		n := strconv.Itoa(i)
		src.Do(t, "RPUSH", "order", n)
		src.Do(t, "APPEND", "text", n)
		src.Do(t, "INCR", "count")
		src.Do(t, "SET", "last", n)
	}
}

// TestTargetErrorsAreWaitedOut makes a target refuse writes in every way that
// passes. What came meanwhile is applied afterwards, once and in order.
func TestTargetErrorsAreWaitedOut(t *testing.T) {
	t.Parallel()
	config := func(name, value string) func(*testing.T, *testredis.Server) {
		return func(t *testing.T, dst *testredis.Server) { dst.Do(t, "CONFIG", "SET", name, value) }
	}
	for name, tc := range map[string]struct {
		begin, lift func(t *testing.T, dst *testredis.Server)
		reason      string
	}{
		"OOM":        {config("maxmemory", "1"), config("maxmemory", "0"), "OOM"},
		"NOREPLICAS": {config("min-replicas-to-write", "1"), config("min-replicas-to-write", "0"), "NOREPLICAS"},
		"READONLY": {
			func(t *testing.T, dst *testredis.Server) { dst.Do(t, "REPLICAOF", "127.0.0.1", "1") },
			func(t *testing.T, dst *testredis.Server) { dst.Do(t, "REPLICAOF", "NO", "ONE") }, "is a slave",
		},
		"MASTERDOWN": {
			func(t *testing.T, dst *testredis.Server) {
				dst.Do(t, "CONFIG", "SET", "replica-serve-stale-data", "no")
				dst.Do(t, "REPLICAOF", "127.0.0.1", "1")
			},
			func(t *testing.T, dst *testredis.Server) { dst.Do(t, "REPLICAOF", "NO", "ONE") }, "is a slave",
		},
		"MISCONF": {
			func(t *testing.T, dst *testredis.Server) {
				// A folder in the place of the file makes every save fail.
				if err := os.Mkdir(filepath.Join(dst.Dir, "dump.rdb"), 0o700); err != nil {
					t.Fatal(err)
				}
				dst.Do(t, "CONFIG", "SET", "save", "3600 1")
				dst.Do(t, "BGSAVE")
				testredis.Eventually(t, 20*time.Second, "the save to fail", func() bool {
					return strings.Contains(dst.Do(t, "INFO", "persistence").(string), "rdb_last_bgsave_status:err")
				})
			}, func(t *testing.T, dst *testredis.Server) {
				dst.Do(t, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
			}, "MISCONF",
		},
		"NOPERM": {
			func(t *testing.T, dst *testredis.Server) { dst.Do(t, "ACL", "SETUSER", "default", "-rpush") },
			func(t *testing.T, dst *testredis.Server) { dst.Do(t, "ACL", "SETUSER", "default", "+rpush") }, "NOPERM",
		},
		"NOAUTH": {
			func(t *testing.T, dst *testredis.Server) {
				dst.Do(t, "CONFIG", "SET", "requirepass", "changed")
				dst.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			}, config("requirepass", ""), "NOAUTH",
		},
		"max clients": {
			func(t *testing.T, dst *testredis.Server) {
				for range 20 {
					c, err := testredis.Dial(dst.Addr, "")
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = c.Close() })
					if _, err := c.Do("PING"); err != nil {
						t.Fatal(err)
					}
				}
				dst.Do(t, "CONFIG", "SET", "maxclients", "15")
				for line := range strings.Lines(dst.Do(t, "CLIENT", "LIST").(string)) {
					if id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " "); strings.Contains(line, "name="+wire.KeyPrefix) {
						dst.Do(t, "CLIENT", "KILL", "ID", id)
					}
				}
			}, config("maxclients", "10000"), "max number of clients",
		},
		"BUSY": {
			func(t *testing.T, dst *testredis.Server) {
				dst.Do(t, "CONFIG", "SET", "lua-time-limit", "50")
				c, err := testredis.Dial(dst.Addr, "")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				go func() { _, _ = c.Do("EVAL", "while true do end", "0") }() // killed when it is lifted
				testredis.Eventually(t, 20*time.Second, "the server to be busy", func() bool {
					_, err := dst.TryDo("PING")
					return err != nil && strings.HasPrefix(err.Error(), "BUSY")
				})
			}, func(t *testing.T, dst *testredis.Server) { dst.Do(t, "SCRIPT", "KILL") }, "BUSY",
		},
		"stopped": {
			func(t *testing.T, dst *testredis.Server) {
				dst.Do(t, "SAVE")
				dst.Stop(t)
			},
			func(t *testing.T, dst *testredis.Server) { dst.Restart(t) }, "connection refused",
		},
		"loading": {
			func(t *testing.T, dst *testredis.Server) {
				var pairs []string
				for i := range 1000 {
					pairs = append(pairs, "other"+strconv.Itoa(i), "v")
				}
				dst.Do(t, append([]string{"MSET"}, pairs...)...)
				dst.Do(t, "SAVE")
			},
			// 4 ms for each of the 1000 keys.
			func(t *testing.T, dst *testredis.Server) {
				dst.Restart(t, "--key-load-delay", "4000", "--loading-process-events-interval-bytes", "1024")
				dst.Do(t, "EVAL", "for i=0,999 do redis.call('del','other'..i) end", "0")
			}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, dst := testredis.Start(t, debugArgs()...), testredis.Start(t, debugArgs()...)
			fence(t, dst)
			r, log := startLogged(t, linkTo(src.Addr, dst.Addr))
			writeInOrder(t, src, 0, 50)
			r.waitEqualOffsets(t, src)
			tc.begin(t, dst)
			writeInOrder(t, src, 50, 100)
			if tc.reason != "" {
				r.waitReason(t, tc.reason)
			}
			writeInOrder(t, src, 100, 150)
			lifted := make(chan struct{})
			written := make(chan error, 1)
			go func() { // so that the target's absence is noticed
				var err error
				for err == nil {
					select {
					case <-lifted:
						written <- nil
						return
					case <-time.After(20 * time.Millisecond):
						_, err = src.TryDo("INCR", "meanwhile")
					}
				}
				written <- err
			}()
			tc.lift(t, dst)
			close(lifted)
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			writeInOrder(t, src, 150, 160)
			r.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst))
			if name == "loading" && !strings.Contains(log.String(), "LOADING") {
				t.Errorf("the reason is not in the log:\n%s", log)
			}
			// What it had acknowledged after its last save is read again.
			again := int64(0)
			if name == "loading" || name == "stopped" {
				again = 1
			}
			if s := r.Status().Get(); s.FullSync.Count != 1 || s.Stream.Reconnects > again {
				t.Errorf("%d copies (%s), %d sessions with the source", s.FullSync.Count, s.FullSync.Reason, s.Stream.Reconnects)
			}
			r.finish(t)
		})
	}
}

// TestTargetConnectionsAreClosed ends every connection to the target again
// and again under writes.
func TestTargetConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	src, dst := testredis.Start(t, debugArgs()...), testredis.Start(t, debugArgs()...)
	fence(t, dst)
	r, _ := startLogged(t, linkTo(src.Addr, dst.Addr))
	r.waitEqualOffsets(t, src)
	for i := range 40 {
		writeInOrder(t, src, 10*i, 10*i+10)
		dst.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	}
	r.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst))
	if s := r.Status().Get(); s.FullSync.Count != 1 || s.Stream.Reconnects != 0 {
		t.Errorf("%d copies (%s), %d sessions with the source", s.FullSync.Count, s.FullSync.Reason, s.Stream.Reconnects)
	}
	r.finish(t)
}

// TestRefusedCommandStops: what waiting does not mend ends the replicator,
// names the key, and a copy after it mends the target.
func TestRefusedCommandStops(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dst *testredis.Server)
		write  func(t *testing.T, src *testredis.Server)
		key    string
		copies int64 // made after the restart
		mend   func(t *testing.T, dst *testredis.Server)
	}{
		"WRONGTYPE": {
			func(t *testing.T, dst *testredis.Server) {
				dst.Do(t, "DEL", "order")
				dst.Do(t, "SET", "order", "no list")
			},
			func(t *testing.T, src *testredis.Server) { writeInOrder(t, src, 50, 60) }, `"order"`, 1, nil,
		},
		"not an integer": {
			func(t *testing.T, dst *testredis.Server) { dst.Do(t, "SET", "count", "x") },
			func(t *testing.T, src *testredis.Server) { writeInOrder(t, src, 50, 60) }, `"count"`, 1, nil,
		},
		"too long for the target": {
			func(t *testing.T, dst *testredis.Server) { dst.Do(t, "CONFIG", "SET", "proto-max-bulk-len", "1048576") },
			func(t *testing.T, src *testredis.Server) { src.Do(t, "SET", "long", strings.Repeat("x", 2<<20)) }, `"long"`, 0,
			func(t *testing.T, dst *testredis.Server) {
				dst.Do(t, "CONFIG", "SET", "proto-max-bulk-len", "536870912")
			},
		},
	} {
		for _, shape := range []string{"standalone", "cluster"} {
			t.Run(name+", "+shape, func(t *testing.T) {
				t.Parallel()
				src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "16mb")...)
				var dst *testredis.Server
				l := linkTo(src.Addr, "")
				if shape == "cluster" {
					dst = testredis.StartCluster(t, 1, 0, debugArgs()...).Masters()[0]
					l.target = "type = \"cluster\"\n"
				} else {
					dst, l.target = testredis.Start(t, debugArgs()...), ""
				}
				l.target += fmt.Sprintf("address = %q\nstale_keys = \"prune\"\nstale_keys_max_share = 1.0", dst.Addr)
				fence(t, dst)
				writeInOrder(t, src, 0, 50)
				r, _ := startLogged(t, l)
				r.waitEqualOffsets(t, src)
				tc.damage(t, dst)
				tc.write(t, src)
				err := r.waitEnd(t)
				if err == nil || !strings.Contains(err.Error(), tc.key) {
					t.Fatalf("it ended with %v", err)
				}
				if strings.Contains(err.Error(), "xxx") {
					t.Error("a value is in the error")
				}
				if tc.mend != nil {
					tc.mend(t, dst)
				}
				r, _ = startLogged(t, l)
				r.waitEqualOffsets(t, src)
				if s := r.Status().Get(); s.FullSync.Count != tc.copies {
					t.Errorf("%d copies after a refused command, want %d", s.FullSync.Count, tc.copies)
				}
				compare(t, contents(t, src), contents(t, dst))
				r.finish(t)
			})
		}
	}
}

// TestClusterDown: a node of the target takes no writes while it knows of a
// slot that nobody has.
func TestClusterDown(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, debugArgs()...)
	dst := testredis.StartCluster(t, 1, 0, debugArgs()...).Masters()[0]
	fence(t, dst)
	r, _ := startLogged(t, link{slots: "0-16383", sources: []string{src.Addr}, target: fmt.Sprintf("type = \"cluster\"\naddress = %q", dst.Addr)})
	writeInOrder(t, src, 0, 50)
	r.waitEqualOffsets(t, src)
	dst.Do(t, "CLUSTER", "DELSLOTS", "1")
	testredis.Eventually(t, 30*time.Second, "the cluster to be down", func() bool {
		return strings.Contains(dst.Do(t, "CLUSTER", "INFO").(string), "cluster_state:fail")
	})
	writeInOrder(t, src, 50, 100)
	testredis.Eventually(t, 30*time.Second, "the status to say why", func() bool { return r.Status().Get().Error != "" })
	t.Log(r.Status().Get().Error)
	dst.Do(t, "CLUSTER", "ADDSLOTS", "1")
	writeInOrder(t, src, 100, 150)
	r.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst))
	if s := r.Status().Get(); s.FullSync.Count != 1 {
		t.Errorf("%d copies (%s)", s.FullSync.Count, s.FullSync.Reason)
	}
	r.finish(t)
}

// TestHangingTarget: a node of the target says nothing. The status says so
// long before the connection is given up.
func TestHangingTarget(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, debugArgs()...)
	dst := testredis.StartCluster(t, 3, 0, debugArgs()...)
	fence(t, dst)
	r, _ := startLogged(t, link{slots: "0-16383", sources: []string{src.Addr}, target: fmt.Sprintf("type = \"cluster\"\naddress = %q", dst.Addrs()[0])})
	writeInOrder(t, src, 0, 50)
	r.waitEqualOffsets(t, src)
	for _, s := range dst.Masters() {
		s.Signal(t, syscall.SIGSTOP)
	}
	writeInOrder(t, src, 50, 100)
	saysWhy := func() bool {
		return slices.ContainsFunc(r.Status().Get().Findings, func(f string) bool { return strings.Contains(f, "the target has applied nothing") })
	}
	testredis.Eventually(t, 30*time.Second, "the status to say why", saysWhy)
	for _, s := range dst.Masters() {
		s.Signal(t, syscall.SIGCONT)
	}
	writeInOrder(t, src, 100, 150)
	r.waitEqualOffsets(t, src)
	testredis.Eventually(t, 30*time.Second, "the finding to go", func() bool { return !saysWhy() })
	compare(t, contents(t, src), contents(t, dst.Masters()...))
	if s := r.Status().Get(); s.FullSync.Count != 1 {
		t.Errorf("%d copies (%s)", s.FullSync.Count, s.FullSync.Reason)
	}
	r.finish(t)
}

// TestTryAgain leaves a slot of the target half moved, with one key on each
// side, when a command of both keys comes.
func TestTryAgain(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, debugArgs()...)
	dst := testredis.StartCluster(t, 2, 0, debugArgs()...)
	fence(t, dst)
	r, _ := startLogged(t, link{slots: "0-16383", sources: []string{src.Addr}, target: fmt.Sprintf("type = \"cluster\"\naddress = %q", dst.Addrs()[0])})
	src.Do(t, "MSET", "{t}1", "a", "{t}2", "b")
	r.waitEqualOffsets(t, src)
	a, b := dst.Masters()[0], dst.Masters()[1]
	slot := fmt.Sprint(a.Do(t, "CLUSTER", "KEYSLOT", "{t}1"))
	if a.Do(t, "CLUSTER", "COUNTKEYSINSLOT", slot) != int64(2) {
		a, b = b, a
	}
	idA, idB := a.Do(t, "CLUSTER", "MYID").(string), b.Do(t, "CLUSTER", "MYID").(string)
	b.Do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", idA)
	a.Do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", idB)
	port := b.Addr[len("127.0.0.1:"):]
	a.Do(t, "MIGRATE", "127.0.0.1", port, "{t}1", "0", "5000")
	src.Do(t, "EVAL", "redis.call('APPEND',KEYS[1],'x') redis.call('RENAME',KEYS[2],KEYS[1])", "2", "{t}1", "{t}2")
	src.Do(t, "SET", "{t}3", "after")
	r.waitReason(t, "on the move")
	a.Do(t, "MIGRATE", "127.0.0.1", port, "{t}2", "0", "5000")
	for _, s := range []*testredis.Server{b, a} {
		s.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", idB)
	}
	r.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst.Masters()...))
	r.finish(t)
}
