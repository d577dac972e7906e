package sidecar_test

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// slowFetches passes connections on to a server; what it answers on one that
// asks for values comes 300 ms late.
func slowFetches(t *testing.T, to string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			late := make(chan struct{})
			go func() {
				marked := sync.OnceFunc(func() { close(late) })
				relay(up, c, func(p []byte) {
					if bytes.Contains(p, []byte("DUMP")) {
						marked()
					}
				})
			}()
			go relay(c, up, func([]byte) {
				select {
				case <-late:
					time.Sleep(300 * time.Millisecond)
				default:
				}
			})
		}
	}()
	return l.Addr().String()
}

// relay passes bytes on until one side ends, then closes both.
func relay(to, from net.Conn, see func([]byte)) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		see(buf[:n])
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestHotPendingKey: a key that is written to faster than its value can be
// fetched does not stay pending: what was in the source at some moment is in
// the target soon after, while the writes go on.
func TestHotPendingKey(t *testing.T) {
	src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	dst := clusterSide(t)
	fence(t, dst)
	r := start(t, link{slots: "0-16383", sources: []string{slowFetches(t, src.Addr)}, target: dst.target})
	r.waitInSync(t)

	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop) })
	var writers sync.WaitGroup
	defer writers.Wait()
	defer end()
	for i := range 2 {
		c, err := testredis.Dial(src.Addr, "")
		if err != nil {
			t.Fatal(err)
		}
		var round [][]string
		for range 20 { // "hot" and "moved" are in slots of different nodes
			round = append(round, []string{"RPUSH", "hot", strconv.Itoa(i)}, []string{"LTRIM", "hot", "-50", "-1"},
				[]string{"LMOVE", "hot", "moved", "LEFT", "RIGHT"}, []string{"LMOVE", "moved", "hot", "RIGHT", "LEFT"}, []string{"INCR", "count"})
		}
		writers.Go(func() {
			defer c.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Pipeline(round...); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
			}
		})
	}
	testredis.Eventually(t, 30*time.Second, "a key to be pending", func() bool { return r.Status().Get().Stream.PendingKeys > 0 })
	var slowest time.Duration
	for range 5 {
		from, err := strconv.ParseInt(infoField(t, src, "master_repl_offset"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		testredis.Eventually(t, 60*time.Second, "the values of that moment, pending ones too", func() bool { return r.Status().Get().AppliedOffset >= from })
		slowest = max(slowest, time.Since(began))
	}
	testredis.Eventually(t, 60*time.Second, "no key to be pending while the writes go on", func() bool { return r.Status().Get().Stream.PendingKeys == 0 })
	count := src.Do(t, "GET", "count")
	end()
	writers.Wait()
	r.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst.masters...))
	if s := r.Status().Get(); s.FullSync.Count != 1 {
		t.Errorf("%d full copies: %s", s.FullSync.Count, s.FullSync.Reason)
	}
	t.Logf("%v rounds written; what the source had was there after %s at the most", count, slowest.Round(time.Millisecond))
	r.finish(t)
}
