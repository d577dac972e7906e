package apply

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// TestWaitForReplicas: a new generation waits for a replica of its holder to
// have it, and for nothing where there is none.
func TestWaitForReplicas(t *testing.T) {
	t.Parallel()
	for replicas := range 2 {
		c := testredis.StartCluster(t, 1, replicas)
		copied(t, NewCluster(options(c.Addrs()...)))
		stats := c.Nodes[0].Do(t, "INFO", "commandstats").(string)
		if waited := strings.Contains(stats, "cmdstat_wait:"); waited != (replicas > 0) {
			t.Errorf("with %d replicas: waited is %v", replicas, waited)
		}
	}
}

// TestChunksAreUsedAgain: a snapshot takes no more memory with every chunk.
func TestChunksAreUsedAgain(t *testing.T) {
	t.Parallel()
	c := testredis.StartCluster(t, 1, 0)
	w := NewCluster(options(c.Addrs()...))
	ctx := t.Context()
	_, err := w.Take(ctx)
	must(t, err)
	defer w.Close()
	must(t, w.BeginSnapshot(ctx))
	seen := map[*chunk]bool{}
	r := &rdb.Record{Key: []byte("key"), Value: largeText(), Idle: -1, Freq: -1}
	for range 1000 {
		must(t, w.Restore(ctx, r, rdb.RestoreOptions{Footer: w.rdbVersion, Replace: true}))
		seen[w.nodes[0].chunk] = true
	}
	must(t, w.Settle(ctx))
	if len(seen) > inflight+2 {
		t.Errorf("%d chunks were made", len(seen))
	}
}

// largeText is the raw value of a string of 10000 bytes.
func largeText() []byte {
	return append([]byte{0x40 | 10000>>8, 10000 & 0xff}, strings.Repeat("x", 10000)...)
}

// BenchmarkClusterRestore writes small strings to a real node; B/op is what a
// value costs the replicator in memory.
func BenchmarkClusterRestore(b *testing.B) {
	c := testredis.StartCluster(b, 1, 0)
	w := NewCluster(options(c.Addrs()...))
	ctx := b.Context()
	if _, err := w.Take(ctx); err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	if err := w.BeginSnapshot(ctx); err != nil {
		b.Fatal(err)
	}
	r := &rdb.Record{Value: append([]byte{0x40, 100}, strings.Repeat("x", 100)...), Idle: -1, Freq: -1}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		r.Key = strconv.AppendInt(append(r.Key[:0], "key:"...), int64(n%100_000), 10)
		if err := w.Restore(ctx, r, rdb.RestoreOptions{Footer: w.rdbVersion, Replace: true}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Settle(ctx); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStream applies commands of a stream to a real server. In user mode
// the cost of a command is that of the replicator without its source.
func BenchmarkStream(b *testing.B) {
	targets := map[string]func(b *testing.B) Writer{
		"standalone": func(b *testing.B) Writer { return NewStandalone(options(testredis.Start(b).Addr)) },
		"cluster":    func(b *testing.B) Writer { return NewCluster(options(testredis.StartCluster(b, 1, 0).Addrs()...)) },
	}
	commands := map[string][]string{"SET": {"SET", "key:12345678", strings.Repeat("x", 100)}, "INCR": {"INCR", "counter:12345678"}}
	for to, target := range targets {
		for name, args := range commands {
			b.Run(to+"/"+name, func(b *testing.B) {
				w := target(b)
				copied(b, w)
				c, ctx := command(b, args...), b.Context()
				b.ReportAllocs()
				for offset := int64(101); b.Loop(); offset++ {
					if err := w.Write(ctx, c, 0, at(offset)); err != nil {
						b.Fatal(err)
					}
					if w.Full() {
						if err := w.Flush(ctx, false); err != nil {
							b.Fatal(err)
						}
					}
				}
				if err := w.Flush(ctx, true); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// TestBatchOfAllWidths: a script is told of commands of any number of
// arguments, moves the frontier over those before one that is refused, and
// repeats none of them.
func TestBatchOfAllWidths(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	var want int64
	end := int64(100)
	for _, argc := range []int{2, 3, 4, 5, 255, 256, 257, 300, 1000, 6999, 7000} {
		args := []string{"RPUSH", "list"}
		if argc == 2 {
			args = []string{"INCR", "n"}
		}
		for len(args) < argc {
			args = append(args, strconv.Itoa(len(args)))
			want++
		}
		end += 10
		write(t, w, end, args...)
	}
	write(t, w, end+10, "PEXPIREAT", "no such key", "1")
	write(t, w, end+20, "INCR", "list") // of the wrong type
	write(t, w, end+30, "INCR", "n")
	err := w.Flush(t.Context(), true)
	var data *DataError
	if !errors.As(err, &data) || data.Command != "INCR" || data.Key != "list" {
		t.Errorf("the batch ended with %v", err)
	}
	wantValue(t, s, "n", "1")
	if got := s.Do(t, "LLEN", "list"); got != want {
		t.Errorf("the list has %v elements, want %d", got, want)
	}
	frontier := s.Do(t, "HGET", w.frontierKey(w.nodes[0].tag), frontierOffset)
	if at := strconv.FormatInt(end+10, 10); frontier != at {
		t.Errorf("the frontier is at %v, want %s", frontier, at)
	}
	missing := s.Do(t, "SMEMBERS", w.pendingKey(w.nodes[0].tag)).([]any)
	if len(missing) != 1 || missing[0] != "no such key" {
		t.Errorf("noted as missing: %q", missing)
	}
}

// TestScriptSaysTooMuch: more arguments than a batch can say of a command
// fail, and are not taken for fewer.
func TestScriptSaysTooMuch(t *testing.T) {
	t.Parallel()
	for _, argc := range []int{headMax, headMax + 1, headMax + 2, 1 << 16, 1<<16 + 2} {
		c := nodeCommand{argc: argc, deadline: true}
		c.to = 20 * argc
		if got := c.head(); got != headDeadline|headMax {
			t.Errorf("%d arguments: %x", argc, got)
		}
	}
}
