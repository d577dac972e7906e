package apply

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// TestRebuildRefused lets the server refuse commands in the middle of a value:
// the connection is in step afterwards, and nothing is at the value's name.
func TestRebuildRefused(t *testing.T) {
	s := testredis.Start(t, "--maxmemory", "30mb", "--maxmemory-policy", "noeviction")
	c, err := conn.Dial(t.Context(), s.Addr, conn.Options{})
	must(t, err)
	defer func() { _ = c.Close() }()
	// A list of large elements, more than the server may hold.
	const elements, size = 60, 1 << 20
	value := []byte{elements}
	for range elements {
		value = append(value, 0x80, 0, size>>16, 0, 0)
		value = append(value, bytes.Repeat([]byte("x"), size)...)
	}
	r := &rdb.Record{Key: []byte("k"), Type: rdb.TypeList, Value: value}
	for range 3 {
		err := rebuildOn(t.Context(), c, r, "staging", 9, RebuildOptions{Replace: true})
		if !serverSaid(err) || !transient(err) {
			t.Fatalf("got %v, want the server's OOM", err)
		}
		if reply, err := c.Do("ECHO", "in step"); err != nil || reply.Text != "in step" {
			t.Fatalf("the connection is out of step: %+v, %v", reply, err)
		}
		if n := s.Do(t, "EXISTS", "k"); n != int64(0) {
			t.Fatalf("EXISTS k: %v", n)
		}
	}
	s.Do(t, "CONFIG", "SET", "maxmemory", "0")
	must(t, rebuildOn(t.Context(), c, r, "staging", 9, RebuildOptions{Replace: true}))
	if got := fmt.Sprint(s.Do(t, "LLEN", "k"), s.Do(t, "EXISTS", "staging")); got != fmt.Sprint(elements, 0) {
		t.Errorf("length of the list, and whether the other name exists: %s", got)
	}
}
