package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/image"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/machine"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/pki"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/provisioner"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

const poll = 250 * time.Millisecond

// Client returns a client of a site's API server, as its administrator.
func Client(s site.Site) (kubernetes.Interface, error) {
	cfg, err := clientcmd.BuildConfigFromFlags(s.Server(), s.OnDisk(config.KubeconfigOf(pki.Admin)))
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", s.Name, err)
	}
	cfg.Timeout = 10 * time.Second
	return kubernetes.NewForConfig(cfg)
}

// waitReady waits until a site can run pods, and installs what every site has.
func waitReady(ctx context.Context, s site.Site, report Report) error {
	client, err := Client(s)
	if err != nil {
		return err
	}
	began, err := machine.Started(s)
	if err != nil {
		return err
	}
	called := time.Now()
	say := func(what string) {
		report(s, "%s after %.1fs", what, time.Since(called).Seconds())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := importPause(ctx, s); err != nil {
			return err
		}
		say("containerd ready")
		return nil
	})
	group.Go(func() error {
		if err := until(ctx, s, "API server", func() error { return apiReady(ctx, client) }); err != nil {
			return err
		}
		say("API server ready")
		if err := until(ctx, s, "storage class", func() error {
			return provisioner.Install(ctx, client, pki.ProvisionerUser)
		}); err != nil {
			return err
		}
		if err := until(ctx, s, "node", func() error { return nodeReady(ctx, client, s, began) }); err != nil {
			return err
		}
		say("node ready")
		return until(ctx, s, "default service account", func() error {
			_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
			return err
		})
	})
	return group.Wait()
}

// until polls a condition; when time runs out, its last answer tells why.
func until(ctx context.Context, s site.Site, what string, condition func() error) error {
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("site %s: %s is not ready: %w; see: testcluster status; testcluster logs %s", s.Name, what, err, s.Name)
			}
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

func apiReady(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

// nodeReady wants a heartbeat from after the start: what a site says right
// after a power loss is from before it.
func nodeReady(ctx context.Context, client kubernetes.Interface, s site.Site, began time.Time) error {
	node, err := client.CoreV1().Nodes().Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.LastHeartbeatTime.Time.Before(began.Truncate(time.Second)) {
			return errors.New("no heartbeat since the start")
		}
		if c.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("%s: %s", c.Reason, c.Message)
	}
	return errors.New("no Ready condition")
}

// importPause gives a site the image of its sandboxes as soon as containerd
// takes it.
func importPause(ctx context.Context, s site.Site) error {
	return until(ctx, s, "containerd", func() error {
		if present, err := image.Present(ctx, s, config.PauseImage); err != nil || present {
			return err
		}
		program, err := os.Executable()
		if err != nil {
			return err
		}
		archive := filepath.Join(s.Dir(), "pause.tar")
		if err := image.WriteProgram(archive, config.PauseImage, filepath.Join(filepath.Dir(program), "pause")); err != nil {
			return err
		}
		_, err = image.Load(ctx, s, archive)
		return err
	})
}
