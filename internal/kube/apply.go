package kube

import (
	"context"
	"errors"
	"fmt"
	"sort"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
)

// Labels of every object of ours.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelPair      = "redis-sync.io/pair"
	ManagedBy      = FieldManager
)

var errNoVersion = errors.New("the object carries no resourceVersion: it must be read before it is written")

// kinds that we create, with what the API server calls them. A map instead of
// discovery: these never change, and discovery costs two round trips.
var kinds = map[schema.GroupKind]schema.GroupVersionResource{
	{Kind: "Service"}:                                   {Version: "v1", Resource: "services"},
	{Kind: "ConfigMap"}:                                 {Version: "v1", Resource: "configmaps"},
	{Kind: "Secret"}:                                    {Version: "v1", Resource: "secrets"},
	{Kind: "Pod"}:                                       {Version: "v1", Resource: "pods"},
	{Group: "apps", Kind: "Deployment"}:                 {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Kind: "StatefulSet"}:                {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "batch", Kind: "Job"}:                       {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "coordination.k8s.io", Kind: "Lease"}:       {Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	{Group: "policy", Kind: "PodDisruptionBudget"}:      {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}: {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
}

// OwnedKinds are the kinds that ListOwned looks for when none is given.
var OwnedKinds = []schema.GroupVersionKind{
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Version: "v1", Kind: "Service"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "Secret"},
}

// Ref names an object. UID and ResourceVersion, where set, are preconditions
// of Delete.
type Ref struct {
	GVK             schema.GroupVersionKind
	Namespace       string
	Name            string
	UID             types.UID
	ResourceVersion string
}

// String is the form of error texts: "service redis/redis-a-leader-0".
func (r Ref) String() string {
	if r.Namespace == "" {
		return fmt.Sprintf("%s %s", lowerKind(r.GVK.Kind), r.Name)
	}
	return fmt.Sprintf("%s %s/%s", lowerKind(r.GVK.Kind), r.Namespace, r.Name)
}

// RefOf names an object, with its uid as a precondition.
func RefOf(obj *unstructured.Unstructured) Ref {
	return Ref{GVK: obj.GroupVersionKind(), Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID()}
}

// ApplyOptions of Apply.
type ApplyOptions struct {
	DryRun bool // the API server computes the result and stores nothing
	Force  bool // take fields over from other managers
}

// ToUnstructured turns a typed object into the form that Apply takes: with
// apiVersion and kind, without the fields that only the API server sets.
func ToUnstructured(obj runtime.Object) (*unstructured.Unstructured, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return u.DeepCopy(), nil
	}
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return nil, fmt.Errorf("unknown object type %T: %w", obj, err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("convert %T: %w", obj, err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvks[0])
	delete(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "creationTimestamp")
	return u, nil
}

// Apply sends obj by server-side apply and returns what the API server made
// of it (or would make, with DryRun). Without Force, a field that another
// manager owns with another value is an error (IsConflict).
func (c *Client) Apply(ctx context.Context, obj *unstructured.Unstructured, opts ApplyOptions) (*unstructured.Unstructured, error) {
	ref := RefOf(obj)
	resource, err := c.resource(ref)
	if err != nil {
		return nil, err
	}
	options := metav1.ApplyOptions{FieldManager: FieldManager, Force: opts.Force}
	if opts.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	out, err := resource.Apply(ctx, ref.Name, obj, options)
	if err != nil {
		return nil, c.wrap(err, "apply %s", ref)
	}
	return out, nil
}

// Scale sets how many pods a Deployment of ours keeps, and nothing else.
func (c *Client) Scale(ctx context.Context, ref Ref, replicas int64) error {
	resource, err := c.resource(ref)
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if _, err := resource.Patch(ctx, ref.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager}); err != nil {
		return c.wrap(err, "scale %s to %d", ref, replicas)
	}
	return nil
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	resource, err := c.resource(ref)
	if err != nil {
		return nil, err
	}
	out, err := resource.Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, c.wrap(err, "read %s", ref)
	}
	return out, nil
}

// Delete removes an object and what it owns, in the background. UID and
// ResourceVersion of the ref are preconditions (IsConflict when they differ).
// An object that is already gone is no error.
func (c *Client) Delete(ctx context.Context, ref Ref) error {
	resource, err := c.resource(ref)
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if ref.UID != "" || ref.ResourceVersion != "" {
		options.Preconditions = &metav1.Preconditions{}
		if ref.UID != "" {
			options.Preconditions.UID = &ref.UID
		}
		if ref.ResourceVersion != "" {
			options.Preconditions.ResourceVersion = &ref.ResourceVersion
		}
	}
	if err := resource.Delete(ctx, ref.Name, options); err != nil && !IsNotFound(err) {
		return c.wrap(err, "delete %s", ref)
	}
	return nil
}

// ListOwned returns our objects of a pair in a namespace ("" = all), told by
// the labels that every object of ours carries; pair "" = of every pair. The
// kinds default to OwnedKinds. The order is by kind, then by name.
func (c *Client) ListOwned(ctx context.Context, namespace, pair string, of ...schema.GroupVersionKind) ([]unstructured.Unstructured, error) {
	if len(of) == 0 {
		of = OwnedKinds
	}
	selector := LabelManagedBy + "=" + ManagedBy + "," + LabelPair
	if pair != "" {
		selector += "=" + pair
	}
	var out []unstructured.Unstructured
	for _, gvk := range of {
		resource, err := c.resource(Ref{GVK: gvk, Namespace: namespace})
		if err != nil {
			return nil, err
		}
		list, err := resource.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, c.wrap(err, "list our %ss in %s", lowerKind(gvk.Kind), inNamespace(namespace))
		}
		items := list.Items
		for i := range items {
			items[i].SetGroupVersionKind(gvk)
		}
		sort.Slice(items, func(i, j int) bool {
			if items[i].GetNamespace() != items[j].GetNamespace() {
				return items[i].GetNamespace() < items[j].GetNamespace()
			}
			return items[i].GetName() < items[j].GetName()
		})
		out = append(out, items...)
	}
	return out, nil
}

func (c *Client) resource(ref Ref) (dynamic.ResourceInterface, error) {
	gvr, ok := kinds[ref.GVK.GroupKind()]
	if !ok {
		return nil, c.wrap(fmt.Errorf("the kind %s is not one that we handle", ref.GVK), "find the resource")
	}
	if ref.Namespace == "" {
		return c.dynamic.Resource(gvr), nil
	}
	return c.dynamic.Resource(gvr).Namespace(ref.Namespace), nil
}
