package sidecar_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

// TestRedisShakeFile runs a RedisShake 3.1 file as it stands, but for the
// addresses: with passwords, towards a cluster, and again after a restart.
func TestRedisShakeFile(t *testing.T) {
	text, err := os.ReadFile("config/testdata/redisshake.toml")
	if err != nil {
		t.Fatal(err)
	}
	src := testredis.Start(t, append(debugArgs(), "--requirepass", "3wPxzWffdn")...)
	dst := testredis.StartCluster(t, 3, 0, append(debugArgs(), "--requirepass", "Aa123456", "--masterauth", "Aa123456")...)
	t.Chdir(t.TempDir())
	file := strings.NewReplacer("10.233.109.145:6379", src.Addr, "10.233.103.2:6379", dst.Addrs()[0]).Replace(string(text))
	seedData(t, src, false)
	dst.Do(t, "SET", "kept", "as RedisShake keeps it")
	run := func() *running {
		cfg, err := config.Parse("sync.toml", file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := sidecar.New(cfg, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		p := &running{Replicator: r, stop: cancel, done: make(chan error, 1)}
		go func() { p.done <- r.Run(ctx) }()
		return p
	}
	r := run()
	if s := r.waitInSync(t); s.Epoch != 0 || !strings.Contains(strings.Join(s.Findings, " "), "no epoch fence") {
		t.Errorf("status does not say that there is no fence: %+v", s)
	}
	src.Do(t, "INCR", "n")
	testredis.Eventually(t, 10*time.Second, "the write", func() bool { v, _ := dst.TryDo("GET", "n"); return v == "1" })
	r.finish(t)
	src.Do(t, "INCR", "n")
	r = run()
	if s := r.waitInSync(t); s.FullSync.Count != 0 {
		t.Errorf("a restart copied everything again: %s", s.FullSync.Reason)
	}
	if dst.Do(t, "GET", "n") != "2" || dst.Do(t, "GET", "kept") != "as RedisShake keeps it" {
		t.Error("a write was lost or doubled, or a key of the target is gone")
	}
	want, got := contents(t, src), contents(t, dst.Masters()...)
	delete(got, `0 "kept"`)
	compare(t, want, got)
	r.finish(t)
}
