package apply

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
)

// TestDelayedBatchIsNotAppliedTwice: the network holds a batch back until the
// writer has given up its connection and sent the batch over another.
func TestDelayedBatchIsNotAppliedTwice(t *testing.T) {
	t.Parallel()
	s := testredis.Start(t)
	p := startProxy(t, s.Addr)
	o := options(p.addr)
	o.Conn.Timeout = 500 * time.Millisecond
	w := NewStandalone(o)
	copied(t, w)
	link, release := p.holdAll()
	defer release()
	write(t, w, 200, "INCR", "n")
	must(t, w.Flush(t.Context(), true))
	select {
	case <-link.arrived:
	default:
		t.Fatal("no bytes were held back; nothing is shown")
	}
	wantValue(t, s, "n", "1")
	release()
	<-link.released
	time.Sleep(200 * time.Millisecond) // what came late would be applied by now
	wantValue(t, s, "n", "1")
}

// TestOwnOldConnectionIsEnded: a writer that connects again ends its own
// connection of before, of which bytes may still be on their way.
func TestOwnOldConnectionIsEnded(t *testing.T) {
	s := testredis.Start(t)
	w := NewStandalone(options(s.Addr))
	copied(t, w)
	old := w.c
	defer old.Close()
	w.c = nil // not closed, as when the network has lost it
	must(t, w.Everywhere(t.Context(), "SET", "k", "v"))
	if answer, err := old.Do("PING"); err == nil {
		t.Errorf("the old connection still lives: %+v", answer)
	}
	if _, err := w.c.Do("PING"); err != nil {
		t.Errorf("the new connection: %v", err)
	}
}

// TestClosedConnectionSendsNothing: what a connection has not sent when it is
// closed is not sent any more.
func TestClosedConnectionSendsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c, err := conn.Dial(t.Context(), l.Addr().String(), conn.Options{Timeout: 300 * time.Millisecond})
	must(t, err)
	server, err := l.Accept()
	must(t, err)
	defer server.Close()
	for err == nil { // until the sockets are full
		_, err = c.Write(make([]byte, 64<<10))
	}
	must(t, c.Close())
	must(t, server.SetReadDeadline(time.Now().Add(5*time.Second)))
	if n, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the close %d bytes came, and then %v; want a reset", n, err)
	}
}

// TestFailoverBetweenChunks: the target fails over in the middle of a
// snapshot, and the new master lacks a chunk that the old one acknowledged.
func TestFailoverBetweenChunks(t *testing.T) {
	a := testredis.Start(t)
	b := testredis.StartReplica(t, a)
	ctx := t.Context()
	w := NewStandalone(options(a.Addr, b.Addr))
	_, err := w.Take(ctx)
	must(t, err)
	defer w.Close()
	must(t, w.BeginSnapshot(ctx))
	testredis.Eventually(t, 5*time.Second, "the replica knows of the snapshot", func() bool { return checkpointState(t, b) == wire.CkptStateFull })
	failOver(t, b)
	must(t, restore(ctx, w, "first"))
	must(t, w.Settle(ctx))
	follow(t, a, b)
	err = restore(ctx, w, "second")
	if err == nil {
		err = w.EndSnapshot(ctx, at(100), false)
	}
	if !errors.Is(err, ErrRewound) {
		t.Errorf("the snapshot ended with %v, want %v", err, ErrRewound)
	}
	if got := checkpointState(t, b); got != wire.CkptStateFull {
		t.Errorf("the new master, which lacks a key, has a checkpoint in state %v", got)
	}
}

// TestFailoverBeforeScriptLoad: a command outside of a batch is the first to
// find the new master, which lacks a batch that the old one acknowledged.
func TestFailoverBeforeScriptLoad(t *testing.T) {
	a := testredis.Start(t)
	b := testredis.StartReplica(t, a)
	ctx := t.Context()
	w := NewStandalone(options(a.Addr, b.Addr))
	copied(t, w)
	testredis.Eventually(t, 5*time.Second, "the replica has the checkpoint", func() bool { return checkpointState(t, b) == wire.CkptStateStream })
	failOver(t, b)
	write(t, w, 200, "SET", "lost", "x")
	must(t, w.Flush(ctx, true))
	follow(t, a, b)
	_ = w.c.Close()
	err := w.Everywhere(ctx, "SCRIPT", "LOAD", "return 1")
	if !errors.Is(err, ErrRewound) {
		write(t, w, 300, "SET", "next", "x")
		flushed := w.Flush(ctx, true)
		t.Errorf("SCRIPT LOAD ended with %v, want %v; then a batch with %v, key lost: %v, key next: %v",
			err, ErrRewound, flushed, b.Do(t, "GET", "lost"), b.Do(t, "GET", "next"))
	}
}

// TestEverywhereAfterOpenBatch: a command outside of a batch gets its own
// answer, not that of the batch in flight.
func TestEverywhereAfterOpenBatch(t *testing.T) {
	t.Parallel()
	s := testredis.Start(t)
	c := testredis.StartCluster(t, 1, 0)
	for name, w := range map[string]Writer{"standalone": NewStandalone(options(s.Addr)), "cluster": NewCluster(options(c.Addrs()...))} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			copied(t, w)
			write(t, w, 200, "INCR", "n")
			must(t, w.Flush(ctx, false))
			var refused *DataError
			if err := w.Everywhere(ctx, "SCRIPT", "NONSENSE"); !errors.As(err, &refused) {
				t.Errorf("SCRIPT NONSENSE ended with %v, want the server's refusal", err)
			}
		})
	}
}

// TestTwoMastersAreNotWrittenTo: without a Sentinel nobody says which of two
// masters is the right one.
func TestTwoMastersAreNotWrittenTo(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	o := options(a.Addr, b.Addr)
	o.Waiting = func(err error) { cancel(err) }
	w := NewStandalone(o)
	defer w.Close()
	var none *NoMasterError
	if _, err := w.Take(ctx); !errors.As(err, &none) || !strings.Contains(err.Error(), "both say that they are the master") {
		t.Errorf("taking a target with two masters ended with: %v", err)
	}
	for _, s := range []*testredis.Server{a, b} {
		if n := s.Do(t, "DBSIZE"); n != int64(0) {
			t.Errorf("%s has %v keys, want none", s.Addr, n)
		}
	}
}

// TestOldConnectionAtReplicaIsEnded: a connection of the writer before waits
// at a replica, which a failover makes a master.
func TestOldConnectionAtReplicaIsEnded(t *testing.T) {
	a := testredis.Start(t)
	b := testredis.StartReplica(t, a)
	old, err := testredis.Dial(b.Addr, "")
	must(t, err)
	defer old.Close()
	_, err = old.Do("CLIENT", "SETNAME", wire.ConnName("p", 0, 0, "1:old"))
	must(t, err)
	w := NewStandalone(options(a.Addr, b.Addr))
	defer w.Close()
	_, err = w.Take(t.Context())
	must(t, err)
	if answer, err := old.Do("PING"); err == nil {
		t.Errorf("the old connection still lives: %v", answer)
	}
}

// TestOwnIncarnationIsNoRival: the answer to raising the incarnation got lost.
func TestOwnIncarnationIsNoRival(t *testing.T) {
	s := testredis.Start(t)
	w := NewStandalone(options(s.Addr))
	_, err := w.Take(t.Context())
	must(t, err)
	defer w.Close()
	s.Do(t, "SET", wire.IncarnationKey("p", 0), "7:t")
	if _, err := w.Take(t.Context()); err != nil {
		var superseded *fence.SupersededError
		t.Errorf("superseded by itself: %v: %v", errors.As(err, &superseded), err)
	}
}

// TestUnknownScriptIsRefused: an EVALSHA whose script the target does not
// know is lost unless it is an error.
func TestUnknownScriptIsRefused(t *testing.T) {
	t.Parallel()
	s := testredis.Start(t)
	c := testredis.StartCluster(t, 1, 0)
	for name, w := range map[string]Writer{"standalone": NewStandalone(options(s.Addr)), "cluster": NewCluster(options(c.Addrs()...))} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			copied(t, w)
			err := w.Write(ctx, command(t, "EVALSHA", strings.Repeat("0", 40), "1", "key"), 0, at(200))
			if err == nil {
				err = w.Flush(ctx, true)
			}
			var refused *DataError
			if !errors.As(err, &refused) || refused.Key != "key" {
				t.Errorf("EVALSHA ended with %v, want a refusal that names its key", err)
			}
		})
	}
	// The batch was applied but for the script: its checkpoint is void.
	if got := checkpointState(t, s); got != wire.CkptStateFull {
		t.Errorf("the checkpoint is in state %v, want %s", got, wire.CkptStateFull)
	}
}

// TestReleaseLeavesFarDeadlines: the walk that releases held deadlines comes
// by keys whose deadline is years away, and was never held.
func TestReleaseLeavesFarDeadlines(t *testing.T) {
	s := testredis.Start(t)
	ctx := t.Context()
	w := NewStandalone(options(s.Addr))
	copied(t, w)
	now := time.Now()
	far := map[string]int64{}
	for name, years := range map[string]int{"20 years": 20, "34 years": 34, "36 years": 36, "100 years": 100} {
		far[name] = now.AddDate(years, 0, 0).UnixMilli()
	}
	soon := now.Add(time.Hour).UnixMilli()
	for name, when := range far {
		s.Do(t, "SET", name, "v", "PXAT", strconv.FormatInt(when, 10))
		must(t, w.Release(ctx, 0, []byte(name)))
	}
	s.Do(t, "SET", "held", "v", "PXAT", strconv.FormatInt(soon+wire.HeldMillis, 10))
	must(t, w.Release(ctx, 0, []byte("held")))
	must(t, w.Settle(ctx))
	for name, want := range far {
		if got := s.Do(t, "PEXPIRETIME", name); got != want {
			t.Errorf("the deadline in %s is %v, want %d", name, got, want)
		}
	}
	if got := s.Do(t, "PEXPIRETIME", "held"); got != soon {
		t.Errorf("the held deadline is %v, want %d", got, soon)
	}
}

// TestNotPassedInTransaction: what is left out inside of an open transaction
// is not applied, whatever is answered meanwhile.
func TestNotPassedInTransaction(t *testing.T) {
	s := testredis.Start(t)
	w := NewStandalone(options(s.Addr))
	copied(t, w)
	must(t, w.Entail(t.Context(), [][]byte{[]byte("SADD"), []byte("k"), []byte("m")}, 0, at(150)))
	must(t, w.Flush(t.Context(), false))
	w.Save()
	write(t, w, 300, "SADD", "k", "n")
	must(t, w.HoldBack(t.Context()))
	w.Rollback()
	must(t, w.Flush(t.Context(), true))
	if w.Applied().Offset != 150 {
		t.Errorf("applied up to %d", w.Applied().Offset)
	}
}

// TestTransactionTooLargeForTarget: a transaction that is small at the source
// may be one that the target ends the connection for. That is said, and not
// tried for ever.
func TestTransactionTooLargeForTarget(t *testing.T) {
	s := testredis.Start(t, "--client-query-buffer-limit", "1mb")
	o := options(s.Addr)
	o.Bulk, o.MaxQueued = bulk.New(t.TempDir(), 0), 1<<20
	w := NewStandalone(o)
	copied(t, w)
	w.Save()
	var err error
	i := 0
	for ; i < 20_000 && err == nil; i++ {
		err = w.Write(t.Context(), command(t, "PERSIST", "k"), 0, at(int64(200+i)))
	}
	if err == nil || !strings.Contains(err.Error(), "client-query-buffer-limit") || i < 1000 {
		t.Errorf("after %d commands: %v", i, err)
	}
}
