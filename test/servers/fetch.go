package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// fetchTimeout bounds the work for one release.
const fetchTimeout = 5 * time.Minute

// found keeps what Find answered, also that a release cannot be had.
var found sync.Map // name -> result

type result struct {
	binary *Binary
	err    error
}

// Find returns the server of that name from the cache, or fetches it.
func Find(ctx context.Context, name string) (*Binary, error) {
	if r, ok := found.Load(name); ok {
		return r.(result).binary, r.(result).err
	}
	b, err := find(ctx, name)
	if ctx.Err() == nil {
		found.Store(name, result{b, err})
	}
	return b, err
}

func find(ctx context.Context, name string) (*Binary, error) {
	rel, ok := lookup(name)
	if !ok {
		return nil, fmt.Errorf("no such release; known: %s", strings.Join(Names(), ", "))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a place for the servers: %w", err)
	}
	root := filepath.Join(cache, "redis-sync-test", "servers")
	dir := filepath.Join(root, rel.Name)
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := fetch(ctx, rel, root, dir); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return open(ctx, rel, dir)
}

// fetch unpacks the release beside dir and renames it to dir when it is whole,
// so that two test programs may do it at once and a broken one leaves nothing
// that looks complete.
func fetch(ctx context.Context, rel Release, root, dir string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(root, ".fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what is left has a name that nothing looks at
	files := filepath.Join(tmp, "files")
	if err := unpackPackages(ctx, rel, filepath.Join(tmp, "apt"), files); err != nil {
		return fmt.Errorf("fetch %s from Debian's suite %s: %w", rel.Package, rel.Suite, err)
	}
	if err := os.Rename(files, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

var versionText = regexp.MustCompile(`v=(\d+\.\d+\.\d+)`)

// open writes the launcher of an unpacked release and asks for its version.
func open(ctx context.Context, rel Release, dir string) (*Binary, error) {
	text, err := launcher(rel, dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, rel.Package+".sh")
	if old, err := os.ReadFile(path); err != nil || string(old) != text {
		if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
			return nil, err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return nil, err
		}
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("%s --version says no version: %s", path, strings.TrimSpace(string(out)))
	}
	version := string(m[1])
	if !strings.HasPrefix(version, rel.short()+".") {
		return nil, fmt.Errorf("%s of the suite %s is %s now (in %s)", rel.Package, rel.Suite, version, dir)
	}
	return &Binary{Release: rel, Version: version, Path: path}, nil
}

// launcher is a script that runs the server with the loader and the libraries
// of its own suite. The server's program is a symbolic link to the file of
// another tool, and that file looks at the name it was called by: the loader
// hands on the path as it is, so the link must stay unresolved.
func launcher(rel Release, dir string) (string, error) {
	loader, err := firstMatch(dir,
		"usr/lib64/ld-linux-*.so.*", "lib/*/ld-linux-*.so.*", "usr/lib/*/ld-linux-*.so.*",
		"lib/ld-linux-*.so.*", "usr/lib/ld-linux-*.so.*")
	if err != nil {
		return "", err
	}
	var libs, lua []string
	for _, pattern := range []string{"lib/*-linux-gnu*", "usr/lib/*-linux-gnu*"} {
		m, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		libs = append(libs, m...)
	}
	for _, l := range libs {
		lua = append(lua, filepath.Join(l, "lua", "5.1", "?.so"))
	}
	program := filepath.Join(dir, "usr", "bin", rel.Package)
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("the packages hold no server: %w", err)
	}
	// Redis before 7.0 loads Debian's cjson and bit through Lua's own search.
	return fmt.Sprintf("#!/bin/sh\nexport LUA_CPATH=%s\nexec %s --library-path %s %s \"$@\"\n",
		quote(strings.Join(lua, ";")), quote(loader), quote(strings.Join(libs, ":")), quote(program)), nil
}

// quote makes one word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// firstMatch returns the first file below dir that one of the patterns finds
// and that is there (a link may point out of the folder).
func firstMatch(dir string, patterns ...string) (string, error) {
	for _, p := range patterns {
		m, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil {
			return "", err
		}
		for _, path := range m {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("no loader in %s (%s)", dir, strings.Join(patterns, ", "))
}
