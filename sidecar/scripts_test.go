package sidecar_test

import (
	"crypto/sha1" //nolint:gosec // it is what EVALSHA names a script by
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

func shaOf(script string) string {
	sum := sha1.Sum([]byte(script)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}

// TestScriptsAreDropped: the texts of a source's scripts are kept in the target
// for EVALSHA, until a full copy begins or the source runs SCRIPT FLUSH; those
// after it are kept again. The stream is as Redis 6.0.16 with
// lua-replicate-commands no writes it.
func TestScriptsAreDropped(t *testing.T) {
	t.Parallel()
	const first, second = "return redis.call('APPEND',KEYS[1],'a')", "return redis.call('APPEND',KEYS[1],'b')"
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := testredis.Start(t, append(debugArgs(), "--repl-ping-replica-period", "3600")...)
			rec := record(t, src, func() { src.Do(t, "SET", "plain", "v") })
			end := rec.end()
			for _, c := range [][]string{
				{"EVAL", first, "1", "scripted"},
				{"EVAL", second, "1", "scripted"},
				{"EVALSHA", shaOf(first), "1", "scripted"},
				{"SCRIPT", "FLUSH"},
				{"EVAL", second, "1", "scripted"},
				{"EVALSHA", shaOf(second), "1", "scripted"},
			} {
				rec.stream = resp.AppendCommand(rec.stream, c...)
			}
			rec.answers["info replication"] = strings.Replace(rec.answers["info replication"],
				fmt.Sprintf("master_repl_offset:%d", end), fmt.Sprintf("master_repl_offset:%d", rec.end()), 1)
			dst := target(t)
			fence(t, dst)
			dst.Do(t, "HSET", wire.ScriptsKey("p", 0), shaOf("return 1"), "return 1") // of the copy before
			s := startRecorded(t, rec, nil)
			r := start(t, link{slots: "0-16383", sources: []string{s.addr}, target: dst.target})
			r.waitApplied(t, rec.end())
			if got := dst.Do(t, "GET", "scripted"); got != "ababb" {
				t.Errorf("the scripts left %v", got)
			}
			kept := dst.Do(t, "HKEYS", wire.ScriptsKey("p", 0)).([]any)
			if len(kept) != 1 || kept[0] != shaOf(second) {
				t.Errorf("the target keeps %v, want %s alone", kept, shaOf(second))
			}
			if n := r.Status().Get().FullSync.Count; n != 1 {
				t.Errorf("%d full copies", n)
			}
			r.finish(t)
		})
	}
}
