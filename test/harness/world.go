// Package harness drives the whole system for the demo and the end-to-end
// tests: it builds the programs, starts the clusters and Redis in them, calls
// the plugin through kubectl and compares both sides.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// SidecarImage is what the plugin deploys when it was built without a release.
const SidecarImage = "redis-sync-sidecar:dev"

// World is the repository, the clusters and what was built.
type World struct {
	Root       string    // of the repository
	Kubeconfig string    // with a context for each site
	Kubectl    string    // path of kubectl
	Out        io.Writer // progress
	Started    time.Time

	clusters map[string]*sites.Cluster
}

// New finds the repository above the working directory.
func New(out io.Writer) (*World, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		body, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(body, []byte("module github.com/redis-sync/kubectl-redis-sync\n")) {
			return &World{Root: dir, Out: out, Started: time.Now(), clusters: map[string]*sites.Cluster{}}, nil
		}
		if dir == filepath.Dir(dir) {
			return nil, errors.New("the working directory is not inside the repository")
		}
	}
}

// BinDir holds the plugin.
func (w *World) BinDir() string { return filepath.Join(w.Root, "bin") }

// DistDir holds the images.
func (w *World) DistDir() string { return filepath.Join(w.Root, "dist") }

// Step announces what is done next and says afterwards how long it took.
func (w *World) Step(what string, do func() error) error {
	fmt.Fprintf(w.Out, "==> %s\n", what)
	start := time.Now()
	if err := do(); err != nil {
		return err
	}
	fmt.Fprintf(w.Out, "    %.1f s\n", time.Since(start).Seconds())
	return nil
}

// Result of a program.
type Result struct {
	Args   []string
	Stdout string
	Stderr string
	Code   int
}

// String is what a terminal would have shown.
func (r Result) String() string {
	return fmt.Sprintf("$ %s\n%s%s(exit %d)\n", strings.Join(r.Args, " "), r.Stdout, r.Stderr, r.Code)
}

// run starts a program in the repository and waits for it. A program that
// ends with a code is no error here.
func (w *World) run(ctx context.Context, env []string, args ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = w.Root
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Run()
	r := Result{Args: args, Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("%s: %w", args[0], err)
	}
	return r, nil
}

// must is run for programs that have to succeed.
func (w *World) must(ctx context.Context, env []string, args ...string) (Result, error) {
	r, err := w.run(ctx, env, args...)
	if err != nil {
		return r, err
	}
	if r.Code != 0 {
		return r, fmt.Errorf("%s failed with exit code %d:\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r, nil
}

// Run starts a program in the repository; its exit code is in the result.
func (w *World) Run(ctx context.Context, args ...string) (Result, error) {
	return w.run(ctx, nil, args...)
}

// Must is Run for a program that has to succeed.
func (w *World) Must(ctx context.Context, args ...string) (Result, error) {
	return w.must(ctx, nil, args...)
}

// Cluster is a connection to the API server of a site.
func (w *World) Cluster(site string) (*sites.Cluster, error) {
	if c := w.clusters[site]; c != nil {
		return c, nil
	}
	c, err := sites.Connect(w.Kubeconfig, site)
	if err != nil {
		return nil, err
	}
	w.clusters[site] = c
	return c, nil
}

// Env is what kubectl needs to find the plugin and the clusters.
func (w *World) Env() []string {
	return []string{"PATH=" + w.BinDir() + string(os.PathListSeparator) + os.Getenv("PATH"), "KUBECONFIG=" + w.Kubeconfig}
}

// Plugin calls kubectl redis-sync.
func (w *World) Plugin(ctx context.Context, args ...string) (Result, error) {
	r, err := w.run(ctx, w.Env(), append([]string{w.Kubectl, "redis-sync"}, args...)...)
	r.Args[0] = "kubectl"
	return r, err
}

// KubectlRun calls kubectl for one site; it has to succeed.
func (w *World) KubectlRun(ctx context.Context, site string, args ...string) (Result, error) {
	return w.must(ctx, w.Env(), append([]string{w.Kubectl, "--context", site}, args...)...)
}
