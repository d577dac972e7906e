package machine

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestManyAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		ready := shared(func() bool {
			asked++
			return asked == 2
		}, time.Second)
		for range 5 {
			if ready() {
				t.Error("ready at the first answer; the second says so")
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times within a second, expected 1", asked)
		}
		time.Sleep(time.Second)
		if !ready() || asked != 2 {
			t.Errorf("asked %d times after a second, expected 2, the second being yes", asked)
		}
		// It may become unready again.
		time.Sleep(time.Second)
		if ready() {
			t.Error("the third answer was no")
		}
	})
}
