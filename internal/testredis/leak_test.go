package testredis

import (
	"strings"
	"testing"
	"time"
)

func TestGoroutinesIn(t *testing.T) {
	stop := make(chan struct{})
	go leakOnPurpose(stop)
	Eventually(t, 10*time.Second, "the goroutine is seen", func() bool {
		left := goroutinesIn([]string{"testredis.leakOnPurpose"})
		return len(left) == 1 && strings.Contains(left[0], "leakOnPurpose")
	})
	close(stop)
	Eventually(t, 10*time.Second, "it is gone", func() bool { return len(goroutinesIn([]string{"testredis.leakOnPurpose"})) == 0 })
	if left := goroutinesIn([]string{"no/such/package"}); len(left) != 0 {
		t.Errorf("got %q", left)
	}
}

func leakOnPurpose(stop chan struct{}) { <-stop }
