package sidecar_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	comparing "github.com/redis-sync/kubectl-redis-sync/sidecar/compare"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

func (l link) config(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "sync.toml"), l.toml(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// verifyBoth compares the two sides of a link, and prints what it found.
func verifyBoth(t *testing.T, l link, opts comparing.Options) *wire.VerifyResult {
	t.Helper()
	result, err := comparing.Run(t.Context(), l.config(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := verify.WriteText(&text, result); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	return result
}

// found lists the kinds and keys of a result.
func found(r *wire.VerifyResult) string {
	var all []string
	for _, s := range r.Samples {
		all = append(all, string(s.Kind)+" "+strings.Trim(s.Key, `"`))
	}
	return strings.Join(all, ", ")
}

// TestVerify copies three shards into one server and into a cluster, and
// compares under writes what the replicators make of it.
func TestVerify(t *testing.T) {
	t.Parallel()
	fields := 100_000
	if os.Getenv("BIG_VALUES") != "" {
		fields = 1_000_000
	}
	for _, to := range []string{"standalone", "cluster"} {
		t.Run(to, func(t *testing.T) {
			src := testredis.StartCluster(t, 3, 0)
			dst := standaloneSide(t)
			if to == "cluster" {
				dst = clusterSide(t)
			}
			fence(t, dst)
			for i := range 300 {
				src.Do(t, "SET", "string:"+strconv.Itoa(i), strings.Repeat("v", i))
			}
			for from := 1; from <= fields; from += 2000 { // a node that is busy for long counts as failed
				src.Do(t, "EVAL", "for i=ARGV[1],ARGV[1]+1999 do redis.call('HSET',KEYS[1],'field:'..i,'value '..i) end", "1", "hash", strconv.Itoa(from))
			}
			src.Do(t, "EVAL", "for i=1,50 do redis.call('XADD',KEYS[1],i..'-1','f',i) end", "1", "stream")
			src.Do(t, "XGROUP", "CREATE", "stream", "group", "0")
			src.Do(t, "XGROUP", "CREATE", "stream", "other", "20-1")
			src.Do(t, "XREADGROUP", "GROUP", "group", "c", "COUNT", "30", "STREAMS", "stream", ">")
			src.Do(t, "SET", "deadline", "v", "PXAT", "4102444800123")

			var sources []string
			for _, m := range src.Masters() {
				sources = append(sources, m.Addr)
			}
			var l link
			for shard := range 3 {
				l = link{shard: shard, slots: strconv.Itoa(shard*16384/3) + "-" + strconv.Itoa((shard+1)*16384/3-1), sources: sources, target: dst.target}
				defer start(t, l).finish(t)
			}
			for _, m := range src.Masters() {
				// What comes last in a shard's stream is there: so is the rest.
				tag := tagOn(t, m)
				m.Do(t, "SET", tag, "end")
				testredis.Eventually(t, 60*time.Second, "the copy of a shard", func() bool { return dst.Do(t, "GET", tag) == "end" })
			}

			ctx, stop := context.WithCancel(t.Context())
			written := make(chan error, 1)
			go func() { written <- keepWriting(ctx, src) }()
			equal := verifyBoth(t, l, comparing.Options{Source: "a", Rounds: 20})
			if !equal.Equal() || equal.Exact || equal.Compared < 300 {
				t.Errorf("under writes: %+v", equal)
			}
			differences := []struct{ kind, key, do, undo string }{
				{"different", "hash", "HSET hash field:77777 other", "HSET hash field:77777 value\u00a077777"},
				{"different", "stream", "XACK stream group 7-1", "XCLAIM stream group c 0 7-1 FORCE JUSTID"},
				{"different", "stream", "XGROUP SETID stream other 21-1", "XGROUP SETID stream other 20-1"},
				{"ttl", "deadline", "PEXPIREAT deadline 4102448400123", "PEXPIREAT deadline 4102444800123"},
				{"missing", "string:7", "DEL string:7", "SET string:7 vvvvvvv"},
				{"extra", "nobody", "SET nobody 1", "DEL nobody"},
			}
			for _, d := range differences {
				dst.Do(t, words(d.do)...)
				r := verifyBoth(t, l, comparing.Options{Rounds: 20})
				if found(r) != d.kind+" "+d.key || !r.Positions || r.Exact {
					t.Errorf("%s: found %q, positions %v (%s), exact %v", d.do, found(r), r.Positions, r.PositionsWhy, r.Exact)
				}
				dst.Do(t, words(d.undo)...)
			}
			stop()
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			testredis.Eventually(t, 120*time.Second, "an exact result at rest", func() bool {
				r := verifyBoth(t, l, comparing.Options{})
				if !r.Equal() {
					t.Fatalf("at rest: found %q", found(r))
				}
				return r.Exact
			})
			sample := comparing.Options{Mode: wire.VerifySample, SampleKeys: 50}
			if r := verifyBoth(t, l, sample); !r.Equal() || r.Compared == 0 || r.Compared > 60 || r.Target.Keys > 60 {
				t.Errorf("sample: found %q, %d compared, %d of the target", found(r), r.Compared, r.Target.Keys)
			}
			for i := range 300 {
				dst.Do(t, "APPEND", "string:"+strconv.Itoa(i), "!")
			}
			if r := verifyBoth(t, l, sample); r.Different < 10 {
				t.Errorf("sample: found %d of nearly all", r.Different)
			}
		})
	}
}

// words splits a command; a no-break space stands for a space in an argument.
func words(line string) []string {
	list := strings.Fields(strings.ReplaceAll(line, "\u00a0", "\x01"))
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], "\x01", " ")
	}
	return list
}

// tagOn finds a key that a master serves.
func tagOn(t *testing.T, m *testredis.Server) string {
	t.Helper()
	key := ""
	testredis.Eventually(t, 60*time.Second, "a key that "+m.Addr+" serves", func() bool {
		for i := range 1000 {
			key = "end:" + strconv.Itoa(i)
			if _, err := m.TryDo("EXISTS", key); err == nil {
				return true
			}
		}
		return false
	})
	return key
}

// keepWriting writes commands that must not be applied twice.
func keepWriting(ctx context.Context, c *testredis.Cluster) error {
	for i := 0; ctx.Err() == nil; i++ {
		n := strconv.Itoa(i % 100)
		for _, m := range c.Masters() {
			for _, command := range [][]string{{"INCR", "counter:" + n}, {"RPUSH", "list:" + n, n}, {"HINCRBY", "live:" + n, "f", "1"}, {"DEL", "list:" + strconv.Itoa((i+50)%100)}} {
				if _, err := m.TryDo(command...); err != nil && !strings.HasPrefix(err.Error(), "MOVED") {
					return err
				}
			}
		}
	}
	return nil
}

// TestVerifyBehind: with a replicator that is away, the text says that what
// differs may be late.
func TestVerifyBehind(t *testing.T) {
	t.Parallel()
	src, dst := testredis.Start(t), standaloneSide(t)
	fence(t, dst)
	l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
	if r := verifyBoth(t, l, comparing.Options{}); !r.Equal() || r.Exact || !strings.Contains(r.PositionsWhy, "no checkpoint of shard 0") {
		t.Errorf("before the copy: %+v", r)
	}
	r := start(t, l)
	r.waitInSync(t)
	r.finish(t)
	src.Do(t, "SET", "k", "v")
	result := verifyBoth(t, l, comparing.Options{Rounds: 2})
	if found(result) != "missing k" || result.Positions || !strings.Contains(result.PositionsWhy, "behind and does not move") {
		t.Errorf("found %q, positions %v: %s", found(result), result.Positions, result.PositionsWhy)
	}
	// A value that is small on the source says nothing about the target's.
	dst.Do(t, "SET", "k", "v")
	src.Do(t, "SET", "large", "v")
	dst.Do(t, "SETRANGE", "large", "40000000", "x")
	if result := verifyBoth(t, l, comparing.Options{Rounds: 1}); found(result) != "different large" {
		t.Errorf("found %q, expected the large one", found(result))
	}
	l.sources = []string{src.Addr, dst.masters[0].Addr}
	if _, err := comparing.Run(t.Context(), l.config(t), comparing.Options{}); err == nil || !strings.Contains(err.Error(), "both say") {
		t.Errorf("two masters: %v", err)
	}
}
