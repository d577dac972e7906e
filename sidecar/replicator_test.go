package sidecar_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

// link is one replicator of a test.
type link struct {
	shard   int
	slots   string
	sources []string
	target  string // TOML of [target], without the table's name
	source  string // more of [source]
	extra   string // more of sync.toml
	pair    string // "p" when empty
	epoch   int    // 0: 1
}

func (l link) toml(dir string) string {
	quoted := make([]string, len(l.sources))
	for i, s := range l.sources {
		quoted[i] = strconv.Quote(s)
	}
	return fmt.Sprintf(`type = "sync"
[link]
pair = %q
site = "b"
shard = %d
epoch = %d
slots = %q
[source]
address = %s
candidates = [%s]
%s
[target]
%s
[advanced]
dir = %q
%s
`, cmp.Or(l.pair, "p"), l.shard, max(1, l.epoch), l.slots, quoted[0], strings.Join(quoted, ","), l.source, l.target, dir, l.extra)
}

// running is a replicator in this process.
type running struct {
	*sidecar.Replicator
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, l link) *running {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "sync.toml"), l.toml(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	out := io.Discard
	if os.Getenv("SYNC_LOG") != "" {
		out = os.Stderr
	}
	r, err := sidecar.New(cfg, "test", slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{Replicator: r, stop: cancel, done: make(chan error, 1)}
	go func() { run.done <- r.Run(ctx) }()
	t.Cleanup(func() { cancel() })
	return run
}

func (r *running) waitInSync(t *testing.T) wire.Status {
	t.Helper()
	var s wire.Status
	testredis.Eventually(t, 60*time.Second, "the replicator to be in sync", func() bool {
		select {
		case err := <-r.done:
			t.Fatalf("the replicator ended: %v", err)
		default:
		}
		s = r.Status().Get()
		return s.InSync
	})
	return s
}

func (r *running) finish(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			t.Fatalf("drain: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the replicator did not drain within 30 s")
	}
}

// fullText is what the tests compare: every key of a server by database,
// with the digest of its value and its expiry; our own keys left out.
func contents(t *testing.T, servers ...*testredis.Server) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, s := range servers {
		dbs := 4
		if info, _ := s.Do(t, "INFO", "cluster").(string); strings.Contains(info, "cluster_enabled:1") {
			dbs = 1
		}
		for db := range dbs {
			if db > 0 {
				s.Do(t, "SELECT", strconv.Itoa(db))
			}
			for _, k := range s.Do(t, "KEYS", "*").([]any) {
				key := k.(string)
				if strings.HasPrefix(key, wire.KeyPrefix) {
					continue
				}
				digest := s.Do(t, "DEBUG", "DIGEST-VALUE", key).([]any)[0]
				all[fmt.Sprintf("%d %q", db, key)] = fmt.Sprint(digest, " ", s.Do(t, "PEXPIRETIME", key))
			}
		}
		if dbs > 1 {
			s.Do(t, "SELECT", "0")
		}
	}
	return all
}

func compare(t *testing.T, source, target map[string]string) {
	t.Helper()
	bad := 0
	for k, v := range source {
		if target[k] != v && bad < 10 {
			bad++
			t.Errorf("key %s: source %q, target %q", k, v, target[k])
		}
	}
	for k := range target {
		if _, ok := source[k]; !ok && bad < 10 {
			bad++
			t.Errorf("key %s is only on the target", k)
		}
	}
	if len(source) == 0 {
		t.Error("the source is empty: nothing was compared")
	}
	t.Logf("%d keys compared", len(source))
}

// compareMoved is compare where slots of the target have moved: MIGRATE gives
// deadlines as the time that is left (cluster.c, migrateCommand), so they come
// later by as long as it takes.
func compareMoved(t *testing.T, source, target map[string]string) {
	t.Helper()
	for k, v := range source {
		want, until, _ := strings.Cut(v, " ")
		got, now, _ := strings.Cut(target[k], " ")
		a, errA := strconv.ParseInt(until, 10, 64)
		b, errB := strconv.ParseInt(now, 10, 64)
		if got == want && errA == nil && errB == nil && a > 0 && b >= a && b-a < 5000 {
			target[k] = v
		}
	}
	compare(t, source, target)
}

// doer is a server, or a cluster that follows MOVED.
type doer interface {
	Do(t testing.TB, args ...string) any
}

// seedData writes values of every type and encoding that Redis 7.0 has.
func seedData(t *testing.T, d doer, dbs bool) {
	t.Helper()
	long := strings.Repeat("x", 100)
	d.Do(t, "SET", "int", "12345")
	d.Do(t, "SET", "empty", "")
	d.Do(t, "SET", "", "the empty key")
	d.Do(t, "SET", "bin\x00\r\n\xff", "\x00\x01\xfe")
	d.Do(t, "SET", "lzf", strings.Repeat("abcabc", 500))
	d.Do(t, "SET", "big", strings.Repeat("0123456789abcdef", 1<<16))
	d.Do(t, "SET", "near", "v", "PX", "100000000")
	d.Do(t, "SET", "nearer", "v", "PX", "600000") // held back until in sync
	d.Do(t, "SET", "{rn}a", "v", "PX", "700000")
	d.Do(t, "SET", "12", "an integer key")
	for i := range 200 {
		n := strconv.Itoa(i)
		d.Do(t, "RPUSH", "list:big", n, long+n)
		d.Do(t, "SADD", "set:hash", "m"+n)
		d.Do(t, "SADD", "set:int", n)
		d.Do(t, "HSET", "hash:big", "f"+n, long+n)
		d.Do(t, "ZADD", "zset:skip", n+".5", "m"+long+n)
		d.Do(t, "XADD", "stream", strconv.Itoa(i+1)+"-1", "f", n, "f", "twice")
		d.Do(t, "PFADD", "hll", n)
	}
	d.Do(t, "RPUSH", "list:plain", strings.Repeat("p", 9000), "q")
	d.Do(t, "RPUSH", "list:small", "a", "1", "")
	d.Do(t, "HSET", "hash:small", "a", "1", "b", "")
	d.Do(t, "ZADD", "zset:small", "inf", "a", "-inf", "b", "0.1", "c", "-0", "d")
	d.Do(t, "SADD", "set:list", "a", "b")
	d.Do(t, "XGROUP", "CREATE", "stream", "g", "0")
	d.Do(t, "XREADGROUP", "GROUP", "g", "c1", "COUNT", "50", "STREAMS", "stream", ">")
	d.Do(t, "XDEL", "stream", "7-1", "100-1")
	d.Do(t, "GEOADD", "geo", "13.361389", "38.115556", "Palermo")
	d.Do(t, "SETBIT", "bits", "70001", "1")
	if dbs {
		d.Do(t, "SELECT", "3")
		d.Do(t, "SET", "in three", "3")
		d.Do(t, "SELECT", "0")
	}
}

// writeSome runs n random commands, most of which must be applied exactly
// once to give the same result.
func writeSome(t *testing.T, d doer, rnd *rand.Rand, n int) {
	t.Helper()
	for range n {
		k := strconv.Itoa(rnd.IntN(200))
		v := strconv.Itoa(rnd.IntN(1 << 30))
		switch rnd.IntN(16) {
		case 0:
			d.Do(t, "INCR", "n:"+k)
		case 1:
			d.Do(t, "APPEND", "a:"+k, v)
		case 2:
			d.Do(t, "LPUSH", "l:"+k, v)
		case 3:
			d.Do(t, "RPOP", "l:"+k)
		case 4:
			d.Do(t, "XADD", "x:"+k, "*", "f", v)
		case 5:
			d.Do(t, "ZINCRBY", "z:"+k, "1.5", "m")
		case 6:
			d.Do(t, "HINCRBY", "h:"+k, "f", "3")
		case 7:
			d.Do(t, "SETRANGE", "s:"+k, "5", v)
		case 8:
			d.Do(t, "EXPIRE", "n:"+k, "10000")
		case 9:
			d.Do(t, "PERSIST", "n:"+k)
		case 10:
			d.Do(t, "SET", "v:"+k, v)
		case 11:
			d.Do(t, "DEL", "v:"+k)
		case 12:
			d.Do(t, "EVAL", "redis.call('INCR',KEYS[1]) return redis.call('LPUSH',KEYS[2],ARGV[1])", "2", "{e"+k+"}n", "{e"+k+"}l", v)
		case 13:
			d.Do(t, "MSET", "{m"+k+"}1", v, "{m"+k+"}2", v)
		case 14:
			d.Do(t, "INCRBYFLOAT", "f:"+k, "0.25")
		case 15:
			d.Do(t, "SET", "{r"+k+"}a", v)
			d.Do(t, "RENAME", "{r"+k+"}a", "{r"+k+"}b")
		}
	}
}

func debugArgs() []string {
	return []string{"--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"}
}

func fence(t *testing.T, d doer) { d.Do(t, "SET", wire.FenceKey("p"), "1") }

// side is one end of a test, of any shape.
type side struct {
	doer
	masters []*testredis.Server
	links   func(target string) []link // as a source
	target  string                     // as a target
}

func standaloneSide(t *testing.T) side {
	s := testredis.Start(t, debugArgs()...)
	return side{
		doer: s, masters: []*testredis.Server{s}, target: fmt.Sprintf("type = \"standalone\"\naddress = %q", s.Addr),
		links: func(target string) []link {
			return []link{{slots: "0-16383", sources: []string{s.Addr}, target: target}}
		},
	}
}

func clusterSide(t *testing.T) side {
	c := testredis.StartCluster(t, 3, 1, debugArgs()...)
	return side{
		doer: c, masters: c.Masters(), target: fmt.Sprintf("type = \"cluster\"\naddress = %q", c.Addrs()[0]),
		links: func(target string) []link {
			var ls []link
			for i := range c.Masters() {
				ls = append(ls, link{shard: i, slots: clusterSlots(t, c.Masters()[i]), sources: c.Addrs(), target: target})
			}
			return ls
		},
	}
}

// clusterSlots asks a master which slots it has.
func clusterSlots(t *testing.T, s *testredis.Server) string {
	t.Helper()
	for line := range strings.Lines(s.Do(t, "CLUSTER", "NODES").(string)) {
		if f := strings.Fields(line); strings.Contains(f[2], "myself") {
			return strings.Join(f[8:], ",")
		}
	}
	t.Fatal("CLUSTER NODES has no line for the node itself")
	return ""
}

// TestEveryShape copies between all shapes: a snapshot with all types, the
// stream after it, and restarts in the middle of non-idempotent writes.
func TestEveryShape(t *testing.T) {
	t.Parallel()
	shapes := map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide}
	for from, makeSource := range shapes {
		for to, makeTarget := range shapes {
			t.Run(from+" to "+to, func(t *testing.T) {
				src, dst := makeSource(t), makeTarget(t)
				fence(t, dst)
				seedData(t, src, from == "standalone" && to == "standalone")
				rnd := rand.New(rand.NewPCG(7, 7))
				writeSome(t, src, rnd, 500)
				var runs []*running
				for _, l := range src.links(dst.target) {
					runs = append(runs, start(t, l))
				}
				for _, r := range runs {
					if s := r.waitInSync(t); s.Delivery != wire.ExactlyOnce || !s.Complete || s.FullSync.Count != 1 {
						t.Errorf("status after the first copy: %+v", s)
					}
				}
				compare(t, contents(t, src.masters...), contents(t, dst.masters...))
				for range 3 { // replace every replicator while writes go on
					done := make(chan struct{})
					go func() { defer close(done); writeSome(t, src, rnd, 1500) }()
					time.Sleep(50 * time.Millisecond)
					for i, l := range src.links(dst.target) {
						runs[i].finish(t)
						runs[i] = start(t, l)
					}
					<-done
				}
				for _, r := range runs {
					if s := r.waitInSync(t); s.FullSync.Count != 0 || s.FullSync.Partial != 1 {
						t.Errorf("a restart did not resume: %+v", s.FullSync)
					}
				}
				compare(t, contents(t, src.masters...), contents(t, dst.masters...))
				for _, r := range runs {
					r.finish(t)
				}
			})
		}
	}
}
