// Package loadpod runs the loader and the writers as pods beside an instance,
// where the addresses that Redis announces can be reached, and talks to them
// through the API server.
package loadpod

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/redis-sync/kubectl-redis-sync/test/images"
	"github.com/redis-sync/kubectl-redis-sync/test/load"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// Runner starts pods beside one instance.
type Runner struct {
	Cluster   *sites.Cluster
	Placement sites.Placement
}

// Fill runs the loader to its end.
func (r Runner) Fill(ctx context.Context, keys int, seed uint64) (load.Filled, error) {
	var out load.Filled
	const name = "test-load"
	if err := r.start(ctx, name, "load", "-n", fmt.Sprint(keys), "-seed", fmt.Sprint(seed)); err != nil {
		return out, err
	}
	if err := r.lastLine(ctx, name, &out); err != nil {
		return out, err
	}
	return out, r.remove(ctx, name)
}

// Writers is a running pod of live writers.
type Writers struct {
	runner Runner
	name   string
}

// Writers are the writers that Write started, in this process or another.
func (r Runner) Writers() *Writers { return &Writers{runner: r, name: "test-write"} }

// Start starts live writers, the first one with that number, and waits until
// they run: whether they are allowed to write is another question.
func (r Runner) Start(ctx context.Context, rate, first int) (*Writers, error) {
	w := r.Writers()
	if err := r.start(ctx, w.name, "write", "-rate", fmt.Sprint(rate), "-first", fmt.Sprint(first)); err != nil {
		return nil, err
	}
	err := wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		stats, err := w.Stats(ctx)
		return err == nil && stats.Acknowledged+stats.Failed+stats.Unknown > 0, nil
	})
	if err != nil {
		return nil, fmt.Errorf("site %s: start of writers: %w: %s", r.Cluster.Site, err, r.tail(ctx, w.name))
	}
	return w, nil
}

// Write starts live writers and waits until they have written.
func (r Runner) Write(ctx context.Context, rate int) (*Writers, error) {
	w := r.Writers()
	if err := r.start(ctx, w.name, "write", "-rate", fmt.Sprint(rate)); err != nil {
		return nil, err
	}
	err := wait.PollUntilContextTimeout(ctx, time.Second, time.Minute, true, func(ctx context.Context) (bool, error) {
		if pod, err := r.pods().Get(ctx, w.name, metav1.GetOptions{}); err == nil && pod.Status.Phase == corev1.PodFailed {
			return false, fmt.Errorf("the pod ended: %s", r.tail(ctx, w.name))
		}
		stats, err := w.Stats(ctx)
		return err == nil && stats.Acknowledged > 0, nil
	})
	if err != nil {
		return nil, fmt.Errorf("site %s: start of writers: %w", r.Cluster.Site, err)
	}
	return w, nil
}

// Stats asks the pod for its counts.
func (w *Writers) Stats(ctx context.Context) (load.Stats, error) {
	var stats load.Stats
	body, err := w.runner.Cluster.Typed.CoreV1().Pods(w.runner.Placement.Namespace).
		ProxyGet("http", w.name, "8080", "/stats", nil).DoRaw(ctx)
	if err != nil {
		return stats, fmt.Errorf("site %s: writers: %w", w.runner.Cluster.Site, err)
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return stats, fmt.Errorf("site %s: writers: %w", w.runner.Cluster.Site, err)
	}
	return stats, nil
}

// Stop ends the writers after what they have begun, and returns the counts.
func (w *Writers) Stop(ctx context.Context) (load.Stats, error) {
	var stats load.Stats
	body, err := w.runner.Cluster.Typed.CoreV1().RESTClient().Post().
		Namespace(w.runner.Placement.Namespace).Resource("pods").Name(w.name + ":8080").
		SubResource("proxy").Suffix("stop").DoRaw(ctx)
	if err != nil {
		return stats, fmt.Errorf("site %s: stop writers: %w", w.runner.Cluster.Site, err)
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return stats, fmt.Errorf("site %s: stop writers: %w", w.runner.Cluster.Site, err)
	}
	return stats, w.runner.remove(ctx, w.name)
}

func (r Runner) pods() typedcorev1.PodInterface {
	return r.Cluster.Typed.CoreV1().Pods(r.Placement.Namespace)
}

// start creates the pod; a pod of that name from before is removed first.
func (r Runner) start(ctx context.Context, name string, args ...string) error {
	if err := r.remove(ctx, name); err != nil {
		return err
	}
	mode, service, secret, err := r.access(ctx)
	if err != nil {
		return err
	}
	no := false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test.redis-sync.io/role": name}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no,
			TerminationGracePeriodSeconds: new(int64(5)),
			Containers: []corev1.Container{{
				Name: "agent", Image: images.AgentImage, ImagePullPolicy: corev1.PullIfNotPresent,
				Args: append([]string{args[0], "-mode", mode, "-addresses", service}, args[1:]...),
				Env: []corev1.EnvVar{{Name: "REDIS_PASSWORD", ValueFrom: &corev1.EnvVarSource{
					SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "password"},
				}}},
			}},
		},
	}
	if _, err := r.pods().Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("site %s: create pod %s: %w", r.Cluster.Site, name, err)
	}
	return nil
}

// access finds the mode and an address by the Services that the operators
// make; there is no cluster DNS.
func (r Runner) access(ctx context.Context) (mode, address, secret string, err error) {
	name, mode := r.Placement.Instance+"-leader", "cluster"
	if r.Placement.Kind == "RedisFailover" {
		name, mode = "rfs-"+r.Placement.Instance, "sentinel"
	}
	service, err := r.Cluster.Typed.CoreV1().Services(r.Placement.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", "", "", fmt.Errorf("site %s: address of %s: %w", r.Cluster.Site, r.Placement.Instance, err)
	}
	return mode, fmt.Sprintf("%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port), r.Placement.Instance + "-auth", nil
}

// lastLine waits for the end of a pod and decodes the last line of its log.
func (r Runner) lastLine(ctx context.Context, name string, into any) error {
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, 10*time.Minute, true, func(ctx context.Context) (bool, error) {
		pod, err := r.pods().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if pod.Status.Phase == corev1.PodFailed {
			return false, fmt.Errorf("the pod ended: %s", r.tail(ctx, name))
		}
		return pod.Status.Phase == corev1.PodSucceeded, nil
	})
	if err != nil {
		return fmt.Errorf("site %s: pod %s: %w", r.Cluster.Site, name, err)
	}
	lines := strings.Split(strings.TrimSpace(r.tail(ctx, name)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), into); err != nil {
		return fmt.Errorf("site %s: pod %s: log %q: %w", r.Cluster.Site, name, lines[len(lines)-1], err)
	}
	return nil
}

// tail is the end of a pod's log, or why it cannot be had.
func (r Runner) tail(ctx context.Context, name string) string {
	lines := int64(5)
	body, err := r.pods().GetLogs(name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// remove deletes a pod and waits for its end.
func (r Runner) remove(ctx context.Context, name string) error {
	err := r.pods().Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("site %s: delete pod %s: %w", r.Cluster.Site, name, err)
	}
	return wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := r.pods().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}
