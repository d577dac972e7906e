package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// Pair is two placements that are to be kept in sync.
type Pair struct {
	Name           string
	Source, Target sites.Placement
}

// Ref is CONTEXT/NAMESPACE/NAME, as the plugin wants an instance to be given.
func Ref(p sites.Placement) string { return p.Site + "/" + p.Namespace + "/" + p.Instance }

// Args are the arguments of plan and apply for this pair.
func (p Pair) Args(verb string, more ...string) []string {
	return append([]string{verb, p.Name, "--source", Ref(p.Source), "--target", Ref(p.Target)}, more...)
}

// Later are the arguments of the verbs that find the pair by its record.
func (p Pair) Later(verb string, more ...string) []string {
	return append([]string{verb, p.Name, "--context", p.Target.Site, "--namespace", p.Target.Namespace}, more...)
}

// Stream calls kubectl redis-sync with the output on the terminal of the
// caller, and fails unless it ends with 0.
func (w *World) Stream(ctx context.Context, out io.Writer, args ...string) error {
	fmt.Fprintf(out, "$ kubectl redis-sync %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, w.Kubectl, append([]string{"redis-sync"}, args...)...)
	cmd.Dir, cmd.Env = w.Root, append(os.Environ(), w.Env()...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl redis-sync %s: %w", args[0], err)
	}
	return nil
}

// pairLabel selects everything that belongs to a pair.
const pairLabel = "redis-sync.io/pair"

// Replicators are the Deployments of the pair, sorted by name.
func (w *World) Replicators(ctx context.Context, p Pair) ([]appsv1.Deployment, error) {
	c, err := w.Cluster(p.Target.Site)
	if err != nil {
		return nil, err
	}
	list, err := c.Typed.AppsV1().Deployments(p.Target.Namespace).List(ctx, metav1.ListOptions{LabelSelector: pairLabel + "=" + p.Name})
	if err != nil {
		return nil, fmt.Errorf("site %s: replicators of %s: %w", p.Target.Site, p.Name, err)
	}
	sort.Slice(list.Items, func(i, j int) bool { return list.Items[i].Name < list.Items[j].Name })
	return list.Items, nil
}

// ReplicatorPod names the running pod of a replicator.
func (w *World) ReplicatorPod(ctx context.Context, p Pair, d appsv1.Deployment) (string, error) {
	c, err := w.Cluster(p.Target.Site)
	if err != nil {
		return "", err
	}
	list, err := c.Typed.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		return "", fmt.Errorf("site %s: pods of %s: %w", p.Target.Site, d.Name, err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			return pod.Name, nil
		}
	}
	return "", fmt.Errorf("site %s: %s has no pod", p.Target.Site, d.Name)
}

// proxyGet asks a replicator through the API server.
func (w *World) proxyGet(ctx context.Context, p Pair, d appsv1.Deployment, path string) ([]byte, error) {
	pod, err := w.ReplicatorPod(ctx, p, d)
	if err != nil {
		return nil, err
	}
	body, err := w.clusters[p.Target.Site].Typed.CoreV1().Pods(d.Namespace).
		ProxyGet("http", pod, fmt.Sprint(wire.DefaultMetricsPort), path, nil).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %s: %w", pod, path, err)
	}
	return body, nil
}

// Statuses asks every replicator for its /status.
func (w *World) Statuses(ctx context.Context, p Pair) ([]wire.Status, error) {
	deployments, err := w.Replicators(ctx, p)
	if err != nil {
		return nil, err
	}
	var out []wire.Status
	for _, d := range deployments {
		body, err := w.proxyGet(ctx, p, d, "/status")
		if err != nil {
			return nil, err
		}
		var s wire.Status
		if err := json.Unmarshal(body, &s); err != nil {
			return nil, fmt.Errorf("%s: /status: %w", d.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// Memory reads the resident memory of every replicator from its /metrics.
func (w *World) Memory(ctx context.Context, p Pair) (map[string]int64, error) {
	deployments, err := w.Replicators(ctx, p)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, d := range deployments {
		body, err := w.proxyGet(ctx, p, d, "/metrics")
		if err != nil {
			return nil, err
		}
		for _, line := range strings.Split(string(body), "\n") {
			if value, ok := strings.CutPrefix(line, "process_resident_memory_bytes "); ok {
				var bytes float64
				if _, err := fmt.Sscan(value, &bytes); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", d.Name, line, err)
				}
				out[d.Name] = int64(bytes)
			}
		}
	}
	return out, nil
}

// WaitApplied waits until every replicator is in sync and has applied what its
// shard's master had written when the wait began.
func (w *World) WaitApplied(ctx context.Context, p Pair, shards int) error {
	var last string
	for {
		statuses, err := w.Statuses(ctx, p)
		done := err == nil && len(statuses) == shards
		last = fmt.Sprintf("%d of %d replicators answer", len(statuses), shards)
		if err != nil {
			last = err.Error()
		}
		for _, s := range statuses {
			if !s.InSync || s.LagBytes > 0 {
				done = false
				last = fmt.Sprintf("shard %d: phase %s, in sync %v, %d bytes behind, error %q", s.Shard, s.Phase, s.InSync, s.LagBytes, s.Error)
			}
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until pair %s is in sync: %w; last seen: %s", p.Name, ctx.Err(), last)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// ownKinds are all kinds of objects that the plugin may create.
var ownKinds = []schema.GroupVersionResource{
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "secrets"},
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "pods"},
	{Version: "v1", Resource: "serviceaccounts"},
	{Version: "v1", Resource: "persistentvolumeclaims"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
}

// Leftovers lists what exists on both sites that the plugin made: objects
// with its label, and objects whose name is made from a pair's name.
func (w *World) Leftovers(ctx context.Context, p Pair) ([]string, error) {
	var out []string
	for _, place := range []sites.Placement{p.Source, p.Target} {
		c, err := w.Cluster(place.Site)
		if err != nil {
			return nil, err
		}
		for _, kind := range ownKinds {
			list, err := c.Any.Resource(kind).Namespace(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("site %s: list %s: %w", place.Site, kind.Resource, err)
			}
			for i := range list.Items {
				if isOurs(&list.Items[i], p.Name) {
					out = append(out, fmt.Sprintf("%s: %s %s/%s", place.Site, kind.Resource, list.Items[i].GetNamespace(), list.Items[i].GetName()))
				}
			}
		}
	}
	sort.Strings(out)
	return out, nil
}

// OtherPairs lists the pairs, except p, that have objects in the namespaces of
// p's instances.
func (w *World) OtherPairs(ctx context.Context, p Pair) ([]string, error) {
	seen := map[string]bool{}
	for _, place := range []sites.Placement{p.Source, p.Target} {
		c, err := w.Cluster(place.Site)
		if err != nil {
			return nil, err
		}
		for _, kind := range ownKinds {
			list, err := c.Any.Resource(kind).Namespace(place.Namespace).List(ctx, metav1.ListOptions{LabelSelector: pairLabel})
			if err != nil {
				return nil, fmt.Errorf("site %s: list %s: %w", place.Site, kind.Resource, err)
			}
			for i := range list.Items {
				if name := list.Items[i].GetLabels()[pairLabel]; name != p.Name {
					seen[name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

func isOurs(o *unstructured.Unstructured, pair string) bool {
	labels := o.GetLabels()
	of, labelled := labels[pairLabel]
	return labelled && of == pair || !labelled && labels["app.kubernetes.io/managed-by"] == "kubectl-redis-sync" ||
		o.GetName() == "redis-sync-"+pair || strings.HasPrefix(o.GetName(), pair+"-to-") || strings.HasPrefix(o.GetName(), pair+"-redis-")
}
