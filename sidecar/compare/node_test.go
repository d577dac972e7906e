package compare

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
)

// TestHeldValues: values that are too large, alone or together, are skipped,
// and the replies after them are those of their commands.
func TestHeldValues(t *testing.T) {
	s := testredis.Start(t)
	large := strings.Repeat("x", 14<<20)
	for _, key := range []string{"a", "b", "c"} {
		s.Do(t, "SET", key, large)
	}
	s.Do(t, "SETRANGE", "huge", "17000000", "y")
	s.Do(t, "SET", "small", "1")
	s.Do(t, "RPUSH", "list", "1")
	n := newNode(s.Addr, conn.Options{})
	defer n.close()
	for range 2 { // what one pipeline holds does not count for the next one
		replies, err := n.Pipeline(t.Context(), 0, [][]string{
			{"MGET", "none", "huge", "a", "list", "b", "small", "c"}, {"STRLEN", "a"}, {"DUMP", "huge"},
		})
		if err != nil {
			t.Fatal(err)
		}
		values, ok := replies[0].([]any)
		if !ok || len(values) != 7 {
			t.Fatalf("MGET gave %T", replies[0])
		}
		for i, want := range []any{nil, verify.ErrTooLarge, large, nil, large, "1", verify.ErrTooLarge} {
			if got := values[i]; got != want {
				t.Errorf("value %d is a %T, want a %T", i, got, want)
			}
		}
		if replies[1] != any(int64(len(large))) {
			t.Errorf("STRLEN gave %v", replies[1])
		}
		// The repetition compresses well.
		if payload, ok := replies[2].(string); !ok || len(payload) > 1<<20 {
			t.Errorf("DUMP gave a %T", replies[2])
		}
	}
	replies, err := n.Pipeline(t.Context(), 0, [][]string{{"NOSUCH"}, {"GET", "list"}, {"MGET"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, reply := range replies {
		if refused, ok := reply.(error); !ok || errors.Is(refused, verify.ErrTooLarge) {
			t.Errorf("reply %d is a %T", i, reply)
		}
	}
}
