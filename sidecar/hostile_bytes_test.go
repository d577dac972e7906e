package sidecar_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// cutConn ends a connection after a number of bytes towards the client.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:c.left]) // it is closed anyway
	c.left = 0
	_ = c.Conn.Close()
	return n, io.ErrClosedPipe
}

// TestCutAtEveryByte ends a recorded session after each of its bytes: in the
// answers before PSYNC, in PSYNC's, the snapshot and the stream. What comes
// after must be a right copy, with nothing applied twice.
func TestCutAtEveryByte(t *testing.T) {
	t.Parallel()
	src, rec := recordSmall(t)
	want := contents(t, src)
	session := append(rec.diskless(rec.snapshot, endMarker), rec.stream...)
	intro := len("$000\r\n\r\n")*2 + len(rec.answers["info replication"]) + len(rec.answers["info server"]) + len("+OK\r\n")*2
	var next atomic.Int64
	var wg sync.WaitGroup
	cuts := intro/23 + len(session) + 1
	for range 8 {
		dst := testredis.Start(t, debugArgs()...)
		wg.Go(func() {
			for !t.Failed() {
				i := int(next.Add(1) - 1)
				if i >= cuts {
					return
				}
				at := i - intro/23 // bytes of the session that come
				if at < 0 {
					at *= 23 // the answers before it are checked more coarsely
				}
				if !cutOnce(t, rec, session, intro, at, dst, want) {
					t.Errorf("cut at byte %d of the session", at)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d cuts of a session of %d and %d bytes", cuts, intro, len(session))
}

// cutOnce cuts the first session after at bytes of the answer to PSYNC and
// what follows; below 0, that many bytes before it.
func cutOnce(t *testing.T, rec *recording, session []byte, intro, at int, dst *testredis.Server, want map[string]string) bool {
	dst.Do(t, "FLUSHALL")
	fence(t, dst)
	s := startRecorded(t, rec, func(s *recordedSource) {
		if at < 0 {
			conns := 0
			s.wrap = func(c net.Conn) net.Conn {
				if conns++; conns != 2 { // the first one only looks
					return c
				}
				return &cutConn{c, intro + at}
			}
			return
		}
		s.psync = func(n int, _ []string, w io.Writer) bool {
			if n == 0 {
				_, _ = w.Write(session[:at])
			}
			return n == 0
		}
	})
	r, log := startLogged(t, linkTo(s.addr, dst.Addr))
	r.waitApplied(t, rec.end())
	got := contents(t, dst)
	r.finish(t)
	for k, v := range want {
		if got[k] != v {
			t.Errorf("key %s: source %q, target %q\n%s", k, v, got[k], log)
			return false
		}
	}
	return len(got) == len(want)
}

// TestFlippedSnapshot changes single bytes of a snapshot. With the checksum
// as it was, nothing ends well; with a right one, the target has what a real
// replica of that source has, or the replicator stops and says where.
func TestFlippedSnapshot(t *testing.T) {
	t.Parallel()
	_, rec := recordSmall(t)
	// Without this setting a server takes what would end its own process when
	// it is read, from us as from its own master.
	dst := testredis.Start(t, append(debugArgs(), "--sanitize-dump-payload", "yes")...)
	flip := func(i int, x byte) []byte {
		p := bytes.Clone(rec.snapshot)
		p[i] ^= x
		return p
	}
	play := func(t *testing.T, p []byte) *recordedSource {
		return startRecorded(t, rec, func(s *recordedSource) {
			s.psync = func(_ int, _ []string, w io.Writer) bool {
				_, _ = w.Write(rec.diskless(p, endMarker))
				select { // a length that grew makes the scanner wait for more
				case <-t.Context().Done():
				case <-time.After(3 * time.Second):
				}
				return true
			}
		})
	}
	for i := 3; i < len(rec.snapshot); i += 17 {
		t.Run("checksum wrong, byte "+strconv.Itoa(i), func(t *testing.T) {
			dst.Do(t, "FLUSHALL")
			fence(t, dst)
			s := play(t, flip(i, 0x20))
			r, log := startLogged(t, linkTo(s.addr, dst.Addr))
			var err error
			testredis.Eventually(t, 30*time.Second, "the damage to be seen", func() bool {
				select {
				case err = <-r.done:
					return true
				default:
					return strings.Contains(log.String(), "ended")
				}
			})
			if isComplete(t, dst) {
				t.Errorf("the target is called complete after %v", err)
			}
			if text := log.String(); err != nil && !strings.Contains(err.Error(), "offset") && !strings.Contains(err.Error(), "version") && !strings.Contains(err.Error(), "refused") {
				t.Errorf("the error names no place: %v\n%s", err, text)
			}
			r.stop()
		})
	}
	other := testredis.Start(t, append(debugArgs(), "--repl-diskless-load", "swapdb", "--repl-timeout", "5", "--sanitize-dump-payload", "yes")...)
	copied, refused := 0, 0
	for i := 9; i < len(rec.snapshot)-8; i += 29 {
		t.Run("checksum right, byte "+strconv.Itoa(i), func(t *testing.T) {
			dst.Do(t, "FLUSHALL")
			fence(t, dst)
			s := play(t, reseal(flip(i, 0x01)))
			r, _ := startLogged(t, linkTo(s.addr, dst.Addr))
			var err error
			complete := false
			testredis.Eventually(t, 30*time.Second, "a copy or a reason", func() bool {
				select {
				case err = <-r.done:
					return true
				default:
				}
				st := r.Status().Get()
				// Complete: a deadline that the damage has moved into the past is
				// held back until then, and the key is there.
				complete = !st.FullSync.Running && st.FullSync.Count > 0 && st.AppliedOffset == rec.at && st.Complete
				return complete || st.FullSync.Count > 1
			})
			defer r.stop()
			if !complete {
				if refused++; isComplete(t, dst) {
					t.Errorf("the target is called complete after %v", err)
				}
				return
			}
			copied++
			got := contents(t, dst)
			follow(t, other, s.addr)
			compare(t, contents(t, other), got)
		})
	}
	t.Logf("checksum right: %d copied as a replica would, %d refused", copied, refused)
	if copied == 0 || refused == 0 {
		t.Error("one of the two outcomes was not seen")
	}
}

// follow makes a server a replica of the address, waits until it has its
// copy, and leaves it as a master with that.
func follow(t *testing.T, s *testredis.Server, addr string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Do(t, "FLUSHALL")
	s.Do(t, "REPLICAOF", host, port)
	testredis.Eventually(t, 30*time.Second, "the real replica to have its copy", func() bool {
		return infoField(t, s, "master_link_status") == "up"
	})
	s.Do(t, "REPLICAOF", "NO", "ONE")
}

// TestSilentSource: the stream stands still while the source's offset moves.
func TestSilentSource(t *testing.T) {
	t.Parallel()
	src, rec := recordSmall(t)
	want := contents(t, src)
	dst := testredis.Start(t, debugArgs()...)
	fence(t, dst)
	s := startRecorded(t, rec, func(s *recordedSource) {
		s.psync = func(n int, _ []string, w io.Writer) bool {
			if n == 0 {
				_, _ = w.Write(rec.diskless(rec.snapshot, endMarker))
				<-t.Context().Done()
			}
			return n == 0
		}
	})
	r, log := startLogged(t, linkTo(s.addr, dst.Addr))
	r.waitApplied(t, rec.end())
	if !strings.Contains(log.String(), "the source gives nothing while its master moves on") {
		t.Errorf("the reason is not in the log:\n%s", log)
	}
	compare(t, want, contents(t, dst))
	if st := r.Status().Get(); st.FullSync.Count != 1 || st.FullSync.Partial != 1 {
		t.Errorf("%+v", st.FullSync)
	}
	r.finish(t)
}

// slowConn gives a byte at a time.
type slowConn struct {
	net.Conn
	pause time.Duration
}

func (c slowConn) Write(p []byte) (int, error) {
	for i := range p {
		time.Sleep(c.pause)
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestTrickle: of two pods one answers a byte at a time. It does not keep the
// replicator from the other; and alone, a slow source is a source.
func TestTrickle(t *testing.T) {
	t.Parallel()
	src, rec := recordSmall(t)
	want := contents(t, src)
	t.Run("beside another", func(t *testing.T) {
		t.Parallel()
		dst := testredis.Start(t, debugArgs()...)
		fence(t, dst)
		slow := startRecorded(t, rec, func(s *recordedSource) {
			s.wrap = func(c net.Conn) net.Conn { return slowConn{c, 100 * time.Millisecond} }
		})
		good := startRecorded(t, rec, nil)
		l := linkTo(slow.addr, dst.Addr)
		l.sources = []string{slow.addr, good.addr}
		r, _ := startLogged(t, l)
		if st := r.waitApplied(t, rec.end()); st.Source.Address != good.addr {
			t.Errorf("attached to %s, the slow one", st.Source.Address)
		}
		compare(t, want, contents(t, dst))
		r.finish(t)
	})
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		dst := testredis.Start(t, debugArgs()...)
		fence(t, dst)
		s := startRecorded(t, rec, func(s *recordedSource) {
			s.psync = func(_ int, args []string, w io.Writer) bool {
				s.honest(args, slowConn{w.(net.Conn), time.Millisecond})
				<-t.Context().Done()
				return true
			}
		})
		r, _ := startLogged(t, linkTo(s.addr, dst.Addr))
		r.waitApplied(t, rec.end())
		compare(t, want, contents(t, dst))
		r.finish(t)
	})
}
