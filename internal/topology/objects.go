package topology

import (
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Objects is what detection reads: the objects of one or more namespaces.
// Custom resources may be missing (their group is not served, or may not be
// read): owner references and labels of the StatefulSets then have to do.
type Objects struct {
	Custom       []unstructured.Unstructured
	StatefulSets []appsv1.StatefulSet
	Deployments  []appsv1.Deployment
	Pods         []corev1.Pod
	Services     []corev1.Service
}

// API groups of the operators that are known.
const (
	GroupOT         = "redis.redis.opstreelabs.in"
	GroupSpotahome  = "databases.spotahome.com"
	GroupValkey     = "valkey.io"
	GroupHyperspike = "hyperspike.io"
)

// CustomKind is a kind of custom resource that detection reads.
type CustomKind struct {
	Group, Resource, Kind string
}

// CustomKinds are the kinds that Objects.Custom should hold, where served.
var CustomKinds = []CustomKind{
	{GroupOT, "redis", "Redis"},
	{GroupOT, "redisclusters", "RedisCluster"},
	{GroupOT, "redisreplications", "RedisReplication"},
	{GroupOT, "redissentinels", "RedisSentinel"},
	{GroupSpotahome, "redisfailovers", "RedisFailover"},
	{GroupValkey, "valkeyclusters", "ValkeyCluster"},
	{GroupHyperspike, "valkeys", "Valkey"},
}

// Labels and annotations that operators and charts use.
const (
	labelSetupType   = "redis_setup_type"
	labelStaticRole  = "role" // the name of an OT StatefulSet; says nothing about today
	labelPodName     = "statefulset.kubernetes.io/pod-name"
	labelName        = "app.kubernetes.io/name"
	labelInstance    = "app.kubernetes.io/instance"
	labelComponent   = "app.kubernetes.io/component"
	labelPartOf      = "app.kubernetes.io/part-of"
	labelManagedBy   = "app.kubernetes.io/managed-by"
	labelValkeyOf    = "valkey.io/cluster"
	labelPowerhome   = "redisfailovers.databases.spotahome.com/component"
	annotationOTName = "redis.opstreelabs.instance"

	valueFailover = "redis-failover" // of labelPartOf
	valueOurs     = "kubectl-redis-sync"
)

// roleLabels are the labels that operators move when the master moves, with
// the values that mean master and replica. They are late during failovers.
var roleLabels = []struct{ key, primary, replica string }{
	{"redis-role", "master", "slave"},              // OT
	{"redisfailovers-role", "master", "slave"},     // spotahome
	{"redis-failover", "master", "slave"},          // of procedures in circulation; set by no operator
	{"isMaster", "true", "false"},                  // Bitnami chart
	{"kubeblocks.io/role", "primary", "secondary"}, // KubeBlocks
}

func roleByLabel(labels map[string]string) Role {
	for _, l := range roleLabels {
		switch labels[l.key] {
		case l.primary:
			return RolePrimary
		case l.replica:
			return RoleReplica
		}
	}
	return RoleUnknown
}

func controllerOf(m *metav1.ObjectMeta) *metav1.OwnerReference {
	for i := range m.OwnerReferences {
		if ref := &m.OwnerReferences[i]; ref.Controller != nil && *ref.Controller {
			return ref
		}
	}
	return nil
}

func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// matches reports whether a selector selects an object with these labels; an
// empty selector selects nothing.
func matches(selector, labels map[string]string) bool {
	if len(selector) == 0 {
		return false
	}
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// podsOf are the pods that a StatefulSet controls, by owner reference.
func (o *Objects) podsOf(namespace, statefulSet string) []corev1.Pod {
	var out []corev1.Pod
	for _, p := range o.Pods {
		ref := controllerOf(&p.ObjectMeta)
		if p.Namespace == namespace && ref != nil && ref.Kind == "StatefulSet" && ref.Name == statefulSet {
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// podsMatching are the pods that carry all the labels.
func (o *Objects) podsMatching(namespace string, labels map[string]string) []corev1.Pod {
	var out []corev1.Pod
	for _, p := range o.Pods {
		if p.Namespace == namespace && matches(labels, p.Labels) {
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func (o *Objects) service(namespace, name string) *corev1.Service {
	for i := range o.Services {
		if s := &o.Services[i]; s.Namespace == namespace && s.Name == name && s.Labels[labelManagedBy] != valueOurs {
			return s
		}
	}
	return nil
}

func (o *Objects) custom(group, kind, namespace, name string) *unstructured.Unstructured {
	for i := range o.Custom {
		u := &o.Custom[i]
		if u.GetKind() == kind && u.GetNamespace() == namespace && u.GetName() == name && groupOf(u.GetAPIVersion()) == group {
			return u
		}
	}
	return nil
}
