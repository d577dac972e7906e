package sidecar_test

import (
	"strconv"
	"testing"
	"time"
)

// TestDeadlineDuringCopy: a key whose time runs out while the snapshot is
// being written, and that the source has kept alive meanwhile, is not lost; a
// held deadline is the true one in the end, also after a restart in between
// and for a key that was renamed.
func TestDeadlineDuringCopy(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run("restart "+strconv.FormatBool(restart), func(t *testing.T) {
			src, dst, l := pairOfServers(t)
			fence(t, dst)
			for i := range 3000 {
				src.Do(t, "SET", "filler"+strconv.Itoa(i), "v")
			}
			src.Do(t, "SET", "kept", "v", "PX", "2500")
			src.Do(t, "SET", "extended", "v", "PX", "2500")
			src.Do(t, "SET", "gone", "v", "PX", "2500")
			src.Do(t, "SET", "minutes", "v", "PX", "600000")
			src.Do(t, "SET", "{r}a", "v", "PX", "600000")
			l.extra = "max_commands_per_second = 800" // about 3 s of copying
			r := start(t, l)
			time.Sleep(1200 * time.Millisecond)
			if !r.Status().Get().FullSync.Running {
				t.Fatal("the copy is already done; nothing is shown")
			}
			src.Do(t, "PERSIST", "kept")
			src.Do(t, "PEXPIRE", "extended", "500000")
			src.Do(t, "RENAME", "{r}a", "{r}b")
			if restart {
				for r.Status().Get().FullSync.Running {
					time.Sleep(5 * time.Millisecond)
				}
				r.finish(t)
				r = start(t, l)
			}
			s := r.waitInSync(t)
			if want := map[bool]int64{false: 1, true: 0}[restart]; s.FullSync.Count != want {
				t.Errorf("%d full copies", s.FullSync.Count)
			}
			compare(t, contents(t, src), contents(t, dst))
			if src.Do(t, "EXISTS", "gone") != int64(0) || dst.Do(t, "GET", "kept") != "v" {
				t.Error("the test did not show what it is for")
			}
			r.finish(t)
		})
	}
}
