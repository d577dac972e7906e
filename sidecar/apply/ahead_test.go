package apply

import (
	"strconv"
	"testing"
	"time"
)

// TestAheadStays: what a node may have of the stream is known after a crash,
// also after a second one on the way there, and for the parts of a command,
// which do not move the frontier.
func TestAheadStays(t *testing.T) {
	take := func(t *testing.T, addr string) *Cluster {
		t.Helper()
		w := NewCluster(options(addr))
		ck, err := w.Take(t.Context())
		must(t, err)
		t.Logf("position %d, ahead %d", ck.Pos.Offset, w.Ahead())
		w.Resume(ck.Pos)
		w.advanced = time.Now() // no frontier is due
		w.force = false
		return w
	}
	t.Run("plain", func(t *testing.T) {
		s, w := oneNode(t)
		w.advanced = time.Now()
		write(t, w, 200, "SET", "a", "1")
		must(t, w.Flush(t.Context(), true))
		write(t, w, 500, "SET", "b", "1")
		must(t, w.Flush(t.Context(), true))
		second := take(t, s.Addr)
		write(t, second, 200, "SET", "a", "1")
		must(t, second.Flush(t.Context(), true))
		if third := take(t, s.Addr); third.Ahead() != 500 {
			t.Errorf("the node has 500, ahead says %d", third.Ahead())
		}
	})
	t.Run("parts in a script", func(t *testing.T) {
		s, w := oneNode(t)
		w.advanced = time.Now()
		write(t, w, 200, "INCR", "n")
		w.Save()
		for i, end := range []int64{300, 400} {
			c := command(t, "DEL", "a"+strconv.Itoa(i), "b"+strconv.Itoa(i))
			c.Part, c.More = true, i == 0
			must(t, w.Write(t.Context(), c, 0, at(end)))
		}
		w.Pass(at(400))
		must(t, w.Flush(t.Context(), false))
		must(t, w.answers(t.Context()))
		if next := take(t, s.Addr); next.Ahead() != 400 {
			t.Errorf("the node has 400, ahead says %d", next.Ahead())
		}
	})
	t.Run("parts one at a time", func(t *testing.T) {
		s, w := oneNode(t)
		w.advanced = time.Now()
		c := command(t, "MSET", "a", "1", "b", "2")
		c.Part = true
		must(t, w.Write(t.Context(), c, 0, at(400)))
		loose := w.nodes[0].cur.loose(0)
		w.nodes[0].cur.reset()
		must(t, w.resolve(t.Context(), loose, nil))
		wantValue(t, s, "b", "2")
		if next := take(t, s.Addr); next.Ahead() != 400 {
			t.Errorf("the node has 400, ahead says %d", next.Ahead())
		}
	})
}

// TestRollbackAfterReconnect: the commands of a transaction that never ended
// are taken back, also when the open batches were divided anew, or were sent,
// in the middle of it.
func TestRollbackAfterReconnect(t *testing.T) {
	s, w := oneNode(t)
	write(t, w, 150, "SET", "before", "1")
	w.Save()
	write(t, w, 200, "INCR", "n")
	s.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	must(t, w.HoldBack(t.Context()))
	write(t, w, 250, "INCR", "m")
	w.Rollback()
	must(t, w.Flush(t.Context(), true))
	wantValue(t, s, "before", "1")
	wantValue(t, s, "n", nil)
	wantValue(t, s, "m", nil)
	if w.Applied().Offset != 150 {
		t.Errorf("applied up to %d", w.Applied().Offset)
	}
}
