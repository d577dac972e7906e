package sidecar_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// crossSlotWrites are commands over keys of several slots, with commands of
// one key and of one slot in between that need what they made.
func crossSlotWrites(n string, rnd func(int) int) [][]string {
	k := func(name string) string { return name + ":" + strconv.Itoa(rnd(6)) }
	v := "v" + n
	all := [][][]string{
		{{"SET", k("s"), v}, {"RENAME", k("s"), k("s")}, {"APPEND", k("s"), v}},
		{{"RENAMENX", k("s"), k("s")}},
		{{"COPY", k("s"), k("s"), "REPLACE"}, {"APPEND", k("s"), "c"}},
		{{"MSETNX", "nx1" + n, v, "nx2" + n, v, "nx3" + n, v}, {"DEL", "nx1" + n, k("s")}},
		{{"SADD", k("t"), v, "x" + n[:1]}, {"SMOVE", k("t"), k("t"), v}, {"SUNIONSTORE", k("t"), k("t"), k("t")}},
		{{"SINTERSTORE", k("t"), k("t"), k("t")}, {"SDIFFSTORE", k("t"), k("t"), k("t")}},
		{{"RPUSH", k("l"), v, v}, {"LMOVE", k("l"), k("l"), "LEFT", "RIGHT"}, {"RPOPLPUSH", k("l"), k("l")}, {"LTRIM", k("l"), "-50", "-1"}},
		{{"ZADD", k("z"), n, v}, {"ZUNIONSTORE", k("z"), "2", k("z"), k("z")}, {"ZRANGESTORE", k("z"), k("z"), "0", "20"}, {"ZINCRBY", k("z"), "1", v}},
		{{"SETBIT", k("b"), n, "1"}, {"BITOP", "XOR", k("b"), k("b"), k("b")}, {"SETBIT", k("b"), "7", "1"}},
		{{"PFADD", k("p"), v}, {"PFMERGE", k("p"), k("p"), k("p")}},
		{{"RPUSH", k("n"), n}, {"SORT", k("n"), "BY", "w:*", "GET", "#", "STORE", k("n")}, {"LTRIM", k("n"), "-20", "-1"}},
		{{"GEOADD", k("g"), "13.3", "38.1", v}, {"GEORADIUS", k("g"), "13", "38", "200", "km", "STORE", k("g")}},
		// What reads a pending key in the same slot, and writes another one.
		{{"SET", "{a}1", v}, {"RENAME", k("s"), "{a}1"}, {"RENAME", "{a}1", "{a}2"}, {"APPEND", "{a}2", v}},
		{{"RPUSH", "{b}1", v}, {"LMOVE", k("l"), "{b}1", "LEFT", "LEFT"}, {"LMOVE", "{b}1", "{b}2", "LEFT", "RIGHT"}, {"LTRIM", "{b}2", "-9", "-1"}},
		{{"MULTI"}, {"INCR", k("i")}, {"SMOVE", k("t"), k("t"), v}, {"SET", k("s"), v}, {"RENAME", k("s"), k("s")}, {"INCR", k("i")}, {"EXEC"}},
		{{"INCR", k("i")}, {"COPY", k("i"), k("i"), "REPLACE"}, {"INCR", k("i")}, {"INCR", k("i")}},
		{{"MSET", k("s"), v, k("s"), v}, {"EXPIRE", k("s"), "5000"}, {"PERSIST", k("s")}, {"DEL", k("s"), k("t"), k("l")}},
	}
	return all[rnd(len(all))]
}

// try runs a command that the server may refuse, for what earlier ones left.
func try(s *testredis.Server, commands [][]string) error {
	for _, c := range commands {
		if _, err := s.TryDo(c...); err != nil && !strings.Contains(err.Error(), "ERR") && !strings.Contains(err.Error(), "WRONGTYPE") {
			return err
		}
	}
	return nil
}

// TestCrossSlot: what a cluster cannot compute is fetched, and goes on being
// written to; replicators take over from each other in the middle of it, as
// after a SIGKILL.
func TestCrossSlot(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{0, 150 * time.Millisecond} {
		t.Run("takeover every "+every.String(), func(t *testing.T) {
			src := testredis.Start(t, debugArgs()...)
			replica := testredis.StartReplica(t, src, debugArgs()...)
			dst := clusterSide(t)
			fence(t, dst)
			l := link{slots: "0-16383", sources: []string{src.Addr, replica.Addr}, target: dst.target}
			r := start(t, l)
			r.waitInSync(t)

			rnd := rand.New(rand.NewPCG(7, 11))
			last := time.Now()
			for i := range 12000 {
				if err := try(src, crossSlotWrites(strconv.Itoa(i), rnd.IntN)); err != nil {
					t.Fatal(err)
				}
				if every > 0 && time.Since(last) > every {
					last = time.Now()
					r = start(t, l)
				}
			}
			r.waitEqualOffsets(t, src)
			compare(t, contents(t, src), contents(t, dst.masters...))
			for _, m := range dst.masters {
				if left := m.Do(t, "KEYS", "redis-sync:*:pending").([]any); len(left) > 0 {
					t.Errorf("%s still has %v", m.Addr, left)
				}
			}
			s := r.Status().Get()
			if every == 0 && (s.FullSync.Count != 1 || s.Delivery != "exactly-once") {
				t.Errorf("%d full copies, delivery %s", s.FullSync.Count, s.Delivery)
			}
			r.finish(t)
		})
	}
}

// notedPending is how many keys are pending, by what stands beside the
// checkpoint in a target and by what it says itself, which is all that is
// known of a standby whose replicators are gone.
func notedPending(t *testing.T, dst side) int {
	t.Helper()
	names, _ := dst.Do(t, "SCARD", wire.PendingKey("p", 0)).(int64)
	field, _ := dst.Do(t, "HGET", wire.CheckpointKey("p", 0), wire.CkptPending).(string)
	count, _ := strconv.Atoi(field)
	return max(count, int(names))
}

// TestPendingOutlivesTheProcess: keys whose values cannot be fetched yet are
// known to the processes after the one that met them, and nothing else waits
// for them.
func TestPendingOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			src := testredis.Start(t, debugArgs()...)
			dst := target(t)
			fence(t, dst)
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
			r := start(t, l)
			r.waitInSync(t)
			for i := range 9 {
				n := strconv.Itoa(i)
				src.Do(t, "RPUSH", "e"+n, "a", "b")
				src.Do(t, "PEXPIRE", "e"+n, "1500")
				src.Do(t, "SADD", "t"+n, "x", "y")
				src.Do(t, "SET", "s"+n, n)
			}
			testredis.Eventually(t, 10*time.Second, "the keys to come", func() bool {
				s := r.Status().Get()
				return s.InSync && len(contents(t, dst.masters...)) == 27
			})
			r.finish(t)
			src.Do(t, "ACL", "SETUSER", "default", "-dump")
			for i := range 9 {
				n := strconv.Itoa(i)
				src.Do(t, "PERSIST", "e"+n)
				src.Do(t, "SMOVE", "t"+n, "other", "x")
				src.Do(t, "RENAME", "s"+n, "renamed"+n)
				src.Do(t, "APPEND", "renamed"+n, "+")
			}
			testredis.Eventually(t, 20*time.Second, "the target to let the keys expire", func() bool {
				for k := range contents(t, dst.masters...) {
					if strings.HasPrefix(k, `0 "e`) {
						return false
					}
				}
				return true
			})
			s := r.Status().Get()
			for round := range 3 {
				r = start(t, l) // the one before is not told: it is as good as killed
				marker := "marker" + strconv.Itoa(round)
				src.Do(t, "SET", marker, "1") // not INCR: a new key is one to wonder about
				src.Do(t, "RPUSH", "e"+strconv.Itoa(round), "later")
				testredis.Eventually(t, 30*time.Second, "what comes after the pending keys", func() bool {
					s = r.Status().Get()
					_, ok := contents(t, dst.masters...)[`0 "`+marker+`"`]
					return ok && s.Stream.PendingKeys > 0 && len(s.Findings) > 0 && !s.InSync && !s.Complete && notedPending(t, dst) > 0
				})
				if s.AppliedOffset >= s.Source.Offset {
					t.Errorf("applied %d of %d while keys are pending", s.AppliedOffset, s.Source.Offset)
				}
			}
			src.Do(t, "ACL", "SETUSER", "default", "+dump")
			r.waitEqualOffsets(t, src)
			testredis.Eventually(t, 30*time.Second, "the checkpoint to say that nothing is pending", func() bool { return notedPending(t, dst) == 0 })
			s = r.Status().Get()
			compare(t, contents(t, src), contents(t, dst.masters...))
			if s.FullSync.Count != 0 || len(s.Findings) > 0 {
				t.Errorf("%d full copies, findings %q", s.FullSync.Count, s.Findings)
			}
			r.finish(t)
		})
	}
}
