package images

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const hostArch = runtime.GOARCH

//go:embed entrypoint.sh
var entrypoint []byte

//go:embed redis-server.sh
var serverWrapper []byte

//go:embed healthcheck.sh
var healthcheck []byte

// tools are what the operators' probes, hooks and init containers call in
// their images, and what people use to look around.
var tools = []string{
	"sh", "bash", "cat", "cp", "mv", "rm", "ln", "ls", "mkdir", "chmod", "chown", "sleep", "env", "id", "date",
	"head", "tail", "tr", "cut", "sort", "wc", "seq", "true", "false", "test", "touch", "timeout", "kill",
	"hostname", "awk", "grep", "sed", "ps",
}

// PackagesOfRedis are the Debian packages that BuildRedis takes its files
// from.
var PackagesOfRedis = []string{"redis-server", "redis-tools", "hostname", "mawk", "procps"}

// BuildRedis writes the Redis image: this machine's redis-server, redis-cli
// and redis-sentinel with a small user land, the entry point of an OT pod, and
// /data as working directory, on which RedisFailover pods rely.
func BuildRedis(ctx context.Context, file string) error {
	const realServer = "/usr/lib/redis/redis-server"
	files := []File{
		{Path: "/data/", Mode: 0o777},
		{Path: "/tmp/", Mode: 0o1777},
		{Path: "/usr/bin/entrypoint.sh", Mode: 0o755, Body: entrypoint},
		{Path: "/usr/bin/healthcheck.sh", Mode: 0o755, Body: healthcheck},
		{Path: "/usr/bin/redis-server", Mode: 0o755, Body: serverWrapper},
		{Path: "/usr/bin/redis-sentinel", Link: realServer},
		{Path: "/etc/passwd", Mode: 0o644, Body: []byte("root:x:0:0:root:/root:/bin/sh\nredis:x:999:1000::/data:/bin/sh\n")},
		{Path: "/etc/group", Mode: 0o644, Body: []byte("root:x:0:\nredis:x:1000:\n")},
		{Path: "/etc/nsswitch.conf", Mode: 0o644, Body: []byte("hosts: files dns\n")},
		{Path: "/bin", Link: "usr/bin"},
	}
	libs := map[string]bool{}
	add := func(tool, target string) error {
		found, err := exec.LookPath(tool)
		if err != nil {
			return fmt.Errorf("redis image: %s is not installed (Debian packages: %v): %w", tool, PackagesOfRedis, err)
		}
		if found, err = filepath.EvalSymlinks(found); err != nil {
			return fmt.Errorf("redis image: %w", err)
		}
		body, err := os.ReadFile(found)
		if err != nil {
			return fmt.Errorf("redis image: %w", err)
		}
		files = append(files, File{Path: target, Mode: 0o755, Body: body})
		return librariesOf(ctx, found, libs)
	}
	for _, tool := range tools {
		if err := add(tool, "/usr/bin/"+tool); err != nil {
			return err
		}
	}
	if err := add("redis-cli", "/usr/bin/redis-cli"); err != nil {
		return err
	}
	if err := add("redis-server", realServer); err != nil {
		return err
	}
	paths := make([]string, 0, len(libs))
	for lib := range libs {
		paths = append(paths, lib)
	}
	sort.Strings(paths)
	for _, lib := range paths {
		body, err := os.ReadFile(lib)
		if err != nil {
			return fmt.Errorf("redis image: library: %w", err)
		}
		files = append(files, File{Path: lib, Mode: 0o755, Body: body})
	}
	return Write(file, RedisImage, files, v1.Config{
		Entrypoint: []string{"/usr/bin/entrypoint.sh"},
		WorkingDir: "/data",
		Env:        []string{"PATH=/usr/bin:/bin"},
	})
}

// lddLine matches "libm.so.6 => /lib/libm.so.6 (0x...)" and the loader's own
// "/lib64/ld-linux-x86-64.so.2 (0x...)".
var lddLine = regexp.MustCompile(`(?m)(/\S+) \(0x[0-9a-f]+\)$`)

// librariesOf adds the shared libraries that ldd names for a program.
func librariesOf(ctx context.Context, program string, into map[string]bool) error {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil {
		if regexp.MustCompile(`not a dynamic executable|statically linked`).Match(out) {
			return nil
		}
		return fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	for _, m := range lddLine.FindAllSubmatch(out, -1) {
		into[string(m[1])] = true
	}
	return nil
}
