package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// Init is the life of process 1 of a machine: it lays out the file systems,
// starts the components and looks after them. It returns only on an error.
func Init(s site.Site) error {
	unix.CloseOnExec(lockFD)
	if os.Getpid() != 1 {
		return fmt.Errorf("%s is started by \"testcluster up\", not by hand", Verb)
	}
	if err := mountAll(s); err != nil {
		return fmt.Errorf("machine %s: %w", s.Name, err)
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("machine %s: set the host name: %w", s.Name, err)
	}
	return supervise(components(s))
}

// mountAll gives the machine its own /var, /run, /tmp and /proc.
func mountAll(s site.Site) error {
	if err := mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := detachHostMounts(); err != nil {
		return err
	}
	for _, dir := range []string{"lib", "log", "tmp", "cache"} {
		if err := os.MkdirAll(filepath.Join(s.Disk(), dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(s.Disk(), "run")); err != nil && !os.IsExist(err) {
		return err
	}
	steps := []struct {
		source, target, kind, data string
		flags                      uintptr
	}{
		{s.Disk(), "/var", "", "", unix.MS_BIND},
		{"tmpfs", "/run", "tmpfs", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/tmp", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"proc", "/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		// As on a host with systemd: volumes may be mounted with propagation.
		{"none", "/", "", "", unix.MS_REC | unix.MS_SHARED},
	}
	for _, m := range steps {
		if err := mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return err
		}
	}
	return nil
}

// detachHostMounts drops the copies of host mounts below /run and /tmp, which
// the machine covers. A hidden copy of another site's network namespace would
// keep that alive after its removal. Those below /var stay: the disk may be on
// one of them.
func detachHostMounts() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, target := range covered(string(data)) {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			return fmt.Errorf("detach %s: %w", target, err)
		}
	}
	return nil
}

// covered returns the mount points below /run and /tmp, the latest first,
// so that none is detached with another one on top.
func covered(mountinfo string) []string {
	var targets []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		for _, dir := range []string{"/run", "/tmp"} {
			if strings.HasPrefix(f[4], dir+"/") {
				targets = append(targets, f[4])
			}
		}
	}
	slices.Reverse(targets)
	return targets
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}
