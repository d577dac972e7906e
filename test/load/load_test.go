package load

import (
	"context"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestFillWritesEveryEncoding fails when the data set no longer covers an
// encoding that Redis 7.0 writes.
func TestFillWritesEveryEncoding(t *testing.T) {
	server := testredis.Start(t)
	client, err := Connect("standalone", server.Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	filled, err := Fill(ctx, client, 500, 1)
	if err != nil {
		t.Fatal(err)
	}
	if filled.Total != int64(filled.Keys) {
		t.Errorf("%d keys written, %d there", filled.Keys, filled.Total)
	}
	seen := map[string]bool{}
	scan := client.Scan(ctx, 0, "", 1000).Iterator()
	for scan.Next(ctx) {
		kind, err := client.Type(ctx, scan.Val()).Result()
		if err != nil {
			t.Fatal(err)
		}
		encoding, err := client.ObjectEncoding(ctx, scan.Val()).Result()
		if err != nil {
			t.Fatalf("encoding of %q: %v", scan.Val(), err)
		}
		seen[kind+" "+encoding] = true
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"string int", "string embstr", "string raw", "list quicklist", "set intset", "set hashtable",
		"hash listpack", "hash hashtable", "zset listpack", "zset skiplist", "stream stream",
	} {
		if !seen[want] {
			t.Errorf("no key is a %s", want)
		}
	}
	again, err := Fill(ctx, client, 500, 1)
	if err != nil {
		t.Fatalf("a second fill: %v", err)
	}
	if again.Total != filled.Total {
		t.Errorf("a second fill made %d keys of %d", again.Total, filled.Total)
	}
}

// TestWritersCountWhatRedisHolds compares the counters with the acknowledged
// steps, and sees that every kind of step was made.
func TestWritersCountWhatRedisHolds(t *testing.T) {
	server := testredis.Start(t)
	client, err := Connect("standalone", server.Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if err := client.FunctionLoadReplace(ctx, library).Err(); err != nil {
		t.Fatal(err)
	}
	w := &Writers{Client: client, Workers: 3, Rate: 1500, Seed: 1}
	running, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := w.Run(running); err != nil {
		t.Fatal(err)
	}
	stats := w.Stats()
	if stats.Acknowledged < 1000 || stats.Unknown != 0 || stats.Running {
		t.Fatalf("unexpected counts: %+v", stats)
	}
	for _, s := range steps {
		if stats.ByCommand[s.name] == 0 {
			t.Errorf("no %s: last error %s", s.name, stats.LastError)
		}
	}
	if stats.Failed != 0 {
		t.Errorf("%d commands were refused; last: %s", stats.Failed, stats.LastError)
	}
	if err := w.CheckCounters(ctx); err != nil {
		t.Error(err)
	}
	if err := client.Incr(ctx, "live:{w0}:steps").Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.CheckCounters(ctx); err == nil {
		t.Error("a counter that was raised by somebody else goes unnoticed")
	}
}
