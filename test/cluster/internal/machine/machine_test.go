package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/component"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

func TestCoveredMounts(t *testing.T) {
	const mountinfo = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
50 27 0:25 / /run rw - tmpfs tmpfs rw
51 50 0:25 /netns /run/netns rw shared:1 - tmpfs tmpfs rw
52 51 0:4 net:[4026532] /run/netns/one rw - nsfs nsfs rw
53 27 0:30 / /runner rw - tmpfs tmpfs rw
54 27 0:31 / /var/lib/docker rw - tmpfs tmpfs rw
`
	want := []string{"/run/netns/one", "/run/netns"}
	if got := covered(mountinfo); !slices.Equal(got, want) {
		t.Errorf("covered = %v, want %v", got, want)
	}
}

func TestEveryComponentOfTheBinaryIsStarted(t *testing.T) {
	names := Components()
	for _, want := range []string{
		component.Etcd, Containerd, component.APIServer, component.ControllerManager,
		component.Scheduler, component.Kubelet, component.Proxy, component.Provisioner,
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not started", want)
		}
	}
	for _, c := range components(site.Site{Name: "site-a", Index: 1}) {
		if c.name != Containerd && (c.argv[0] != "/proc/self/exe" || c.argv[1] != c.name || !component.Known(c.name)) {
			t.Errorf("%s: argv %v does not make this binary that component", c.name, c.argv[:2])
		}
		for _, arg := range c.argv {
			if strings.HasSuffix(arg, "=") {
				t.Errorf("%s: %s has no value", c.name, arg)
			}
		}
	}
}

func TestGone(t *testing.T) {
	if gone(os.Getpid()) {
		t.Error("this process is gone")
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !gone(cmd.Process.Pid) {
		t.Error("an ended process is not gone")
	}
}

func TestChildrenReportTheirEnd(t *testing.T) {
	c := &children{ended: map[int]chan syscall.WaitStatus{}}
	ended := make(chan syscall.WaitStatus, 1)
	c.ended[7] = ended
	c.reaped(8, 0) // an orphan that nobody waits for
	c.reaped(7, syscall.WaitStatus(3<<8))
	if got := describe(<-ended); got != "exit code 3" {
		t.Errorf("describe = %q", got)
	}
	if len(c.ended) != 0 {
		t.Error("an ended child is still expected")
	}
	if got := describe(syscall.WaitStatus(9)); got != "signal: killed" {
		t.Errorf("describe = %q", got)
	}
}

func TestRunningOfASiteThatIsNotThere(t *testing.T) {
	s := site.Site{Name: filepath.Base(t.TempDir()) + "-none"}
	if pid, err := Running(s); pid != 0 || err != nil {
		t.Errorf("Running = %d, %v", pid, err)
	}
}
