package sites

import (
	"context"
	"fmt"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Comparison says where the live objects differ from the fixture.
type Comparison struct {
	Objects     int
	Differences []string // "StatefulSet redis/x: spec.replicas: live 2, fixture 3"
}

// Compare reads every object of the fixture from the API server. Everything
// the fixture says must be there, and where the fixture has a list, a set of
// labels, annotations, a selector, owner references or data, nothing else may
// be there. Allowed to differ: what servers set, owner uids, images and pull
// policy, bodies of scripts, finalizers, and the values of labels that an
// operator or a controller moves at run time.
func (c *Cluster) Compare(ctx context.Context, p Placement) (Comparison, error) {
	objects, err := p.Read()
	if err != nil {
		return Comparison{}, err
	}
	var out Comparison
	all := append([]*unstructured.Unstructured{objects.CR}, objects.Children...)
	for _, want := range append(all, objects.Pods...) {
		live, err := c.liveOf(ctx, want)
		if err != nil {
			return Comparison{}, err
		}
		out.Objects++
		for _, d := range diffObject(want, live) {
			out.Differences = append(out.Differences, describe(want)+": "+d)
		}
	}
	return out, nil
}

// liveOf reads an object; for a pod of a Deployment, whose name is random, it
// takes the one pod with the same rank by name.
func (c *Cluster) liveOf(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	endpoint, err := c.resource(want)
	if err != nil {
		return nil, err
	}
	name := want.GetName()
	if owners := want.GetOwnerReferences(); want.GetKind() == "Pod" && owners[0].Kind == "ReplicaSet" {
		selector := metav1.ListOptions{LabelSelector: labelsWithout(want, "pod-template-hash")}
		list, err := endpoint.List(ctx, selector)
		if err != nil {
			return nil, fmt.Errorf("site %s: pods like %s: %w", c.Site, name, err)
		}
		if len(list.Items) == 0 {
			return nil, fmt.Errorf("site %s: no pod like %s", c.Site, name)
		}
		return &list.Items[0], nil
	}
	live, err := endpoint.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("site %s: %s: %w", c.Site, describe(want), err)
	}
	return live, nil
}

func labelsWithout(o *unstructured.Unstructured, drop string) string {
	var parts []string
	for k, v := range o.GetLabels() {
		if k != drop {
			parts = append(parts, k+"="+v)
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

// exactMaps are the paths whose map may hold nothing beyond the fixture; "*"
// stands for one name or index.
var exactMaps = map[string]bool{
	"metadata.labels": true, "metadata.annotations": true, "data": true,
	"spec.selector": true, "spec.selector.matchLabels": true,
	"spec.template.metadata.labels": true, "spec.template.metadata.annotations": true,
	"spec.volumeClaimTemplates.*.metadata.labels": true,
}

// runtimeLabels have values that change while the instance lives.
var runtimeLabels = map[string]bool{
	"redis-role": true, "redisfailovers-role": true, "controller-revision-hash": true, "pod-template-hash": true,
}

// skipped says what is allowed to differ at a path.
func skipped(kind, path string) bool {
	last := path[strings.LastIndex(path, ".")+1:]
	switch {
	case path == "status" || path == "spec.clusterIPs" || path == "spec.nodeName":
		return true
	case strings.HasPrefix(path, "metadata."):
		switch strings.TrimPrefix(path, "metadata.") {
		case "uid", "resourceVersion", "creationTimestamp", "generation", "finalizers", "managedFields",
			"annotations.deployment.kubernetes.io/revision", "annotations." + PauseLabelsAnnotation:
			return true
		}
	case kind == "ConfigMap":
		_, isScript := scriptBodies[strings.TrimPrefix(path, "data.")]
		return isScript
	}
	return strings.Contains(path, "containers.") && (last == "image" || last == "imagePullPolicy") ||
		strings.Contains(path, "initContainers.") && last == "image"
}

func diffObject(want, live *unstructured.Unstructured) []string {
	var out []string
	d := differ{kind: want.GetKind(), out: &out}
	fixture := want.DeepCopy()
	if ip, _, _ := unstructured.NestedString(fixture.Object, "spec", "clusterIP"); ip != "None" {
		unstructured.RemoveNestedField(fixture.Object, "spec", "clusterIP")
	}
	if want.GetKind() == "Pod" {
		fixture.SetName(live.GetName())
		for i, ref := range fixture.GetOwnerReferences() {
			if ref.Kind == "ReplicaSet" {
				owners := fixture.GetOwnerReferences()
				owners[i].Name = live.GetOwnerReferences()[0].Name
				fixture.SetOwnerReferences(owners)
			}
		}
	}
	d.diff("", "", fixture.Object, live.Object)
	sort.Strings(out)
	return out
}

type differ struct {
	kind string
	out  *[]string
}

func (d differ) report(path string, want, live any) {
	*d.out = append(*d.out, fmt.Sprintf("%s: live %v, fixture %v", path, live, want))
}

// diff walks both sides; pattern is the path with list indexes as "*".
func (d differ) diff(path, pattern string, want, live any) {
	if skipped(d.kind, path) {
		return
	}
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			d.report(path, "an object", live)
			return
		}
		d.diffMap(path, pattern, w, l)
	case []any:
		l, ok := live.([]any)
		if !ok {
			d.report(path, want, live)
			return
		}
		if d.kind == "Pod" {
			l = withoutAdded(pattern, w, l)
		}
		if len(l) != len(w) {
			d.report(path, fmt.Sprintf("%d items", len(w)), fmt.Sprintf("%d items", len(l)))
			return
		}
		for i := range w {
			d.diff(fmt.Sprintf("%s.%d", path, i), pattern+".*", w[i], l[i])
		}
	default:
		if fmt.Sprint(want) != fmt.Sprint(live) {
			d.report(path, want, live)
		}
	}
}

func (d differ) diffMap(path, pattern string, want, live map[string]any) {
	for key, w := range want {
		child, childPattern := join(path, key), join(pattern, key)
		l, has := live[key]
		switch {
		case strings.HasPrefix(childPattern, "metadata.ownerReferences.*.uid"):
		case strings.HasPrefix(childPattern, "metadata.labels.") && runtimeLabels[key] && d.kind == "Pod":
			if !has {
				d.report(child, "set", "absent")
			}
		case !has && !skipped(d.kind, child):
			d.report(child, w, "absent")
		default:
			d.diff(child, childPattern, w, l)
		}
	}
	if !exactMaps[pattern] {
		return
	}
	for key, l := range live {
		if _, has := want[key]; !has && !skipped(d.kind, join(path, key)) {
			d.report(join(path, key), "absent", l)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// withoutAdded drops from a list of a live pod what admission (the token
// volume and its mounts) and the StatefulSet controller (the volumes of the
// claims) add.
func withoutAdded(pattern string, want, live []any) []any {
	wanted := map[string]bool{}
	for _, item := range want {
		wanted[nameOf(item)] = true
	}
	var out []any
	for _, item := range live {
		name := nameOf(item)
		claim, _ := item.(map[string]any)
		_, isClaim := claim["persistentVolumeClaim"]
		switch {
		case wanted[name]:
		case strings.HasPrefix(name, "kube-api-access-"):
			continue
		case pattern == "spec.volumes" && isClaim:
			continue
		}
		out = append(out, item)
	}
	return out
}

func nameOf(item any) string {
	m, _ := item.(map[string]any)
	name, _ := m["name"].(string)
	return name
}
