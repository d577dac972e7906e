package execute

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
)

// Cluster is what a verb can see of, and do to, the API server of a site.
// *kube.Client is the real one.
type Cluster interface {
	ClusterReader
	ClusterWriter
}

// ClusterReader changes nothing.
type ClusterReader interface {
	Context() string
	Server() string
	Namespace() string
	ClusterID(ctx context.Context, namespace string) (kube.ClusterID, error)
	NamespaceGone(ctx context.Context, name string) (string, error)
	Get(ctx context.Context, ref kube.Ref) (*unstructured.Unstructured, error)
	ListOwned(ctx context.Context, namespace, pair string, of ...schema.GroupVersionKind) ([]unstructured.Unstructured, error)
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	ConfigMaps(ctx context.Context, namespace, selector string) ([]corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error)
	PodLog(ctx context.Context, namespace, pod, container string, lines int64, previous bool) (string, error)
	PodProxyGet(ctx context.Context, namespace, pod string, port int, path string) ([]byte, error)
	CanI(ctx context.Context, accesses []kube.Access) ([]bool, error)
}

// ClusterWriter changes something, unless ApplyOptions.DryRun is set.
type ClusterWriter interface {
	Apply(ctx context.Context, object *unstructured.Unstructured, opts kube.ApplyOptions) (*unstructured.Unstructured, error)
	Scale(ctx context.Context, ref kube.Ref, replicas int64) error
	Delete(ctx context.Context, ref kube.Ref) error
	CreateConfigMap(ctx context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, error)
	UpdateConfigMap(ctx context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, error)
}

var _ Cluster = (*kube.Client)(nil)

// Redis is what a verb can see of, and do to, the keys of ours in the
// instance of a site.
type Redis interface {
	// FenceEpoch reads the fence of the pair; 0 when there is none.
	FenceEpoch(ctx context.Context, pair string) (int64, error)
	// CreateFence makes the fence unless there is one, and gives back the
	// epoch that the instance then holds.
	CreateFence(ctx context.Context, pair string, epoch int64) (int64, error)
	// DropShards removes the checkpoints and incarnations of the shards, and
	// gives back how many keys that were.
	DropShards(ctx context.Context, pair string, shards int) (int, error)
	// DropRest removes whatever else the pair has in the instance but the
	// fence, in every database, and gives back how many keys that were.
	DropRest(ctx context.Context, pair string) (int, error)
	// DropFence removes the fence: whatever of ours still runs cannot write.
	DropFence(ctx context.Context, pair string) error
	// Close ends the connection.
	Close() error
}
