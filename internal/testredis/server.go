package testredis

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds how long a server may take until it answers.
const startTimeout = 20 * time.Second

// Server is one running redis-server (or Sentinel).
type Server struct {
	Addr     string // "127.0.0.1:port"
	Port     int
	Password string // of the default user, from --requirepass
	Dir      string // its working directory

	args []string
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{} // closed when the process ended

	mu     sync.Mutex
	client *Client
}

// Binary returns the redis-server to use; without one it skips the test, or
// fails it under CI=true.
func Binary(t testing.TB) string {
	t.Helper()
	name := os.Getenv("TEST_REDIS_SERVER")
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		msg := fmt.Sprintf("NOT RUN: needs %s (apt-get install redis-server, or set TEST_REDIS_SERVER): %v", name, err)
		if os.Getenv("CI") == "true" {
			t.Fatal(msg)
		}
		t.Skip(msg)
	}
	return path
}

// Start runs a redis-server with args after its defaults (loopback, a free
// port, no persistence, DEBUG allowed) and waits until it answers. A
// --requirepass among args is remembered and used by Do.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, Binary(t), nil, args)
}

// StartReplica runs a replica of master and waits until its link is up and
// the master counts it as online.
func StartReplica(t testing.TB, master *Server, args ...string) *Server {
	t.Helper()
	own := []string{"--replicaof", "127.0.0.1 " + strconv.Itoa(master.Port)}
	if master.Password != "" {
		own = append(own, "--masterauth", master.Password)
		if !slices.Contains(args, "--requirepass") {
			own = append(own, "--requirepass", master.Password)
		}
	}
	s := Start(t, append(own, args...)...)
	Eventually(t, startTimeout, "the replica is attached", func() bool { return attached(t, master, s) })
	return s
}

// attached says whether both ends call the replica up.
func attached(t testing.TB, master, replica *Server) bool {
	t.Helper()
	return strings.Contains(replica.Do(t, "INFO", "replication").(string), "master_link_status:up") &&
		strings.Contains(master.Do(t, "INFO", "replication").(string), fmt.Sprintf("port=%d,state=online", replica.Port))
}

// StartSentinel runs a Sentinel that watches master under the given name with
// quorum 1.
func StartSentinel(t testing.TB, master *Server, name string) *Server {
	t.Helper()
	conf := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1\nsentinel down-after-milliseconds %s 1000\n", name, master.Port, name)
	if master.Password != "" {
		conf += fmt.Sprintf("sentinel auth-pass %s %s\n", name, master.Password)
	}
	return start(t, Binary(t), []byte(conf), []string{"--sentinel"})
}

// start launches the server on a free port. Another process may take the port
// between the choice and the start, hence the attempts.
func start(t testing.TB, binary string, conf []byte, args []string) *Server {
	t.Helper()
	var failures []string
	for range 5 {
		s := &Server{Port: freePort(t), Dir: t.TempDir(), log: &logBuffer{}}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
		for i := 0; i+1 < len(args); i++ {
			if args[i] == "--requirepass" {
				s.Password = args[i+1]
			}
		}
		if conf != nil {
			path := filepath.Join(s.Dir, "redis.conf")
			if err := os.WriteFile(path, conf, 0o600); err != nil {
				t.Fatalf("write %s: %v", path, err)
			}
			s.args = append([]string{path}, "--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--dir", s.Dir)
		} else {
			s.args = []string{
				"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--dir", s.Dir,
				"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
			}
			if majorVersion(t, binary) >= 7 {
				s.args = append(s.args, "--enable-debug-command", "yes")
			}
		}
		s.args = append(s.args, args...)
		if err := s.launch(binary); err != nil {
			failures = append(failures, err.Error())
			s.Kill()
			continue
		}
		t.Cleanup(func() {
			s.Kill()
			if t.Failed() {
				t.Logf("log of redis %s:\n%s", s.Addr, s.log.tail())
			}
		})
		return s
	}
	t.Fatalf("redis-server did not start:\n%s", strings.Join(failures, "\n"))
	return nil
}

func (s *Server) launch(binary string) error {
	s.cmd = exec.Command(binary, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = dieWithParent()
	s.done = make(chan struct{})
	if err := s.cmd.Start(); err != nil {
		close(s.done)
		return fmt.Errorf("start %s: %w", binary, err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // how it ended is in its log
		close(done)
	}(s.cmd, s.done)
	deadline := time.Now().Add(startTimeout)
	for {
		select {
		case <-s.done:
			return fmt.Errorf("%s ended at once:\n%s", binary, s.log.tail())
		default:
		}
		err := s.ping()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s on %s does not answer: %w\n%s", binary, s.Addr, err, s.log.tail())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *Server) ping() error {
	c, err := Dial(s.Addr, s.Password)
	if err != nil {
		return err
	}
	defer c.Close()
	reply, err := c.Do("PING")
	if err != nil {
		return err
	}
	// The listener of another server can be behind a port that was taken
	// meanwhile; the process id tells.
	if reply != "PONG" {
		return fmt.Errorf("answer to PING: %v", reply)
	}
	info, err := c.Do("INFO", "server")
	if err != nil {
		return err
	}
	if !strings.Contains(info.(string), fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid)) {
		return errors.New("another process answers on this port")
	}
	return nil
}

// Stop ends the server with SIGTERM and waits for it.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.Signal(t, syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(startTimeout):
		t.Fatalf("redis %s does not stop:\n%s", s.Addr, s.log.tail())
	}
}

// Kill ends the server at once, as a lost node does. It may be called twice.
func (s *Server) Kill() {
	s.closeClient()
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill() // fails only when it has ended already
	<-s.done
}

// Signal sends sig to the process: SIGSTOP and SIGCONT make a server that
// hangs.
func (s *Server) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal %v to redis %s: %v", sig, s.Addr, err)
	}
}

// Restart ends the server with SIGTERM if it still runs, and starts it again
// on the same port and directory, with extra arguments after the first ones.
func (s *Server) Restart(t testing.TB, extra ...string) {
	t.Helper()
	select {
	case <-s.done:
	default:
		s.Stop(t)
	}
	s.closeClient()
	s.args = append(s.args, extra...)
	if err := s.launch(Binary(t)); err != nil {
		t.Fatalf("restart redis %s: %v", s.Addr, err)
	}
}

// Log returns what the server has printed.
func (s *Server) Log() string { return s.log.tail() }

// Eventually waits until ok is true, or fails the test with what was expected.
func Eventually(t testing.TB, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", timeout, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// logBuffer keeps the end of a server's output.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const bound = 64 << 10
	if b.buf.Len() > bound {
		b.buf.Next(b.buf.Len() - bound/2)
	}
	return b.buf.Write(p)
}

func (b *logBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
