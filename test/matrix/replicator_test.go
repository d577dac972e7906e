package matrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

const (
	// patience bounds the wait for a copy of the small data of these tests.
	patience = time.Minute
	pairName = "matrix"
)

// program is the replicator, built by TestMain.
var program string

// build compiles the replicator of this tree into dir.
func build(dir string) error {
	program = filepath.Join(dir, "redis-sync-sidecar")
	cmd := exec.Command("go", "build", "-C", filepath.Join("..", ".."), "-o", program, "./cmd/redis-sync-sidecar")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the replicator: %w: %s", err, out)
	}
	return nil
}

// replicator is one running process.
type replicator struct {
	cmd  *exec.Cmd
	url  string
	out  bytes.Buffer
	done chan struct{} // closed when the process ended
}

// endedError carries why a replicator stopped, in its own words.
type endedError struct{ reason string }

func (e *endedError) Error() string { return "the replicator stopped: " + e.reason }

// stuckError carries the state in which a replicator made no progress.
type stuckError struct{ state string }

func (e *stuckError) Error() string { return "no progress: " + e.state }

func startReplicator(t testing.TB, source, targetKind, target string) *replicator {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "link")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	file := filepath.Join(dir, "sync.toml")
	text := fmt.Sprintf(`type = "sync"
[link]
pair = %q
site = "b"
shard = 0
epoch = 1
slots = "0-16383"
[source]
address = %q
[target]
type = %q
address = %q
stale_keys = "prune"
stale_keys_max_share = 1.0
[advanced]
dir = %q
metrics_port = %d
log_interval = 0
%s
`, pairName, source, targetKind, target, filepath.Join(dir, "data"), port, os.Getenv("MATRIX_ADVANCED"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &replicator{cmd: exec.Command(program, file), url: fmt.Sprintf("http://127.0.0.1:%d/status", port), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("start the replicator: %v", err)
	}
	go func() {
		_ = r.cmd.Wait() // how it ended is read from the process state
		close(r.done)
	}()
	t.Cleanup(func() { r.kill() })
	return r
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *replicator) kill() {
	_ = r.cmd.Process.Kill() // fails only when it has ended already
	<-r.done
}

// stop ends the replicator as Kubernetes does.
func (r *replicator) stop() error {
	select {
	case <-r.done:
		return r.ended()
	default:
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-r.done:
	case <-time.After(patience):
		r.kill()
		return &stuckError{"it does not end after SIGTERM"}
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		return r.ended()
	}
	return nil
}

// ended reads the reason from the last error line of the log.
func (r *replicator) ended() error {
	reason := ""
	for line := range strings.Lines(r.out.String()) {
		if _, text, ok := strings.Cut(line, "msg=stopped error="); ok {
			if reason, _ = strconv.Unquote(strings.TrimSpace(text)); reason == "" {
				reason = strings.TrimSpace(text)
			}
		}
	}
	if reason == "" { // a panic, or a kill from outside
		return fmt.Errorf("the replicator ended with %v and says: %s", r.cmd.ProcessState, r.out.String())
	}
	return &endedError{reason}
}

func (r *replicator) status() (wire.Status, error) {
	var s wire.Status
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(r.url)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// await waits until the status is as wanted; an *endedError or *stuckError says
// why it will not be.
func (r *replicator) await(ok func(wire.Status) bool) error {
	var last wire.Status
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-r.done:
			return r.ended()
		default:
		}
		s, err := r.status()
		if err != nil {
			continue // it does not listen yet
		}
		if last = s; ok(s) {
			return nil
		}
	}
	state := fmt.Sprintf("phase %s, %d full copies begun, applied %d; %s; %s",
		last.Phase, last.FullSync.Count, last.AppliedOffset, last.Error, strings.Join(last.Findings, "; "))
	return &stuckError{strings.TrimRight(state, "; ")}
}
