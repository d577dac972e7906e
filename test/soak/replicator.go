package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// replicator keeps one replicator process of a shard running, as a Deployment
// does, whatever ends it.
type replicator struct {
	shard   int
	binary  string
	dir     string
	logPath string
	toml    func(dir string, metricsPort, pprofPort int) string
	report  *report

	mu      sync.Mutex
	current *process
	started int
	stopped bool
	wg      sync.WaitGroup
}

// process is one run of the binary.
type process struct {
	cmd           *exec.Cmd
	number        int
	metrics, prof int
	log           *processLog
	expected      bool // its end was wanted; guarded by replicator.mu
	began         time.Time
	done          chan struct{}
	exit          int
}

// freePorts finds ports for /status and pprof.
func freePorts(n int) ([]int, error) {
	var list []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer func() { _ = l.Close() }()
		list = append(list, l.Addr().(*net.TCPAddr).Port)
	}
	return list, nil
}

// launch starts one more process. The caller holds mu.
func (r *replicator) launch() error {
	r.started++
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	p := &process{number: r.started, metrics: ports[0], prof: ports[1], began: time.Now(), done: make(chan struct{})}
	dir := filepath.Join(r.dir, fmt.Sprintf("shard-%d-process-%d", r.shard, p.number))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the folder of a replicator: %w", err)
	}
	file := filepath.Join(dir, "sync.toml")
	if err := os.WriteFile(file, []byte(r.toml(dir, p.metrics, p.prof)), 0o600); err != nil {
		return fmt.Errorf("the file of a replicator: %w", err)
	}
	p.log = &processLog{report: r.report, shard: r.shard, process: p.number}
	if p.log.file, err = os.OpenFile(r.logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("the log of a replicator: %w", err)
	}
	p.cmd = exec.Command(r.binary, file)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = dieWithParent()
	p.cmd.WaitDelay = time.Second
	p.log.note("started")
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting a replicator: %w", err)
	}
	r.current = p
	r.wg.Go(func() { r.watch(p, dir) })
	return nil
}

// watch waits for the end of a process and starts the next one.
func (r *replicator) watch(p *process, dir string) {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		r.report.fail("shard %d: waiting for process %d: %v", r.shard, p.number, err)
	}
	p.exit = p.cmd.ProcessState.ExitCode() // -1 after a signal
	p.log.note(fmt.Sprintf("ended: %v", p.cmd.ProcessState))
	if err := os.RemoveAll(dir); err != nil {
		r.report.fail("shard %d: %v", r.shard, err)
	}
	r.mu.Lock()
	expected := p.expected // before done: who waits for it changes it
	close(p.done)
	r.mu.Unlock()
	if !expected {
		r.report.fail("shard %d: process %d ended by itself with code %d: %s", r.shard, p.number, p.exit, p.log.last())
		time.Sleep(500 * time.Millisecond) // a pod is restarted with a backoff too
	}
	p.log.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != p || r.stopped {
		return
	}
	if err := r.launch(); err != nil {
		r.report.fail("shard %d: %v", r.shard, err)
	}
}

// signal sends a signal to the current process; ends says that it ends by it.
// The error is errSkipped when the process has ended already.
func (r *replicator) signal(sig syscall.Signal, ends bool) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.current
	select {
	case <-p.done:
		return p, errSkipped // between two processes
	default:
	}
	p.expected = p.expected || ends
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return p, fmt.Errorf("shard %d: %v to process %d: %w", r.shard, sig, p.number, err)
	}
	return p, nil
}

// supersede freezes the current process, starts another one as the new owner
// of the shard, and wakes the frozen one later. One of both must end then:
// the frozen one, unless it had not taken the shard yet.
func (r *replicator) supersede(ctx context.Context, frozen time.Duration) error {
	old, err := r.signal(syscall.SIGSTOP, true)
	if err != nil {
		return err
	}
	r.mu.Lock()
	err = r.launch()
	next := r.current
	next.expected = true
	r.mu.Unlock()
	if err != nil {
		return err
	}
	pause(ctx, frozen)
	if err := old.cmd.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("shard %d: waking process %d: %w", r.shard, old.number, err)
	}
	loser := old
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-old.done:
	case <-next.done:
		loser = next
	case <-limit.C:
		r.report.fail("shard %d: processes %d and %d both run %v after the first was woken", r.shard, old.number, next.number, patience)
		_ = old.cmd.Process.Kill() // so that the run can go on
		<-old.done
		return nil
	}
	if text := loser.log.last(); loser.exit != 1 || !strings.Contains(text, "superseded") {
		r.report.fail("shard %d: process %d, taken over by another, ended with code %d: %s", r.shard, loser.number, loser.exit, text)
	}
	// Where the new one lost, watch starts a third; it takes the shard from the
	// old one, which ends.
	r.mu.Lock()
	defer r.mu.Unlock()
	next.expected = false
	return nil
}

// stop ends the current process for good.
func (r *replicator) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	if err := r.drain(); err != nil && !errors.Is(err, errSkipped) {
		r.report.fail("%v", err)
	}
	r.wg.Wait()
}

// drainBound is advanced.drain_seconds, 10 s, and room for a busy machine.
const drainBound = 2 * time.Minute

// drain ends the current process with SIGTERM; it must end with 0.
func (r *replicator) drain() error {
	p, err := r.signal(syscall.SIGTERM, true)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		// One that has just been started does not listen for signals yet.
		if p.exit > 0 || p.exit < 0 && time.Since(p.began) > 30*time.Second {
			r.report.fail("shard %d: after SIGTERM process %d ended with code %d: %s", r.shard, p.number, p.exit, p.log.last())
		}
	case <-time.After(drainBound):
		r.report.fail("shard %d: process %d has not ended %v after SIGTERM", r.shard, p.number, drainBound)
		_ = p.cmd.Process.Kill() // it is reported
		<-p.done
	}
	return nil
}

var httpClient = &http.Client{Timeout: 2 * time.Second}

// process returns the current process.
func (r *replicator) process() *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

func (p *process) get(port int, path string) ([]byte, error) {
	resp, err := httpClient.Get("http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return body, err
}

// status asks the process for /status.
func (p *process) status() (wire.Status, error) {
	var s wire.Status
	body, err := p.get(p.metrics, "/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// resources are what leaks.
type resources struct{ fds, goroutines int }

var (
	openFDs    = regexp.MustCompile(`(?m)^process_open_fds (\S+)$`)
	goroutines = regexp.MustCompile(`^goroutine profile: total (\d+)`)
)

// resources asks the process for its open files and goroutines.
func (p *process) resources() (resources, error) {
	metrics, err := p.get(p.metrics, "/metrics")
	if err != nil {
		return resources{}, err
	}
	profile, err := p.get(p.prof, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return resources{}, err
	}
	var out resources
	for _, f := range []struct {
		text  []byte
		what  *regexp.Regexp
		value *int
	}{{metrics, openFDs, &out.fds}, {profile, goroutines, &out.goroutines}} {
		m := f.what.FindSubmatch(f.text)
		if m == nil {
			return out, fmt.Errorf("no %s in the answer", f.what)
		}
		if *f.value, err = strconv.Atoi(string(m[1])); err != nil {
			return out, err
		}
	}
	return out, nil
}

// processLog writes a process's output to the shard's log, and counts what it
// says about resyncs.
type processLog struct {
	file           *os.File
	report         *report
	shard, process int

	mu      sync.Mutex
	partial []byte
	lines   []string // the last ones
}

func (l *processLog) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.file, "=== %s process %d %s\n", time.Now().UTC().Format("15:04:05.000"), l.process, text)
}

func (l *processLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		i := bytes.IndexByte(l.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := string(l.partial[:i])
		l.partial = l.partial[i+1:]
		fmt.Fprintf(l.file, "[%d] %s\n", l.process, line)
		l.report.line(l.shard, line)
		if l.lines = append(l.lines, line); len(l.lines) > 5 {
			l.lines = l.lines[1:]
		}
	}
}

func (l *processLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(l.lines, string(l.partial)), " | ")
}

func (l *processLog) close() { _ = l.file.Close() }
