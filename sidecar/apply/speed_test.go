package apply

import (
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
		must(t, w.Restore(ctx, r, rdb.RestoreOptions{Footer: 10, Replace: true}))
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
		if err := w.Restore(ctx, r, rdb.RestoreOptions{Footer: 10, Replace: true}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Settle(ctx); err != nil {
		b.Fatal(err)
	}
}
