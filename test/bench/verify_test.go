package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// verifyStrings compares what a full sync of plain strings left.
func (w *world) verifyStrings(t *testing.T) {
	name := fmt.Sprintf("verify, %d strings of 100 bytes", w.n)
	if !wanted(name) {
		return
	}
	source := standalone(t, sourceArgs...)
	defer source.end()
	source.masters[0].Do(t, "DEBUG", "POPULATE", strconv.Itoa(w.n), "key", "100")
	w.verify(t, name, source)
}

// verifyMixed compares what a full sync of collections left.
func (w *world) verifyMixed(t *testing.T) {
	const name = "verify, mixed collections"
	if !wanted(name) {
		return
	}
	source := standalone(t, sourceArgs...)
	defer source.end()
	files, _ := mixed(t, 1, w.mixedBytes(), tenToThousand)
	pipe(t, byAddr(source, files))
	w.verify(t, name, source)
}

// verify copies a source into a new target, and then compares the two while
// the replicator follows: each measurement of the one row uses the instances
// that the one of the other row left.
func (w *world) verify(t *testing.T, name string, source side) {
	const full = "full sync"
	var target side
	var replicator *process
	end := func() {
		if replicator != nil {
			replicator.stop()
			target.end()
		}
	}
	defer func() { end() }()
	copied := row{name: full, measure: func(*testing.T) usage {
		end()
		// Servers end with the test that they belong to: this is not the row's.
		target = standalone(t)
		target.fence(t)
		begin := time.Now()
		replicator = startReplicator(t, w.binary, source.links(target)[0])
		u := complete(t, []*process{replicator}, begin)
		same(t, source, target)
		inSync(t, []*process{replicator})
		return u
	}}
	compared := row{name: ours, measure: func(t *testing.T) usage {
		u, result := compare(t, w.binary, replicator.file)
		if want := source.keys(t); !result.Equal() || !result.Exact || result.Compared != want || result.EqualKeys != want {
			t.Fatalf("%d keys, and the comparison says %+v", want, result)
		}
		return u
	}}
	w.measure(t, name, []row{copied, compared}, goal{against: full, ratio: 3}, goal{rss: 128 << 20})
}

// compare runs `redis-sync-sidecar verify`, as the Job does.
func compare(t *testing.T, binary, file string) (usage, *wire.VerifyResult) {
	t.Helper()
	var out, text bytes.Buffer
	cmd := exec.Command(binary, "verify", file)
	cmd.Stdout, cmd.Stderr = &out, &text
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begin := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(begin)}
	if err != nil {
		t.Fatalf("verify: %v: %s%s", err, out.Bytes()[max(0, out.Len()-2000):], text.Bytes())
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	u.rss = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	var last wire.VerifyLine
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || last.Result == nil {
		t.Fatalf("verify: the last line is no result (%v): %s", err, lines[len(lines)-1])
	}
	return u, last.Result
}
