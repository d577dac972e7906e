package sidecar_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestEviction: a target that drops keys for want of memory is no copy any
// more, and says so.
func TestEviction(t *testing.T) {
	t.Parallel()
	src, dst, l := pairOfServers(t)
	fence(t, dst)
	r := start(t, l)
	if s := r.waitInSync(t); s.TargetKeys.Evicted != 0 || strings.Contains(fmt.Sprint(s.Findings), "evicted") {
		t.Errorf("nothing was evicted yet: %+v", s)
	}
	dst.Do(t, "CONFIG", "SET", "maxmemory-policy", "volatile-lru")
	dst.Do(t, "CONFIG", "SET", "maxmemory", "8mb")
	value := strings.Repeat("v", 64<<10)
	for i := range 300 { // some 20 MB
		src.Do(t, "SETEX", "k"+strconv.Itoa(i), "100000", value)
	}
	testredis.Eventually(t, 30*time.Second, "the evicted keys to be reported", func() bool {
		src.Do(t, "SET", "tick", "v") // a stream that is idle looks when PING comes
		s := r.Status().Get()
		return s.TargetKeys.Evicted > 100 &&
			strings.Contains(fmt.Sprint(s.Findings), fmt.Sprintf("has evicted %d keys", s.TargetKeys.Evicted))
	})
	n := 0
	for _, f := range r.Status().Get().Findings {
		if strings.Contains(f, "evicted") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d findings about it: %q", n, r.Status().Get().Findings)
	}
	r.finish(t)
}
