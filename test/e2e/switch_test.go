package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	"github.com/redis-sync/kubectl-redis-sync/test/loadpod"
)

// switched is what the verbs that change roles print with -o json.
type switched struct {
	Phase              string  `json:"phase"`
	Epoch              int64   `json:"epoch"`
	Primary            string  `json:"primary"`
	UnavailableSeconds float64 `json:"unavailableSeconds"`
	Seconds            float64 `json:"seconds"`
	FullCopies         int     `json:"fullCopies"`
	Verify             *wire.VerifyResult
	Steps              []struct {
		Op   string `json:"op"`
		Site string `json:"site"`
	} `json:"steps"`
}

// names are the steps in one line.
func (r switched) names() string {
	var all []string
	for _, step := range r.Steps {
		all = append(all, step.Op+" "+step.Site)
	}
	return strings.Join(all, ", ")
}

func (s *scene) switches(t *testing.T, code int, args ...string) switched {
	t.Helper()
	r := s.plugin(t, code, s.pair.Later(args[0], append(args[1:], "-o", "json")...)...)
	var result switched
	if err := json.Unmarshal([]byte(r.Stdout), &result); err != nil {
		t.Fatalf("%v: %s", err, r.Stdout)
	}
	return result
}

// back is the pair as it is after a failover.
func (s *scene) back() harness.Pair {
	return harness.Pair{Name: s.pair.Name, Source: s.pair.Target, Target: s.pair.Source}
}

// equalAfter waits until the other side has applied everything, and compares.
// A partial resync brings nothing back: were a write lost on the way, one side
// would lack it.
func (s *scene) equalAfter(t *testing.T, p harness.Pair, replicators int) {
	t.Helper()
	s.eventually(t, 2*time.Minute, "everything is applied", func() bool {
		return s.world.WaitApplied(t.Context(), p, replicators) == nil
	})
	result, err := s.world.ComparePair(t.Context(), p, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := verify.WriteText(testWriter{t}, result); err != nil {
		t.Fatal(err)
	}
	if !result.Equal() || result.Compared == 0 {
		t.Errorf("the sites differ: %+v", result)
	}
}

// takesWrites says whether an application may write to a master of a site.
func takesWrites(t *testing.T, instance *harness.Instance) bool {
	t.Helper()
	taken, all := takeWrites(t, instance)
	if taken != 0 && taken != all {
		t.Errorf("%d of %d masters take writes", taken, all)
	}
	return taken > 0
}

// takeWrites says how many masters of a site take writes of applications.
func takeWrites(t *testing.T, instance *harness.Instance) (taken, all int) {
	t.Helper()
	masters, err := instance.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range masters {
		// A key of another node's slots says nothing.
		err := errors.New("MOVED")
		for i := 0; i < 100 && err != nil && strings.Contains(err.Error(), "MOVED"); i++ {
			_, err = instance.Do(t.Context(), m.Pod, "XADD", fmt.Sprintf("of an application: %d", i), "MAXLEN", "1", "*", "f", "v")
		}
		switch {
		case err == nil:
			taken++
		case strings.Contains(err.Error(), "NOPERM"), strings.Contains(err.Error(), "NOREPLICAS"):
		default:
			t.Fatalf("pod %s: %v", m.Pod, err)
		}
	}
	return taken, len(masters)
}

// circle is a planned failover and a failback, each with live writers on the
// side that serves.
func circle(t *testing.T, s *scene) {
	hooks := s.applicationServices(t)
	book := s.plugin(t, 0, s.pair.Later("runbook")...).Stdout
	s.inBook(t, book, "failover")
	dry := s.switches(t, 0, "failover", "--dry-run")
	if len(dry.Steps) < 10 || dry.Epoch != s.epoch(t) || dry.Primary != s.pair.Source.Instance {
		t.Errorf("the dry run has the steps %s", dry.names())
	}
	over := s.switches(t, 0, "failover", "--yes", "--max-lag", "1m", "--hook", hooks)
	if over.names() != dry.names() {
		t.Errorf("steps:\n%s\nthe dry run said:\n%s", over.names(), dry.names())
	}
	if over.Phase != "RecoverInSync" || over.Primary != s.pair.Target.Instance || over.FullCopies != 0 {
		t.Errorf("failover reached %+v", over)
	}
	if v := over.Verify; v == nil || v.Mode != wire.VerifySample || v.Compared == 0 || v.Differences() != 0 {
		t.Errorf("the comparison of a sample found %+v", v)
	}
	t.Logf("nobody could write for %.2f s", over.UnavailableSeconds)
	s.stopWriters(t)
	if takesWrites(t, s.source) || !takesWrites(t, s.target) {
		t.Error("only the new primary is to take writes")
	}
	s.equalAfter(t, s.back(), 1)

	s.movedTo(t, s.pair.Target)
	s.inBook(t, book, "failback")

	cluster, err := s.world.Cluster(s.pair.Target.Site)
	if err != nil {
		t.Fatal(err)
	}
	runner := loadpod.Runner{Cluster: cluster, Placement: s.pair.Target}
	writers, err := runner.Write(t.Context(), 200)
	if err != nil {
		t.Fatal(err)
	}
	home := s.switches(t, 0, "failback", "--yes", "--max-lag", "1m", "--verify", "full", "--hook", hooks)
	s.movedTo(t, s.pair.Source)
	if v := home.Verify; v == nil || v.Mode != wire.VerifyFull || v.Compared == 0 || v.Differences() != 0 {
		t.Errorf("the comparison of everything found %+v", v)
	}
	if home.Phase != "InSync" || home.Primary != s.pair.Source.Instance || home.FullCopies != 0 {
		t.Errorf("failback reached %+v", home)
	}
	t.Logf("nobody could write for %.2f s", home.UnavailableSeconds)
	stats, err := writers.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("on the new primary: %d commands acknowledged, %d refused, %d without an answer", stats.Acknowledged, stats.Failed, stats.Unknown)
	if !takesWrites(t, s.source) || takesWrites(t, s.target) {
		t.Error("only the preferred primary is to take writes")
	}
	s.equalAfter(t, s.pair, shards)
	if s.writers, err = s.runner.Write(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) epoch(t *testing.T) int64 {
	t.Helper()
	r := s.plugin(t, 0, s.pair.Later("status", "-o", "json")...)
	var report struct {
		Epoch int64 `json:"epoch"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	return report.Epoch
}

func (s *scene) stopWriters(t *testing.T) {
	t.Helper()
	stats, err := s.writers.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commands acknowledged, %d refused, %d without an answer; last error %q", stats.Acknowledged, stats.Failed, stats.Unknown, stats.LastError)
}

// killer gives a directory with a hook that kills the plugin at a point.
func killer(t *testing.T, point string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, point), []byte("#!/bin/sh\nkill -9 $PPID\n"), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return dir
}

// killed: the plugin is killed in the middle of a switch. cancel takes it back
// while the new primary is closed; afterwards only going on is possible.
func killed(t *testing.T, s *scene) {
	gone := -1 // no exit code: ended by a signal
	s.plugin(t, gone, s.pair.Later("failover", "--yes", "--max-lag", "1m", "--hook", killer(t, "before-commit"))...)
	if takesWrites(t, s.source) || takesWrites(t, s.target) {
		t.Error("between closing and opening nobody is to take writes")
	}
	s.plugin(t, 3, s.pair.Later("apply", "--yes")...)
	s.plugin(t, 11, s.pair.Later("cancel", "--yes")...) // the dead command holds the lock
	s.plugin(t, 0, s.pair.Later("unlock", "--yes")...)
	s.plugin(t, 0, s.pair.Later("cancel", "--yes")...)
	if !takesWrites(t, s.source) || takesWrites(t, s.target) {
		t.Error("after the cancel only the old primary is to take writes")
	}
	equalNow(t, s)

	s.plugin(t, gone, s.pair.Later("failover", "--yes", "--max-lag", "1m", "--hook", killer(t, "after-open"))...)
	// Without unlock, the next command takes the lock over after a while.
	s.eventually(t, 2*time.Minute, "the lock of the dead command is taken over", func() bool {
		r, err := s.world.Plugin(t.Context(), s.pair.Later("cancel", "--yes")...)
		if err != nil {
			t.Fatal(err)
		}
		if r.Code != 11 && r.Code != 3 {
			t.Fatalf("cancel after the opening: %s", r)
		}
		return r.Code == 3
	})
	resumed := s.switches(t, 0, "resume", "--yes")
	if resumed.Phase != "RecoverInSync" || resumed.FullCopies != 0 {
		t.Errorf("resume reached %+v", resumed)
	}
	s.stopWriters(t)
	s.equalAfter(t, s.back(), 1)
	s.switches(t, 0, "failback", "--yes")
	s.equalAfter(t, s.pair, shards)
	var err error
	if s.writers, err = s.runner.Write(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
}
