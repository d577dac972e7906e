package route

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// TestSlotOfEveryLength compares with a hash that goes bit by bit.
func TestSlotOfEveryLength(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 100 {
		for range 50 {
			key := make([]byte, n)
			for i := range key {
				key[i] = byte(rnd.Uint32())
			}
			text := strings.ReplaceAll(string(key), "{", "-") // hash tags have a test of their own
			if got, want := Slot([]byte(text)), topology.KeySlot(text); got != want {
				t.Fatalf("slot %d of %q, want %d", got, text, want)
			}
		}
	}
}
