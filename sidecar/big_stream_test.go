package sidecar_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// noise is a text of n bytes that differs from seed to seed.
func noise(seed uint64, n int) string {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(p) // never fails
	return string(p)
}

// largeCommands are commands of one large argument, several, and very many.
func largeCommands(t *testing.T, src *testredis.Server, size, many int) {
	t.Helper()
	value := noise(1, size)
	src.Do(t, "SET", "set", value)
	src.Do(t, "SET", "until", value[:size/2], "PXAT", "33333333333333")
	src.Do(t, "APPEND", "set", "tail")
	src.Do(t, "SETRANGE", "range", "5", value[:size/2])
	src.Do(t, "HSET", "hash", "short", "v", "large", value[:size/2], "last", "v")
	src.Do(t, "MSET", "m1", value[:size/3], "m2", "short", "m3", value[:size/3], "{m1}same", "v")
	src.Do(t, "MSETNX", "x1", value[:size/3], "x2", value[size/3:size/2])
	src.Do(t, "XADD", "stream", "1-1", "f", value[:size/3])
	src.Do(t, "PUBLISH", "channel", value[:size/3])
	src.Do(t, "MULTI")
	for _, c := range [][]string{
		{"INCR", "counter"}, {"SET", "in multi", value[:size/3]}, {"RPUSH", "large list", value[:size/3], "short", value[size/3 : size/2]}, {"INCR", "counter"},
	} {
		src.Do(t, c...)
	}
	src.Do(t, "EXEC")
	src.Do(t, "SET", "copied", value[:size/2])
	src.Do(t, "RESTORE", "restored", "0", src.Do(t, "DUMP", "copied").(string))
	words := []string{"RPUSH", "wide"}
	for i := range many {
		words = append(words, "element number "+strconv.Itoa(i))
	}
	src.Do(t, words...)
	src.Do(t, "RPUSH", "wide", "one more")
	pairs := []string{"HSET", "pairs"}
	for i := range 20 {
		pairs = append(pairs, "f"+strconv.Itoa(i), noise(uint64(i), 600<<10))
	}
	src.Do(t, pairs...)
	src.Do(t, "APPEND", "set", "end")
	src.Do(t, "INCR", "counter")
}

// TestLargeCommands: commands of the stream that are larger than what is held
// in memory. BIG_VALUES=1 makes them nearly as big as Redis allows, 511 MB;
// BIG_TARGET=cluster or standalone takes one target only.
func TestLargeCommands(t *testing.T) {
	size, within := 24<<20, 5*time.Minute
	many := 300_000
	if os.Getenv("BIG_VALUES") != "" {
		size, many, within = 511<<20, 1_000_000, 20*time.Minute
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
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
			p := startProcess(t, l)
			p.waitFor(t, within, "the replicator to be in sync", func(s wire.Status) bool { return s.InSync })
			before := p.peak(t)
			largeCommands(t, src, size, many)
			p.waitFor(t, within, "the target to have everything", func(s wire.Status) bool {
				return s.InSync && s.Complete && s.Stream.PendingKeys == 0 && strconv.FormatInt(s.AppliedOffset, 10) == infoField(t, src, "master_repl_offset")
			})
			peak := p.peak(t)
			t.Logf("peak resident memory %d MB, %d MB before", peak>>20, before>>20)
			if peak > memoryBound {
				t.Errorf("the replicator took %d MB, the bound is %d MB", peak>>20, memoryBound>>20)
			}
			compare(t, contents(t, src), contents(t, dst.masters...))
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-p.done
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d: %s", code, p.out.String())
			}
		})
	}
}

// TestLargeCommandsOnce: large arguments arrive exactly once while the
// connections to the target are cut and replicators take over from each
// other, as after a SIGKILL.
func TestLargeCommandsOnce(t *testing.T) {
	t.Parallel()
	onceEach(t, 60, 7, 20, func(src *testredis.Server, rnd *rand.Rand, i int) {
		value := noise(uint64(i), 1<<20+rnd.IntN(2<<20))
		k := strconv.Itoa(rnd.IntN(4))
		switch rnd.IntN(4) {
		case 0:
			src.Do(t, "APPEND", "a"+k, value)
		case 1:
			src.Do(t, "RPUSH", "l"+k, value, "x", value)
			src.Do(t, "LTRIM", "l"+k, "-6", "-1")
		case 2:
			src.Do(t, "MSET", "a"+k, value, "b"+k, value)
		case 3:
			src.Do(t, "MULTI")
			src.Do(t, "INCR", "n")
			src.Do(t, "APPEND", "a"+k, value)
			src.Do(t, "INCR", "n")
			src.Do(t, "EXEC")
		}
		src.Do(t, "INCR", "n")
	})
}

// onceEach writes to a source in so many rounds. Every cutEvery rounds the
// connections to the target are cut, every takeEvery another replicator takes
// over from the one before, as after a SIGKILL. At the end both sides are equal,
// without a full copy.
func onceEach(t *testing.T, rounds, cutEvery, takeEvery int, write func(src *testredis.Server, rnd *rand.Rand, round int)) {
	t.Helper()
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "512mb")...)
			dst := target(t)
			fence(t, dst)
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
			r := start(t, l)
			r.waitInSync(t)
			rnd := rand.New(rand.NewPCG(3, 5))
			for i := range rounds {
				write(src, rnd, i)
				if i%cutEvery == cutEvery/2 {
					time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
					for _, m := range dst.masters {
						_, _ = m.TryDo("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") // as often as there are some
					}
				}
				if i%takeEvery == takeEvery-1 {
					r = start(t, l) // the one before is not told
				}
			}
			r.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst.masters...))
			if s := r.Status().Get(); s.FullSync.Count != 0 || s.Delivery != wire.ExactlyOnce {
				t.Errorf("%d full copies, delivery %s", s.FullSync.Count, s.Delivery)
			}
			r.finish(t)
		})
	}
}

// TestArgumentTooLongForTarget: the limit of the target is a reason to stop,
// with nothing of the command written, and not one to try for ever.
func TestArgumentTooLongForTarget(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			src, dst := testredis.Start(t, debugArgs()...), target(t)
			for _, m := range dst.masters {
				m.Do(t, "CONFIG", "SET", "proto-max-bulk-len", strconv.Itoa(3<<20))
			}
			fence(t, dst)
			r := start(t, link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target})
			r.waitInSync(t)
			src.Do(t, "SET", "fits", strings.Repeat("v", 2<<20))
			src.Do(t, "APPEND", "large", strings.Repeat("v", 4<<20))
			select {
			case err := <-r.done:
				if err == nil || !strings.Contains(err.Error(), `"large"`) || strings.Contains(fmt.Sprint(err), "vvv") {
					t.Errorf("ended with %v", err)
				}
			case <-time.After(60 * time.Second):
				t.Fatalf("it goes on: %+v", r.Status().Get())
			}
			all := contents(t, dst.masters...)
			if len(all) != 1 || all[`0 "fits"`] == "" {
				t.Errorf("the target has %v", all)
			}
		})
	}
}
