package sidecar_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// TestWideMemory: transactions of very many commands, and commands of very many
// keys, in bounded memory. BIG_VALUES=1 makes the transaction nearly as large
// as is allowed, 240 MB, and the commands wider than Redis before 7.0 takes
// them; BIG_TARGET=cluster or standalone takes one target only.
func TestWideMemory(t *testing.T) {
	transaction, deadlines, many, within := 60_000, 60_000, 30_000, 5*time.Minute
	if os.Getenv("BIG_VALUES") != "" {
		transaction, deadlines, many, within = 1_650_000, 2_400_000, 2_000_000, 20*time.Minute
		t.Setenv("TEST_REDIS_TIMEOUT", "10m")
	}
	for _, to := range []string{"standalone", "cluster"} {
		if only := os.Getenv("BIG_TARGET"); only != "" && only != to {
			continue
		}
		t.Run(to, func(t *testing.T) {
			src := testredis.Start(t, append(debugArgs(), "--client-output-buffer-limit", "replica 0 0 0", "--repl-backlog-size", "64mb")...)
			dst := standaloneSide(t)
			if to == "cluster" {
				dst = patientCluster(t)
			}
			fence(t, dst)
			p := startProcess(t, link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target})
			p.waitFor(t, within, "the replicator to be in sync", func(s wire.Status) bool { return s.InSync })
			last := p.peak(t)
			t.Logf("%d MB before", last>>20)
			for _, step := range []struct {
				name string
				do   func()
			}{
				{"a transaction of SET", func() {
					src.Do(t, "EVAL", "for i=1,ARGV[1] do redis.call('SET','key number '..i,string.rep('v',100)) end", "0", strconv.Itoa(transaction))
				}},
				{"a transaction of PEXPIREAT", func() {
					src.Do(t, "EVAL", "for i=1,ARGV[1] do redis.call('PEXPIREAT','key number '..i%20+1,33333333333333) end", "0", strconv.Itoa(deadlines))
				}},
				{"MSET", func() { src.Do(t, wide("MSET", many, "of MSET")...) }},
				{"MSETNX", func() { src.Do(t, wide("MSETNX", many/2, "of MSETNX")...) }},
				{"UNLINK", func() { src.Do(t, wide("UNLINK", many/2, "")...) }},
				{"DEL of what is there and what is not", func() { src.Do(t, wide("DEL", many/2+many/3, "")...) }},
			} {
				step.do()
				p.waitFor(t, within, "the target to have everything", func(s wire.Status) bool {
					return s.InSync && s.Complete && s.Stream.PendingKeys == 0 && strconv.FormatInt(s.AppliedOffset, 10) == infoField(t, src, "master_repl_offset")
				})
				peak := p.peak(t)
				t.Logf("after %s: peak resident memory %d MB", step.name, peak>>20)
				if peak > memoryBound && last <= memoryBound {
					t.Errorf("the replicator took %d MB for %s, the bound is %d MB", peak>>20, step.name, memoryBound>>20)
				}
				last = peak
			}
			src.Do(t, "INCR", "the last one")
			p.waitFor(t, within, "the last one", func(s wire.Status) bool {
				return s.InSync && s.Complete && strconv.FormatInt(s.AppliedOffset, 10) == infoField(t, src, "master_repl_offset")
			})
			compare(t, contents(t, src), contents(t, dst.masters...))
		})
	}
}

// wide is a command of n keys, each with the value where there is one.
func wide(name string, n int, value string) []string {
	words := []string{name}
	for i := range n {
		words = append(words, "key number "+strconv.Itoa(n-i))
		if value != "" {
			words = append(words, value)
		}
	}
	if name == "MSETNX" {
		for i := 1; i < len(words); i += 2 {
			words[i] = "x:" + words[i]
		}
	}
	return words
}

// TestWideOnce: long transactions and wide commands arrive exactly once while
// the connections to the target are cut and replicators take over from each
// other, as after a SIGKILL.
func TestWideOnce(t *testing.T) {
	t.Parallel()
	onceEach(t, 24, 3, 8, func(src *testredis.Server, rnd *rand.Rand, i int) {
		switch rnd.IntN(4) {
		case 0: // 6 MB; only what changes with every run
			src.Do(t, "EVAL", "for i=1,50000 do redis.call('INCR','n:'..i%300) if i%3==0 then redis.call('APPEND','a:'..i%50,'more') end end", "0")
		case 1:
			src.Do(t, wide("MSET", 5000+rnd.IntN(10_000), "of run "+strconv.Itoa(i))...)
		case 2:
			src.Do(t, wide("DEL", 5000+rnd.IntN(10_000), "")...)
		case 3:
			src.Do(t, "MULTI")
			src.Do(t, "INCR", "m")
			src.Do(t, wide("UNLINK", 9000, "")...)
			src.Do(t, wide("MSET", 5000, "in a transaction")...)
			src.Do(t, "INCR", "m")
			src.Do(t, "EXEC")
		}
		src.Do(t, "INCR", "n")
		src.Do(t, "APPEND", "key number 7", "!")
	})
}

// TestOurKeysStay: a command of the source that deletes or sets keys of the
// tool among others does only the others at the target, whose keys of these
// names are its own.
func TestOurKeysStay(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			src, dst := testredis.Start(t, debugArgs()...), target(t)
			fence(t, dst)
			r := start(t, link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target})
			r.waitInSync(t)
			ours := []string{wire.FenceKey("p"), wire.CheckpointKey("p", 0), wire.IncarnationKey("p", 0)}
			set, del := []string{"MSET"}, []string{"DEL"}
			for i, k := range append([]string{"a", "b"}, append(ours, "c", "d")...) {
				set, del = append(set, k, "v"), append(del, k)
				if i > 4 {
					src.Do(t, "SET", k+k, "v")
				}
			}
			src.Do(t, set...)
			src.Do(t, "SET", "stays", "v")
			r.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst.masters...))
			src.Do(t, del...)
			src.Do(t, append(append(wide("DEL", 5000, ""), del[1:]...), wide("DEL", 5000, "")[1:]...)...)
			r.waitEqualOffsets(t, src)
			want := contents(t, src)
			compare(t, want, contents(t, dst.masters...))
			if len(want) != 3 {
				t.Errorf("the source has %v", want)
			}
			src.Do(t, "INCR", "n")
			r.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst.masters...))
			r.finish(t)
		})
	}
}
