package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseHierarchies(t *testing.T) {
	const mountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:9 master:2 - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
broken
`
	want := []string{"/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/unified"}
	if got := parseHierarchies(mountinfo); !slices.Equal(got, want) {
		t.Errorf("parseHierarchies = %v, want %v", got, want)
	}
}

func write(t *testing.T, content string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCreateV1InheritsCpusets(t *testing.T) {
	root := t.TempDir()
	write(t, "0-3\n", root, "cpuset.cpus")
	write(t, "0\n", root, "cpuset.mems")
	// The kernel makes the files of a new group, empty.
	for _, dir := range []string{"test", "test/site-a"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, "\n", root, dir, "cpuset.cpus")
		write(t, "\n", root, dir, "cpuset.mems")
	}
	write(t, "1\n", root, "test", "cpuset.cpus") // somebody's choice, to be kept
	if err := createV1(root, "/test/site-a"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, root, "test/site-a/cpuset.cpus"); got != "1\n" {
		t.Errorf("cpus = %q, want those of the parent", got)
	}
	if got := read(t, root, "test/site-a/cpuset.mems"); got != "0\n" {
		t.Errorf("mems = %q, want those of the root", got)
	}
}

// fakeV2 lays out a group and its parents as the kernel would have them, with
// the given controllers at the top.
func fakeV2(t *testing.T, have string) string {
	root := t.TempDir()
	for _, dir := range []string{"", "test", "test/site-a"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, have, root, dir, "cgroup.controllers")
		write(t, "", root, dir, "cgroup.subtree_control")
	}
	return root
}

func TestCreateV2HandsControllersDown(t *testing.T) {
	root := fakeV2(t, "pids memory cpuset cpu rdma\n")
	if err := createV2(root, "/test/site-a"); err != nil {
		t.Fatal(err)
	}
	// A plain file keeps the last write only; the order is the kernel's.
	for _, dir := range []string{"", "test"} {
		if got := read(t, root, dir, "cgroup.subtree_control"); got != "+cpu" {
			t.Errorf("subtree_control of %q: %q, want the last useful controller", dir, got)
		}
	}
	if got := read(t, root, "test/site-a/cgroup.subtree_control"); got != "" {
		t.Errorf("the group itself is kubelet's to open, but has %q", got)
	}
}

func TestCreateV2NamesWhatIsMissing(t *testing.T) {
	err := createV2(fakeV2(t, "memory cpu\n"), "/test/site-a")
	if err == nil || !strings.Contains(err.Error(), "cpuset, pids") {
		t.Errorf("error %v, want one that names cpuset and pids", err)
	}
}

func TestProcessesOfAGroupThatIsNotThere(t *testing.T) {
	pids, err := Processes("/redis-sync-test-no-such-group")
	if err != nil || len(pids) > 0 {
		t.Errorf("Processes = %v, %v", pids, err)
	}
}

func TestRemoveTree(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(filepath.Join(root, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "a")); !os.IsNotExist(err) {
		t.Errorf("the group is still there: %v", err)
	}
	if err := removeTree(filepath.Join(root, "a")); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
