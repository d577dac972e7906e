package execute

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
)

// Recording is the list of what a dry run would have changed.
type Recording struct {
	mu    sync.Mutex
	lines []string
}

// Lines are the changes in the order in which they would have been made.
func (r *Recording) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

func (r *Recording) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// Record gives a cluster that reads from c and writes to the recording only.
// An apply is sent as a dry run, so that the API server checks the object and
// the permission.
func (r *Recording) Record(site string, c Cluster) Cluster {
	return &recordingCluster{ClusterReader: c, real: c, site: site, out: r}
}

type recordingCluster struct {
	ClusterReader
	real ClusterWriter
	site string
	out  *Recording
}

func (c *recordingCluster) Apply(ctx context.Context, object *unstructured.Unstructured, opts kube.ApplyOptions) (*unstructured.Unstructured, error) {
	if !opts.DryRun {
		c.out.add("site %s: apply %s", c.site, kube.RefOf(object))
		opts.DryRun = true
	}
	return c.real.Apply(ctx, object, opts)
}

func (c *recordingCluster) Scale(_ context.Context, ref kube.Ref, replicas int64) error {
	c.out.add("site %s: scale %s to %d", c.site, ref, replicas)
	return nil
}

func (c *recordingCluster) Delete(_ context.Context, ref kube.Ref) error {
	c.out.add("site %s: delete %s", c.site, ref)
	return nil
}

func (c *recordingCluster) CreateConfigMap(_ context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	c.out.add("site %s: create configmap %s/%s", c.site, m.Namespace, m.Name)
	return m, nil
}

func (c *recordingCluster) UpdateConfigMap(_ context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	c.out.add("site %s: update configmap %s/%s", c.site, m.Namespace, m.Name)
	return m, nil
}

// RecordRedis gives a Redis that reads from real and writes to the recording
// only.
func (r *Recording) RecordRedis(site string, real Redis) Redis {
	return &recordingRedis{real: real, site: site, out: r}
}

type recordingRedis struct {
	real Redis
	site string
	out  *Recording
}

func (c *recordingRedis) FenceEpoch(ctx context.Context, pair string) (int64, error) {
	return c.real.FenceEpoch(ctx, pair)
}

func (c *recordingRedis) CreateFence(ctx context.Context, pair string, epoch int64) (int64, error) {
	found, err := c.real.FenceEpoch(ctx, pair)
	if err != nil {
		return 0, err
	}
	if found != 0 {
		return found, nil
	}
	c.out.add("site %s: create the fence of pair %s with epoch %d", c.site, pair, epoch)
	return epoch, nil
}

func (c *recordingRedis) DropShards(_ context.Context, pair string, shards int) (int, error) {
	c.out.add("site %s: remove the checkpoints of pair %s (%d shards)", c.site, pair, shards)
	return 0, nil
}

func (c *recordingRedis) DropRest(_ context.Context, pair string) (int, error) {
	c.out.add("site %s: remove the other keys of pair %s", c.site, pair)
	return 0, nil
}

func (c *recordingRedis) DropFence(_ context.Context, pair string) error {
	c.out.add("site %s: remove the fence of pair %s", c.site, pair)
	return nil
}

func (c *recordingRedis) Close() error { return c.real.Close() }
