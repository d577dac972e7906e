// Package machine switches the machines of the sites on and off.
//
// A machine is one process with namespaces of its own for processes, mounts and
// host name, inside the site's network namespace. It is process 1 in there, so
// the kernel ends everything with it: containers, components and mounts go at
// once when it is killed, as at a power loss. What remains is the disk, which
// the machine sees as /var; /run and /tmp are memory.
package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cgroup"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/network"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// Verb is the first argument of a process that becomes a machine.
const Verb = "machine"

// lockFD is the descriptor under which a machine inherits its lock.
const lockFD = 3

// Running returns the process id of a site's machine, or 0 if it is off. The
// machine holds a lock for its whole life, so a stale record deceives nobody.
func Running(s site.Site) (int, error) {
	f, err := os.OpenFile(lockFile(s), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return 0, nil
	} else if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, fmt.Errorf("lock of machine %s: %w", s.Name, err)
	}
	data, err := os.ReadFile(lockFile(s))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("machine %s runs, but its process id is not recorded; remove it with: testcluster down %s", s.Name, s.Name)
	}
	return pid, nil
}

// Start switches a site's machine on; its network and configuration must be
// there. It returns at once: the components take their time to come up.
func Start(s site.Site) error {
	lock, err := os.OpenFile(lockFile(s), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("machine %s is on already: %w", s.Name, err)
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	log, err := os.OpenFile(LogFile(s), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", Verb, s.Name, strconv.Itoa(s.Index))
	cmd.Args[0] = site.Prefix
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := network.Do(s.Netns(), cmd.Start); err != nil {
		return fmt.Errorf("start machine %s: %w", s.Name, err)
	}
	if _, err := lock.WriteString(strconv.Itoa(cmd.Process.Pid)); err != nil {
		return fmt.Errorf("record machine %s: %w", s.Name, err)
	}
	return cmd.Process.Release()
}

// Started returns when a site's machine was last switched on.
func Started(s site.Site) (time.Time, error) {
	info, err := os.Stat(lockFile(s))
	if err != nil {
		return time.Time{}, fmt.Errorf("site %s was never switched on: %w", s.Name, err)
	}
	return info.ModTime(), nil
}

// Kill ends everything that runs in a site, without warning, and removes what
// lives in memory only. It finds the processes by more than one way, because it
// must also work after a crash: by the machine's record, by the network
// namespace and by the pods' control group.
func Kill(s site.Site) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		pids, err := processes(s)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of site %s do not end: %v", s.Name, pids)
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d of site %s: %w", pid, s.Name, err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := cgroup.Remove(s.Cgroup()); err != nil {
		return fmt.Errorf("site %s: %w", s.Name, err)
	}
	return nil
}

// processes returns what runs in a site. Zombies are left out: they are gone
// but for their parent's attention.
func processes(s site.Site) ([]int, error) {
	pids, err := cgroup.Processes(s.Cgroup())
	if err != nil {
		return nil, err
	}
	if pid, err := Running(s); err == nil && pid > 0 {
		pids = append(pids, pid)
	}
	if id, ok := network.ID(s.Netns()); ok {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			if of, ok := network.IDOf(pid); ok && of == id {
				pids = append(pids, pid)
			}
		}
	}
	alive := pids[:0]
	for _, pid := range pids {
		if pid != os.Getpid() && !gone(pid) {
			alive = append(alive, pid)
		}
	}
	return alive, nil
}

// gone tells whether a process has ended, reaped or not. A machine that is a
// zombie has already outlived all its processes.
func gone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, ok := strings.Cut(string(data), ") ")
	return ok && (strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X"))
}

// Path returns the host's view of a file in a running machine, /run included.
func Path(s site.Site, file string) (string, error) {
	pid, err := Running(s)
	if err != nil {
		return "", err
	}
	if pid == 0 {
		return "", fmt.Errorf("site %s is switched off; start it with: testcluster start %s", s.Name, s.Name)
	}
	return fmt.Sprintf("/proc/%d/root%s", pid, file), nil
}

// LogFile is where the machine itself reports starts and ends of components.
func LogFile(s site.Site) string { return filepath.Join(s.Dir(), "machine.log") }

func lockFile(s site.Site) string { return filepath.Join(s.Dir(), "machine.pid") }
