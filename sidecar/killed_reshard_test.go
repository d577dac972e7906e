package sidecar_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// killWhile ends the processes with SIGKILL, one after the other, and starts
// each again, until all of done are closed and each was killed so often.
func killWhile(t *testing.T, runs []*process, atLeast int, done ...<-chan struct{}) (kills int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(8, 8))
	for ended := false; !ended || kills < atLeast*len(runs); kills++ {
		time.Sleep(time.Duration(200+rnd.IntN(400)) * time.Millisecond)
		i := kills % len(runs)
		runs[i] = runs[i].killed(t)
		ended = true
		for _, c := range done {
			select {
			case <-c:
			default:
				ended = false
			}
		}
	}
	return kills
}

// killed ends a process with SIGKILL and starts it again.
func (p *process) killed(t *testing.T) *process {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatalf("it had ended before: %v: %s", err, p.out.String())
	}
	<-p.done
	next := &process{cmd: exec.Command(p.cmd.Args[0], p.cmd.Args[1:]...), url: p.url, done: make(chan struct{})}
	next.run(t)
	return next
}

// background runs f and closes what it returns.
func background(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return done
}

// TestKilledWhileTargetReshards: slots of the target move, commands come, and
// the replicator is killed again and again: nothing is lost or doubled, and no
// copy is made again.
func TestKilledWhileTargetReshards(t *testing.T) {
	src := testredis.Start(t, append(debugArgs(), "--repl-backlog-size", "64mb")...)
	dst := testredis.StartCluster(t, 3, 0, debugArgs()...)
	fence(t, dst)
	rnd := rand.New(rand.NewPCG(6, 7))
	writeSome(t, src, rnd, 2000)
	l := link{slots: "0-16383", sources: []string{src.Addr}, target: fmt.Sprintf("type = \"cluster\"\naddress = %q", dst.Addrs()[0])}
	runs := []*process{startProcess(t, l)}
	runs[0].waitFor(t, time.Minute, "the replicator to be in sync", func(s wire.Status) bool { return s.InSync })
	m := dst.Masters()
	written := background(func() { writeSome(t, src, rnd, 8000) })
	moved := background(func() {
		moveRange(t, dst, m[0], m[1], 0, 299)
		moveRange(t, dst, m[2], m[0], 16000, 16200)
		moveRange(t, dst, m[1], m[2], 100, 250)
	})
	kills := killWhile(t, runs, 6, written, moved)
	var last wire.Status
	runs[0].waitFor(t, 2*time.Minute, "everything to be applied", func(s wire.Status) bool {
		last = s
		return s.InSync && s.Complete && strconv.FormatInt(s.AppliedOffset, 10) == infoField(t, src, "master_repl_offset")
	})
	compareMoved(t, contents(t, src), contents(t, m...))
	if last.FullSync.Count != 0 {
		t.Errorf("%d full copies: %s", last.FullSync.Count, last.FullSync.Reason)
	}
	t.Logf("%d kills", kills)
}

// TestKilledWhileSourceReshards: slots of the source move, and the replicators
// of all its shards are killed again and again, also those that are about to
// let go of slots, or to take them.
func TestKilledWhileSourceReshards(t *testing.T) {
	src, dst := clusterSide(t), standaloneSide(t)
	c := src.doer.(*testredis.Cluster)
	m := c.Masters()
	fence(t, dst)
	rnd := rand.New(rand.NewPCG(16, 7))
	writeSome(t, src, rnd, 2000)
	links := src.links(dst.target + "\nstale_keys = \"prune\"")
	var runs []*process
	for _, l := range links {
		runs = append(runs, startProcess(t, l))
	}
	for _, r := range runs {
		r.waitFor(t, time.Minute, "the replicators to be in sync", func(s wire.Status) bool { return s.InSync })
	}
	written := background(func() { writeSome(t, following{c}, rnd, 6000) })
	moved := background(func() {
		moveRange(t, c, m[0], m[1], 0, 199)
		moveRange(t, c, m[2], m[1], 16000, 16100)
	})
	kills := killWhile(t, runs, 4, written, moved)
	for i, r := range runs {
		slots := clusterSlots(t, m[i])
		r.waitFor(t, 2*time.Minute, "the replicator to be in sync with the slots "+slots, func(s wire.Status) bool {
			return s.InSync && s.Complete && s.Slots == slots
		})
	}
	writeSome(t, src, rnd, 300)
	for i, r := range runs {
		r.waitFor(t, 2*time.Minute, "everything to be applied", func(s wire.Status) bool {
			return s.InSync && s.Complete && s.Slots == clusterSlots(t, m[i]) && strconv.FormatInt(s.AppliedOffset, 10) == infoField(t, m[i], "master_repl_offset")
		})
	}
	compare(t, contents(t, m...), contents(t, dst.masters...))
	t.Logf("%d kills", kills)
}
