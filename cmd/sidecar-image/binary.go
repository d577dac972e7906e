package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	mainPackage    = "github.com/redis-sync/kubectl-redis-sync/cmd/redis-sync-sidecar"
	versionPackage = "github.com/redis-sync/kubectl-redis-sync/internal/version"
)

// binaryFor gives the given binary, or builds the replicator for a platform.
func binaryFor(ctx context.Context, opts options, platform string, log io.Writer) ([]byte, error) {
	if opts.binary != "" {
		body, err := os.ReadFile(opts.binary)
		if err != nil {
			return nil, fmt.Errorf("--binary: %w", err)
		}
		return body, nil
	}
	dir, err := os.MkdirTemp("", "sidecar-image-")
	if err != nil {
		return nil, fmt.Errorf("folder for the build: %w", err)
	}
	defer os.RemoveAll(dir)
	goos, goarch, _ := strings.Cut(platform, "/")
	path := filepath.Join(dir, "redis-sync-sidecar")
	link := fmt.Sprintf("-s -w -X %s.version=%s -X %s.commit=%s", versionPackage, opts.version, versionPackage, opts.commit)
	// The version is injected; what git would add to it would differ between
	// two checkouts of the same commit.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", link, "-o", path, mainPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go build %s (run it in the repository): %w", mainPackage, err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the built binary: %w", err)
	}
	return body, nil
}
