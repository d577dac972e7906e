package redisx

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
)

var _ verify.Node = (*Client)(nil)

func TestPipeline(t *testing.T) {
	s := testredis.Start(t, "--requirepass", "secret")
	c, err := open(t, s, func(o *Options) { o.PoolSize = 3 })
	if err != nil {
		t.Fatal(err)
	}
	replies, err := c.Pipeline(t.Context(), 0, [][]string{
		{"SET", "k", "bin\x00\xff"}, {"GET", "k"}, {"GET", "none"}, {"LPUSH", "k", "x"}, {"STRLEN", "k"}, {"MGET", "k", "none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%q", replies[1]); got != `"bin\x00\xff"` || replies[0] != "OK" || replies[2] != nil || replies[4] != int64(5) {
		t.Errorf("replies %q", replies)
	}
	if err, ok := replies[3].(error); !ok || !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		t.Errorf("reply to LPUSH %v, want WRONGTYPE", replies[3])
	}
	if list, ok := replies[5].([]any); !ok || len(list) != 2 || list[1] != nil {
		t.Errorf("reply to MGET %v", replies[5])
	}

	// Many at once: no connection may stay at another database.
	var group sync.WaitGroup
	for db := range 16 {
		group.Go(func() {
			key := fmt.Sprint("only in ", db)
			if _, err := c.Pipeline(t.Context(), db, [][]string{{"SET", key, "v"}, {"GET", "none"}}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for db := range 16 {
		replies, err := c.Pipeline(t.Context(), db, [][]string{{"EXISTS", fmt.Sprint("only in ", db)}, {"DBSIZE"}})
		if err != nil {
			t.Fatal(err)
		}
		want := int64(1)
		if db == 0 {
			want = 2
		}
		if replies[0] != int64(1) || replies[1] != want {
			t.Errorf("database %d: %v, want its own key and %d in all", db, replies, want)
		}
	}

	if _, err := c.Pipeline(t.Context(), 16, [][]string{{"PING"}}); err == nil || !strings.Contains(err.Error(), "SELECT 16") {
		t.Errorf("error %v, want one about SELECT 16", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Pipeline(ctx, 0, [][]string{{"PING"}}); err == nil {
		t.Error("no error after the end of the context")
	}
	s.Kill()
	if _, err := c.Pipeline(t.Context(), 0, [][]string{{"PING"}}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}
