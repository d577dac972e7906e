// Package cgroup makes and removes the control groups of the sites' pods, on
// hosts with cgroup v1, v2 or both.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const mountPoint = "/sys/fs/cgroup"

// Unified tells whether the host uses cgroup v2 alone, which decides how
// kubelet and runc work. A v2 hierarchy beside v1 ones does not count.
func Unified() (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(mountPoint, &st); err != nil {
		return false, fmt.Errorf("no cgroups at %s: %w", mountPoint, err)
	}
	return st.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// Create makes a group, given by its path from the root, in each hierarchy with
// what kubelet expects of its cgroupRoot.
func Create(path string) error {
	unified, err := Unified()
	if err != nil {
		return err
	}
	if unified {
		return createV2(mountPoint, path)
	}
	roots, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if isV2(root) {
			continue // it has no controllers here
		}
		if err := createV1(root, path); err != nil {
			return err
		}
	}
	return nil
}

// createV1 fills in the processors and memory nodes, without which no process
// can enter a cpuset group. The other controllers need nothing.
func createV1(root, path string) error {
	dir := root
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make control group: %w", err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(parent, dir, file); err != nil {
				return fmt.Errorf("make control group: %w", err)
			}
		}
	}
	return nil
}

func inherit(parent, dir, file string) error {
	own, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not the cpuset hierarchy
	}
	if err != nil || strings.TrimSpace(string(own)) != "" {
		return err
	}
	value, err := os.ReadFile(filepath.Join(parent, file))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file), value, 0o644)
}

// needed are the controllers that kubelet looks for in its cgroupRoot, useful
// those that it uses where the host has them.
var (
	needed = []string{"cpu", "cpuset", "memory", "pids"}
	useful = []string{"io", "hugetlb"}
)

// createV2 hands the controllers down to the group.
func createV2(root, path string) error {
	dir := root
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		enabled, err := controllers(dir)
		if err != nil {
			return err
		}
		for _, c := range enabled {
			if !slices.Contains(needed, c) && !slices.Contains(useful, c) {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
				return fmt.Errorf("hand the %s controller down from %s (processes in a group other than the root forbid it: "+
					"run on the host itself or in a container whose processes are in a group below): %w", c, dir, err)
			}
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make control group: %w", err)
		}
	}
	return checkV2(dir)
}

func checkV2(dir string) error {
	have, err := controllers(dir)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(needed), func(c string) bool { return slices.Contains(have, c) })
	if len(missing) > 0 {
		return fmt.Errorf("control group %s lacks the controllers %s: the host's root group does not have them",
			dir, strings.Join(missing, ", "))
	}
	return nil
}

func controllers(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// Processes returns the host's ids of all processes in the group and below, in
// any hierarchy.
func Processes(path string) ([]int, error) {
	roots, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	var pids []int
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join(root, path), func(dir string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // never made, or gone while walking
			}
			if err != nil || !d.IsDir() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				return nil // the same; and a threaded v2 group cannot be read
			}
			for f := range strings.FieldsSeq(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return pids, nil
}

// Remove deletes the group and all below it in every hierarchy. Its processes
// must have ended; the kernel takes a moment to notice that.
func Remove(path string) error {
	roots, err := Hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, root := range roots {
		dir := filepath.Join(root, path)
		deadline := time.Now().Add(10 * time.Second)
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				errs = append(errs, fmt.Errorf("remove control group: %w", err))
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return errors.Join(errs...)
}

// removeTree removes groups from the leaves up; their files are not removable
// and need not be.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// Hierarchies returns the mount points of all cgroup hierarchies, v1 and v2.
func Hierarchies() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(string(data)), nil
}

// parseHierarchies reads mountinfo(5): the mount point is field 5, the file
// system type follows the separator "-".
func parseHierarchies(mountinfo string) []string {
	var roots []string
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) == 0 {
			continue
		}
		if kind[0] == "cgroup" || kind[0] == "cgroup2" {
			roots = append(roots, fields[4])
		}
	}
	return roots
}

func isV2(root string) bool {
	_, err := os.Stat(filepath.Join(root, "cgroup.controllers"))
	return err == nil
}
