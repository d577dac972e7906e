package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// BuildAgent compiles cmd/testagent of the module in dir and writes its image.
func BuildAgent(ctx context.Context, dir, file string) error {
	work, err := os.MkdirTemp("", "testagent-")
	if err != nil {
		return fmt.Errorf("agent image: %w", err)
	}
	defer os.RemoveAll(work)
	program := filepath.Join(work, "testagent")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/testagent")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("agent image: build testagent: %w\n%s", err, out)
	}
	body, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("agent image: %w", err)
	}
	return Write(file, AgentImage, []File{{Path: "/testagent", Mode: 0o755, Body: body}}, v1.Config{
		Entrypoint: []string{"/testagent"},
		User:       "65532:65532",
	})
}
