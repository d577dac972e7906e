package apply

import (
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
)

// TestLMoveWithoutLMove: what stands for LMOVE on the nodes of a cluster that
// do not have it moves an element once, though the answer and then the process
// is lost.
func TestLMoveWithoutLMove(t *testing.T) {
	t.Parallel()
	s := testredis.StartCluster(t, 1, 0).Nodes[0]
	p := startForgetful(t, s.Addr, "the destination is no list")
	w := NewCluster(options(p.addr))
	copied(t, w)
	table := rewrite.For(rewrite.Server{Version: 700}, rewrite.Server{Version: 600})
	move := func(end int64, from, to string) {
		t.Helper()
		c := command(t, "LMOVE", "{a}from", "{a}to", from, to)
		fitted, err := table.Rewrite(c.Args, 0)
		must(t, err)
		if len(fitted) != 1 || strings.EqualFold(string(fitted[0][0]), "LMOVE") {
			t.Fatalf("LMOVE %s %s became %q", from, to, fitted)
		}
		must(t, w.WriteAll(t.Context(), fitted, 0, at(end)))
		must(t, w.Flush(t.Context(), true))
	}
	write(t, w, 150, "RPUSH", "{a}from", "1", "2", "3", "4", "5", "6", "7", "8")
	end := int64(200)
	for _, sides := range []string{"LEFT LEFT", "LEFT RIGHT", "RIGHT LEFT", "RIGHT RIGHT"} {
		from, to, _ := strings.Cut(sides, " ")
		move(end, from, to)
		next, pos := again(t, s, w)
		if w = next; pos.Offset != end {
			t.Fatalf("the frontier is at %d after what ends at %d", pos.Offset, end)
		}
		end++
	}
	if p.cuts.Load() != 1 {
		t.Fatal("no answer was lost; nothing is shown")
	}
	for key, want := range map[string]string{"{a}from": "3 4 5 6", "{a}to": "8 1 2 7"} {
		var got []string
		for _, v := range s.Do(t, "LRANGE", key, "0", "-1").([]any) {
			got = append(got, v.(string))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s is %s, want %s", key, text, want)
		}
	}
}
