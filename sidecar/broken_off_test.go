package sidecar_test

import (
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestSnapshotBreaksOff ends the session in the snapshot while the target has
// not answered all that was sent: the answers are read before the connections
// are used again, so none is taken for that of another command.
func TestSnapshotBreaksOff(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, append(debugArgs(), "--repl-ping-replica-period", "3600", "--rdbcompression", "no")...)
	for i := range 40 {
		args := []string{"MSET"}
		for k := range 500 {
			args = append(args, "key:"+strconv.Itoa(i)+":"+strconv.Itoa(k), strings.Repeat(strconv.Itoa(k), 30))
		}
		src.Do(t, args...)
	}
	rec := record(t, src, func() { src.Do(t, "SET", "last", "v") })
	want := contents(t, src)
	session := append(rec.diskless(rec.snapshot, endMarker), rec.stream...)
	for name, target := range map[string]func(*testing.T) side{"standalone": standaloneSide, "cluster": clusterSide} {
		t.Run(name, func(t *testing.T) {
			dst := target(t)
			fence(t, dst)
			for _, m := range dst.masters { // what it counted before is not to be counted again
				own := ""
				for i := 0; own == ""; i++ {
					if _, err := m.TryDo("SET", "short"+strconv.Itoa(i), "v", "PX", "1"); err == nil {
						own = "short" + strconv.Itoa(i)
					}
				}
				testredis.Eventually(t, 10*time.Second, "a key to expire", func() bool {
					m.Do(t, "GET", own)
					return !strings.Contains(m.Do(t, "INFO", "stats").(string), "\nexpired_keys:0\r")
				})
			}
			s := startRecorded(t, rec, func(s *recordedSource) {
				s.psync = func(n int, _ []string, w io.Writer) bool {
					if n < 3 {
						_, _ = w.Write(session[:len(rec.snapshot)*(n+1)/4])
					}
					return n < 3
				}
			})
			r, log := startLogged(t, link{slots: "0-16383", sources: []string{s.addr}, target: dst.target})
			r.waitApplied(t, rec.end())
			compare(t, want, contents(t, dst.masters...))
			if keys := r.Status().Get().TargetKeys; keys.Expired != 0 || keys.Evicted != 0 {
				t.Errorf("the target dropped %+v, says the status", keys)
			}
			for _, line := range []string{"protocol error", "waiting for the target"} {
				if strings.Contains(log.String(), line) {
					t.Errorf("the log says %q:\n%s", line, log)
				}
			}
			r.finish(t)
		})
	}
}
