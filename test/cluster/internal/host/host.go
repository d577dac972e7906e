// Package host finds out what the host of the test clusters has and installs
// what it lacks.
package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// RequireRoot is an error unless the program runs as root on Linux.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the test clusters need root (namespaces, mounts, control groups): run as root")
	}
	return nil
}

// MayLowerOOMScore tells whether processes may be given a lower oom_score_adj
// than their parent's. Where root lacks that capability, containerd must not
// ask for it, or no sandbox starts.
func MayLowerOOMScore() (bool, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false, err
	}
	return hasCapability(string(data), unix.CAP_SYS_RESOURCE)
}

func hasCapability(status string, bit int) (bool, error) {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return false, fmt.Errorf("read the capabilities: %w", err)
			}
			return set&(1<<bit) != 0, nil
		}
	}
	return false, errors.New("read the capabilities: no CapEff in /proc/self/status")
}

// Snapshotter returns the containerd snapshotter that works on the file system
// of a folder: an overlay cannot lie on an overlay, as inside a container.
func Snapshotter(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", fmt.Errorf("file system of %s: %w", dir, err)
	}
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native", nil
	}
	return "overlayfs", nil
}

// CNIDir returns the folder of the network plugins: Debian's or upstream's.
func CNIDir() (string, error) {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(dir + "/bridge"); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no network plugins in /usr/lib/cni or /opt/cni/bin: install containernetworking-plugins")
}
