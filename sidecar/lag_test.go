package sidecar_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestCheckpointUpTo: beside the position the checkpoint says up to when the
// target holds everything, so that a lag in seconds is known after the source
// and the replicator are gone. It never says later than when the source was
// heard of.
func TestCheckpointUpTo(t *testing.T) {
	src, dst := testredis.Start(t), testredis.Start(t)
	src.Do(t, "SET", "k", "v")
	dst.Do(t, "SET", wire.FenceKey("p"), "1")
	r := start(t, link{slots: "0-16383", sources: []string{src.Addr}, target: fmt.Sprintf("type = \"standalone\"\naddress = %q", dst.Addr)})
	r.waitInSync(t)
	millis := func(field string) int64 {
		text, _ := dst.Do(t, "HGET", wire.CheckpointKey("p", 0), field).(string)
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	equal := time.Now().UnixMilli()
	testredis.Eventually(t, 60*time.Second, "a checkpoint that knows of everything since both were equal", func() bool {
		src.Do(t, "INCR", "n") // a checkpoint moves with the data
		return millis(wire.CkptUpTo) > equal
	})
	r.waitEqualOffsets(t, src)
	r.finish(t) // so that one checkpoint is read
	if upTo, heard := millis(wire.CkptUpTo), millis(wire.CkptSourceTime); upTo > heard || heard > time.Now().UnixMilli() {
		t.Errorf("the target holds everything up to %d, the source was heard of at %d", upTo, heard)
	}
}
