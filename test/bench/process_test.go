package bench

import (
	"encoding/json"
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

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// patience bounds every wait of a measurement.
const patience = 15 * time.Minute

// usage is what one measurement of a row took.
type usage struct {
	wall, cpu time.Duration
	servers   time.Duration // CPU of all servers of the row; 0: not measured
	rss       int64         // peak, bytes; the sum over the processes of the row
}

// process is a running replicator or peer.
type process struct {
	cmd     *exec.Cmd
	metrics int // port of /status
	pprof   int
	file    string // its sync.toml
	log     string
	done    chan struct{}
}

// build compiles the replicator once for all scenarios.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "redis-sync-sidecar")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/redis-sync-sidecar")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the replicator: %v\n%s", err, out)
	}
	return binary
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// link is one replicator's task.
type link struct {
	shard  int
	slots  string
	source string
	target string // the keys of [target], as TOML
}

// startReplicator starts our binary on a link, with the fence and
// exactly-once in force.
func startReplicator(t *testing.T, binary string, l link) *process {
	t.Helper()
	p := &process{metrics: freePort(t), pprof: freePort(t), done: make(chan struct{})}
	dir := t.TempDir()
	body := fmt.Sprintf(`type = "sync"
[link]
pair = "bench"
site = "target"
shard = %d
epoch = 1
slots = %q
[source]
address = %q
[target]
%s
stale_keys = "prune"
[advanced]
dir = %q
metrics_port = %d
pprof_port = %d
log_file = ""
log_level = "warn"
log_interval = 0
`, l.shard, l.slots, l.source, l.target, dir, p.metrics, p.pprof)
	p.start(t, binary, dir, body)
	return p
}

// startPeer starts a peer on the same servers.
func startPeer(t *testing.T, binary string, l link) *process {
	t.Helper()
	p := &process{metrics: freePort(t), done: make(chan struct{})}
	dir := t.TempDir()
	body := fmt.Sprintf(`type = "sync"
[source]
version = 7.0
address = %q
username = ""
password = ""
tls = false
elasticache_psync = ""
[target]
version = 7.0
username = ""
password = ""
tls = false
%s
[advanced]
dir = %q
ncpu = 2
pprof_port = 0
metrics_port = %d
log_file = "peer.log"
log_level = "warn"
log_interval = 5
rdb_restore_command_behavior = "rewrite"
pipeline_count_limit = 1024
target_redis_client_max_querybuf_len = 1024_000_000
target_redis_proto_max_bulk_len = 512_000_000
`, l.source, l.target, dir, p.metrics)
	p.start(t, binary, dir, body)
	return p
}

func (p *process) start(t *testing.T, binary, dir, body string) {
	t.Helper()
	p.file = filepath.Join(dir, "sync.toml")
	if err := os.WriteFile(p.file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	p.log = filepath.Join(dir, "output.log")
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(binary, p.file)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close() // the process has its own
	go func() {
		_ = p.cmd.Wait() // how it ended does not matter: who waits for it looks at what it did
		close(p.done)
	}()
	t.Cleanup(func() { p.stop() })
}

// stop ends the process: SIGTERM, and SIGKILL for a peer that ignores it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// signal stops the process or lets it go on.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// failed returns the end of the log when the process is no more.
func (p *process) failed() error {
	select {
	case <-p.done:
		text, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		return fmt.Errorf("the replicator ended: %s", text[max(0, len(text)-2000):])
	default:
		return nil
	}
}

// status asks a replicator of ours.
func (p *process) status() (wire.Status, error) {
	var s wire.Status
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/status", p.metrics))
	if err != nil {
		return s, err
	}
	defer func() { _ = resp.Body.Close() }()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// clockTick is USER_HZ, the unit of /proc/PID/stat; it is 100 on every Linux
// that Go runs on.
const clockTick = 10 * time.Millisecond

// used reads what the process has used so far.
func (p *process) used(t *testing.T) usage {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	// The fields after the name in brackets; utime and stime are fields 14
	// and 15 of proc(5).
	rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	var u usage
	for _, f := range rest[11:13] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			u.rss = kb << 10
		}
	}
	return u
}

// pipe sends a file of commands through redis-cli --pipe to each address at
// once, and returns how long the slowest took.
func pipe(t *testing.T, files map[string]string) usage {
	t.Helper()
	begin := time.Now()
	var running []*exec.Cmd
	for addr, file := range files {
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = in.Close() }()
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("redis-cli", "-h", host, "-p", port, "--pipe", "--pipe-timeout", "0")
		var out strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	var u usage
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("redis-cli --pipe: %v: %s", err, cmd.Stdout)
		}
		if out := fmt.Sprint(cmd.Stdout); !strings.Contains(out, "errors: 0") {
			t.Fatalf("redis-cli --pipe: %s", out)
		}
		u.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		u.rss += cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	}
	u.wall = time.Since(begin)
	return u
}

// await polls until ok, or fails.
func await(t *testing.T, what string, every time.Duration, ok func() (bool, error)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, err := ok()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(every)
	}
}

// info returns one field of INFO.
func info(t *testing.T, s *testredis.Server, section, field string) string {
	t.Helper()
	for line := range strings.Lines(s.Do(t, "INFO", section).(string)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return v
		}
	}
	t.Fatalf("INFO %s has no %s", section, field)
	return ""
}
