package machine

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// service is a component that runs as long as the machine does.
type service struct {
	name string
	argv []string
	// ready tells whether what the component needs is there; nil is always.
	ready func() bool
}

// LogDir holds one file per component.
const LogDir = "/var/log"

const (
	pollReady  = 200 * time.Millisecond
	firstDelay = time.Second
	maxDelay   = 15 * time.Second
	// longLife is how long a component must run for its next failure to count as
	// the first again.
	longLife = time.Minute
)

// supervise keeps the services running and reaps every process of the machine,
// the orphans of containers included, as process 1 must.
func supervise(services []service) error {
	log.SetFlags(log.LstdFlags | log.LUTC)
	c := &children{ended: map[int]chan syscall.WaitStatus{}}
	for _, s := range services {
		go keep(s, c)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD):
			time.Sleep(pollReady) // none has been started yet
		case err != nil:
			return fmt.Errorf("wait for processes: %w", err)
		default:
			c.reaped(pid, status)
		}
	}
}

// keep starts a service again and again.
func keep(s service, c *children) {
	delay := firstDelay
	for {
		for s.ready != nil && !s.ready() {
			time.Sleep(pollReady)
		}
		began := time.Now()
		pid, ended, err := c.start(s)
		if err != nil {
			log.Printf("%s: cannot start: %v", s.name, err)
		} else {
			log.Printf("%s: started as process %d", s.name, pid)
			status := <-ended
			log.Printf("%s: ended: %s", s.name, describe(status))
		}
		if time.Since(began) > longLife {
			delay = firstDelay
		}
		time.Sleep(delay)
		delay = min(2*delay, maxDelay)
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

// children matches ended processes with the services that wait for them.
type children struct {
	// mu spans the start of a process and its registration, so that its end is
	// not reported before.
	mu    sync.Mutex
	ended map[int]chan syscall.WaitStatus
}

func (c *children) start(s service) (int, <-chan syscall.WaitStatus, error) {
	out, err := os.OpenFile(filepath.Join(LogDir, s.name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return 0, nil, err
	}
	defer out.Close()
	program := s.argv[0]
	argv := append([]string{s.name}, s.argv[1:]...)
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := os.StartProcess(program, argv, &os.ProcAttr{
		Dir: "/", Env: append(os.Environ(), "HOME=/root"), Files: []*os.File{nil, out, out},
	})
	if err != nil {
		return 0, nil, err
	}
	pid := p.Pid
	ended := make(chan syscall.WaitStatus, 1)
	c.ended[pid] = ended
	return pid, ended, p.Release()
}

func (c *children) reaped(pid int, status syscall.WaitStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ended, ok := c.ended[pid]; ok {
		ended <- status
		delete(c.ended, pid)
	}
}
