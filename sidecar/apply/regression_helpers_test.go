package apply

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

var (
	history      = strings.Repeat("a", 40) // the replication id of the source
	otherHistory = strings.Repeat("b", 40)
)

// at is a position in the source's history.
func at(offset int64) psync.Position { return psync.Position{ReplID: history, Offset: offset} }

func options(addrs ...string) Options {
	return Options{
		Identity: fence.Identity{Pair: "p", Token: "t"}, Addrs: addrs, BatchCount: 1024,
		Log:     slog.New(slog.DiscardHandler),
		Waiting: func(error) {},
		Seen:    func() fence.Seen { return fence.Seen{At: time.Now()} },
	}
}

func command(t testing.TB, args ...string) *resp.Command {
	t.Helper()
	var c resp.Command
	if err := resp.ReadCommand(commandsOf(resp.AppendCommand(nil, args...)), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copied makes w the writer of a target that holds an empty snapshot up to
// offset 100.
func copied(t testing.TB, w Writer) {
	t.Helper()
	ctx := t.Context()
	_, err := w.Take(ctx)
	must(t, err)
	t.Cleanup(func() { _ = w.Close() })
	must(t, w.BeginSnapshot(ctx))
	must(t, w.EndSnapshot(ctx, at(100), false))
	must(t, w.Flush(ctx, true))
}

// write hands one command of the stream to w.
func write(t *testing.T, w Writer, end int64, args ...string) {
	t.Helper()
	must(t, w.Write(t.Context(), command(t, args...), 0, at(end)))
}

// restore writes values of a snapshot under these names.
func restore(ctx context.Context, w Writer, names ...string) error {
	for _, name := range names {
		r := &rdb.Record{Key: []byte(name), Value: []byte{1, 'v'}, Idle: -1, Freq: -1}
		if err := w.Restore(ctx, r, rdb.RestoreOptions{Footer: 10, Replace: true}); err != nil {
			return err
		}
	}
	return nil
}

// wantValue compares a string value; nil stands for a missing key.
func wantValue(t *testing.T, s *testredis.Server, key string, want any) {
	t.Helper()
	if got := s.Do(t, "GET", key); got != want {
		t.Errorf("%s is %v, want %v", key, got, want)
	}
}

func checkpointState(t *testing.T, s *testredis.Server) any {
	t.Helper()
	return s.Do(t, "HGET", wire.CheckpointKey("p", 0), wire.CkptState)
}

// failOver makes the replica a master that lacks what from now on is written
// to the old one; follow turns the old one into its replica.
func failOver(t *testing.T, replica *testredis.Server) { replica.Do(t, "REPLICAOF", "NO", "ONE") }

func follow(t *testing.T, old, master *testredis.Server) {
	host, port, err := net.SplitHostPort(master.Addr)
	must(t, err)
	old.Do(t, "REPLICAOF", host, port)
}

// slowProxy passes connections on to a server, except that it can hold the
// bytes of those that exist already, as a network does that loses packets.
type slowProxy struct {
	addr string
	to   string

	mu    sync.Mutex
	links []*proxyLink
}

type proxyLink struct {
	hold     chan struct{} // closed: bytes pass
	arrived  chan struct{} // closed when held bytes came in
	released chan struct{} // closed when they were passed on, or could not be
	once     sync.Once
}

func startProxy(t *testing.T, to string) *slowProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &slowProxy{addr: l.Addr().String(), to: to}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	return p
}

func (p *slowProxy) pass(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	k := &proxyLink{arrived: make(chan struct{}), released: make(chan struct{})}
	p.mu.Lock()
	p.links = append(p.links, k)
	p.mu.Unlock()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := up.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return // held bytes towards the server are still to be passed on
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		hold := k.hold
		p.mu.Unlock()
		if hold != nil {
			k.once.Do(func() { close(k.arrived) })
			<-hold
		}
		_, err = up.Write(buf[:n])
		if hold != nil {
			close(k.released)
			return
		}
		if err != nil {
			return
		}
	}
}

// holdAll keeps what the existing connections send from now on; the function
// that it returns lets go of the last connection's bytes.
func (p *slowProxy) holdAll() (last *proxyLink, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	hold := make(chan struct{})
	for _, k := range p.links {
		k.hold = hold
	}
	return p.links[len(p.links)-1], sync.OnceFunc(func() { close(hold) })
}
