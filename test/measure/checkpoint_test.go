// Package measure holds measurements that decided something about the design;
// `make measure-checkpoint` runs them.
package measure

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

const (
	perBatch = 1024
	rounds   = 3
)

// cost is what applying all commands took.
type cost struct {
	wall   time.Duration
	server time.Duration // processor time of the server
}

// TestCheckpointCost applies the same INCRs to a cluster node in three ways,
// in turn: plainly, which is no way to know what was applied; in batches of a
// script that moves one frontier, by the replicator's own writer; and in one
// MULTI per slot of a batch, with a marker key in that slot.
//
// MEASURE_COMMANDS (1,000,000) and MEASURE_KEYS (100,000) change the size.
func TestCheckpointCost(t *testing.T) {
	if os.Getenv("MEASURE") == "" {
		t.Skip("NOT RUN: a measurement of minutes; make measure-checkpoint")
	}
	commands, keys := number(t, "MEASURE_COMMANDS", 1_000_000), number(t, "MEASURE_KEYS", 100_000)
	names := makeNames(commands, keys)
	tags := slotTags(t)
	node := testredis.StartCluster(t, 1, 0).Masters()[0]
	t.Logf("%d INCR of %d keys, batches of %d; redis %s, %d ways in turn, %d rounds", commands, keys, perBatch, version(t, node), 3, rounds)
	ways := []struct {
		name string
		run  func(started func())
	}{
		{"plain", func(started func()) { pipeline(t, node.Addr, names, plain, started) }},
		{"script", func(started func()) { scripted(t, node.Addr, names, started) }},
		{"markers", func(started func()) {
			pipeline(t, node.Addr, names, func(b []byte, batch []string, end int) ([]byte, int) { return markers(b, batch, end, tags) }, started)
		}},
	}
	costs := map[string][]cost{}
	for round := range rounds {
		for _, w := range ways {
			node.Do(t, "FLUSHALL")
			var before time.Duration
			var began time.Time
			w.run(func() { before, began = serverTime(t, node), time.Now() })
			c := cost{time.Since(began), serverTime(t, node) - before}
			costs[w.name] = append(costs[w.name], c)
			if sum := total(t, node, names); sum != int64(commands) {
				t.Fatalf("%s: the keys add up to %d", w.name, sum)
			}
			t.Logf("round %d, %-8s %6.2f s, server %6.2f s, %d keys", round+1, w.name, c.wall.Seconds(), c.server.Seconds(), node.Do(t, "DBSIZE"))
		}
	}
	base := median(costs["plain"])
	for _, w := range ways {
		c := median(costs[w.name])
		t.Logf("median %-8s %6.2f s = %.2f x plain; server %6.2f s = %.2f x plain", w.name,
			c.wall.Seconds(), c.wall.Seconds()/base.wall.Seconds(), c.server.Seconds(), c.server.Seconds()/base.server.Seconds())
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q", name, text)
	}
	return n
}

func makeNames(commands, keys int) []string {
	rnd := rand.New(rand.NewPCG(7, 7))
	names := make([]string, commands)
	for i := range names {
		names[i] = "key:" + strconv.Itoa(rnd.IntN(keys))
	}
	return names
}

// slotTags is a hash tag for each slot.
func slotTags(t *testing.T) []string {
	t.Helper()
	tags := make([]string, route.SlotCount)
	for i, left := 0, len(tags); left > 0; i++ {
		tag := strconv.Itoa(i)
		if slot := route.Slot([]byte(tag)); tags[slot] == "" {
			tags[slot] = tag
			left--
		}
	}
	return tags
}

func version(t *testing.T, s *testredis.Server) string {
	return field(t, s, "server", "redis_version")
}

func field(t *testing.T, s *testredis.Server, section, name string) string {
	t.Helper()
	for line := range strings.Lines(s.Do(t, "INFO", section).(string)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return v
		}
	}
	t.Fatalf("INFO %s has no %s", section, name)
	return ""
}

func serverTime(t *testing.T, s *testredis.Server) time.Duration {
	t.Helper()
	var sum float64
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		v, err := strconv.ParseFloat(field(t, s, "cpu", name), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return time.Duration(sum * float64(time.Second))
}

// total adds the counters up.
func total(t *testing.T, s *testredis.Server, names []string) int64 {
	t.Helper()
	c, err := testredis.Dial(s.Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	distinct := slices.Compact(slices.Sorted(slices.Values(names)))
	var sum int64
	for batch := range slices.Chunk(distinct, 5000) {
		cmds := make([][]string, len(batch))
		for i, k := range batch {
			cmds[i] = []string{"GET", k}
		}
		replies, err := c.Pipeline(cmds...)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range replies {
			n, err := strconv.ParseInt(fmt.Sprint(r), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// plain appends a batch of INCRs.
func plain(b []byte, batch []string, _ int) ([]byte, int) {
	for _, name := range batch {
		b = resp.AppendCommand(b, "INCR", name)
	}
	return b, len(batch)
}

// markers appends a MULTI for each slot of the batch, with its marker, and
// returns the number of replies due.
func markers(b []byte, batch []string, end int, tags []string) ([]byte, int) {
	bySlot := map[int][]string{}
	var order []int
	for _, name := range batch {
		slot := route.Slot([]byte(name))
		if bySlot[slot] == nil {
			order = append(order, slot)
		}
		bySlot[slot] = append(bySlot[slot], name)
	}
	replies := 0
	for _, slot := range order {
		b = resp.AppendCommand(b, "MULTI")
		for _, name := range bySlot[slot] {
			b = resp.AppendCommand(b, "INCR", name)
		}
		b = resp.AppendCommand(b, "SET", "marker:{"+tags[slot]+"}", strconv.Itoa(end))
		b = resp.AppendCommand(b, "EXEC")
		replies += len(bySlot[slot]) + 3
	}
	return b, replies
}

// pipeline sends batches, the next one before the answer to the one before
// it, as the replicator does.
func pipeline(t *testing.T, addr string, names []string, add func(b []byte, batch []string, end int) ([]byte, int), started func()) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := window.New(bufio.NewReaderSize(c, 1<<20), 1<<20, 0)
	due := 0
	read := func(n int) {
		for range n {
			if err := resp.SkipReply(in); err != nil {
				t.Fatal(err)
			}
		}
	}
	var buf []byte
	end := 0
	started()
	for batch := range slices.Chunk(names, perBatch) {
		end += len(batch)
		var replies int
		buf, replies = add(buf[:0], batch, end)
		if _, err := c.Write(buf); err != nil {
			t.Fatal(err)
		}
		read(due)
		due = replies
	}
	read(due)
}

// scripted applies the commands with the replicator's own writer.
func scripted(t *testing.T, addr string, names []string, started func()) {
	t.Helper()
	ctx := context.Background()
	id := strings.Repeat("a", 40)
	w := apply.NewCluster(apply.Options{
		Identity: fence.Identity{Pair: "measure", Token: "t"}, Addrs: []string{addr}, BatchCount: perBatch,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Waiting: func(error) {},
		Seen: func() fence.Seen { return fence.Seen{At: time.Now()} },
	})
	defer w.Close()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Take(ctx)
	check(err)
	check(w.BeginSnapshot(ctx))
	check(w.EndSnapshot(ctx, psync.Position{ReplID: id, Offset: 1}, false))
	started()
	at := int64(1)
	var c resp.Command
	var raw []byte
	for _, name := range names {
		raw = resp.AppendCommand(raw[:0], "INCR", name)
		check(resp.ReadCommand(window.New(bytes.NewReader(raw), 64, 0), &c))
		at += int64(len(raw))
		check(w.Write(ctx, &c, 0, psync.Position{ReplID: id, Offset: at}))
		if w.Full() {
			check(w.Flush(ctx, false))
		}
	}
	check(w.Flush(ctx, true))
}

// median takes the medians of both figures.
func median(all []cost) cost {
	wall, server := make([]time.Duration, len(all)), make([]time.Duration, len(all))
	for i, c := range all {
		wall[i], server[i] = c.wall, c.server
	}
	slices.Sort(wall)
	slices.Sort(server)
	return cost{wall[len(wall)/2], server[len(server)/2]}
}
