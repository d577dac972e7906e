package image

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/host"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/machine"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// Load imports a docker-archive or OCI archive into a site's containerd and
// returns what containerd's client said.
func Load(ctx context.Context, s site.Site, file string) (string, error) {
	snapshotter, err := host.Snapshotter(s.Dir())
	if err != nil {
		return "", err
	}
	return ctr(ctx, s, "images", "import", "--snapshotter", snapshotter, file)
}

// Present tells whether a site has an image of that reference.
func Present(ctx context.Context, s site.Site, ref string) (bool, error) {
	out, err := ctr(ctx, s, "images", "ls", "-q", "name=="+ref)
	return strings.TrimSpace(out) == ref, err
}

func ctr(ctx context.Context, s site.Site, args ...string) (string, error) {
	socket, err := machine.Path(s, config.ContainerdSocket)
	if err != nil {
		return "", err
	}
	args = append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)
	out, err := exec.CommandContext(ctx, "ctr", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("site %s: ctr %s: %w: %s", s.Name, strings.Join(args[4:], " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
