package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/images"
	"github.com/redis-sync/kubectl-redis-sync/test/operator"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// Build makes the plugin, the sidecar's image and the images of the tests.
func (w *World) Build(ctx context.Context) error {
	if err := os.MkdirAll(w.DistDir(), 0o755); err != nil {
		return fmt.Errorf("folder for images: %w", err)
	}
	env := []string{"CGO_ENABLED=0"}
	if _, err := w.must(ctx, env, "go", "build", "-trimpath", "-o", filepath.Join(w.BinDir(), "kubectl-redis_sync"), "./cmd/kubectl-redis_sync"); err != nil {
		return err
	}
	built, err := w.must(ctx, env, "go", "run", "./cmd/sidecar-image", "--output", filepath.Join(w.DistDir(), "sidecar.tar"), "--tag", SidecarImage)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.Out, "    %s\n", strings.TrimSpace(built.Stdout))
	if err := images.BuildRedis(ctx, filepath.Join(w.DistDir(), "redis.tar")); err != nil {
		return err
	}
	return images.BuildAgent(ctx, filepath.Join(w.Root, "test"), filepath.Join(w.DistDir(), "agent.tar"))
}

// Packages installs the Debian packages that the Redis image is made from.
func (w *World) Packages(ctx context.Context) error {
	missing, err := w.run(ctx, nil, append([]string{"dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"}, images.PackagesOfRedis...)...)
	if err != nil {
		return err
	}
	installed := strings.Count(missing.Stdout, " installed\n")
	if installed == len(images.PackagesOfRedis) {
		return nil
	}
	fmt.Fprintf(w.Out, "    installing Debian packages: %s\n", strings.Join(images.PackagesOfRedis, " "))
	env := []string{"DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"} // no service is started
	if _, err := w.must(ctx, env, "apt-get", "update", "-q"); err != nil {
		return err
	}
	_, err = w.must(ctx, env, append([]string{"apt-get", "install", "-q", "-y", "--no-install-recommends"}, images.PackagesOfRedis...)...)
	return err
}

// testcluster is the program that starts and stops the clusters.
func (w *World) testcluster(ctx context.Context, args ...string) (Result, error) {
	return w.must(ctx, nil, append([]string{filepath.Join(w.Root, "test", "cluster", "testcluster")}, args...)...)
}

// ClustersUp starts both clusters unless they run and loads the images.
func (w *World) ClustersUp(ctx context.Context) error {
	// Its output is shown as it comes: the first build takes minutes.
	up := exec.CommandContext(ctx, filepath.Join(w.Root, "test", "cluster", "testcluster"), "up", "site-a", "site-b")
	up.Stdout, up.Stderr = w.Out, w.Out
	up.Cancel = func() error { return up.Process.Signal(os.Interrupt) }
	up.WaitDelay = time.Minute
	if err := up.Run(); err != nil {
		return fmt.Errorf("testcluster up: %w", err)
	}
	if err := w.Find(ctx); err != nil {
		return err
	}
	clear(w.clusters) // new clusters have new certificates
	for _, image := range []string{"sidecar.tar", "redis.tar", "agent.tar"} {
		if _, err := w.testcluster(ctx, "load-image", "all", filepath.Join(w.DistDir(), image)); err != nil {
			return err
		}
	}
	return nil
}

// Find learns where kubectl and the kubeconfig of running clusters are.
func (w *World) Find(ctx context.Context) error {
	for _, q := range []struct {
		verb string
		into *string
	}{{"kubeconfig", &w.Kubeconfig}, {"kubectl", &w.Kubectl}} {
		r, err := w.testcluster(ctx, q.verb)
		if err != nil {
			return err
		}
		*q.into = strings.TrimSpace(r.Stdout)
	}
	return nil
}

// ClustersDown removes both clusters.
func (w *World) ClustersDown(ctx context.Context) error {
	_, err := w.testcluster(ctx, "down")
	return err
}

// Cut drops all traffic between sites, or of one site; Restore undoes it.
func (w *World) Cut(ctx context.Context, names ...string) error {
	_, err := w.testcluster(ctx, append([]string{"cut"}, names...)...)
	return err
}

// Restore undoes Cut with the same names.
func (w *World) Restore(ctx context.Context, names ...string) error {
	_, err := w.testcluster(ctx, append([]string{"restore"}, names...)...)
	return err
}

// PowerOff kills a whole site as a power loss does; its disks stay.
func (w *World) PowerOff(ctx context.Context, site string) error {
	_, err := w.testcluster(ctx, "stop", site)
	return err
}

// PowerOn starts a site again, with the data of its pods.
func (w *World) PowerOn(ctx context.Context, site string) error {
	_, err := w.testcluster(ctx, "start", site)
	return err
}

// RedisUp installs the instances of a scenario and waits until they serve.
func (w *World) RedisUp(ctx context.Context, scenario sites.Scenario) error {
	for _, p := range scenario.Placements {
		c, err := w.Cluster(p.Site)
		if err != nil {
			return err
		}
		if err := operator.Deploy(ctx, c.Typed, images.AgentImage); err != nil {
			return err
		}
		if err := c.Install(ctx, p, images.RedisImage); err != nil {
			return err
		}
	}
	for _, p := range scenario.Placements {
		if err := w.clusters[p.Site].WaitReady(ctx, p); err != nil {
			return err
		}
		fmt.Fprintf(w.Out, "    %s: %s %s/%s serves\n", p.Site, p.Kind, p.Namespace, p.Instance)
	}
	return nil
}
