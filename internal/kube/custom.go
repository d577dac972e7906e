package kube

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
)

// ServedGroups returns the API groups of the cluster with the version that
// the API server prefers for each.
func (c *Client) ServedGroups(ctx context.Context) (map[string]string, error) {
	list := &metav1.APIGroupList{}
	if err := c.discovery.RESTClient().Get().AbsPath("/apis").Do(ctx).Into(list); err != nil {
		return nil, c.wrap(err, "list the API groups")
	}
	out := make(map[string]string, len(list.Groups))
	for _, g := range list.Groups {
		out[g.Name] = g.PreferredVersion.Version
	}
	return out, nil
}

// CustomResources lists the objects of a resource in a namespace ("" = all).
// IsNotFound tells that the cluster does not serve the resource.
func (c *Client) CustomResources(ctx context.Context, gvr schema.GroupVersionResource, namespace string) ([]unstructured.Unstructured, error) {
	list, err := c.dynamic.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, c.wrap(err, "list %s.%s in %s", gvr.Resource, gvr.Group, inNamespace(namespace))
	}
	return list.Items, nil
}

func serverVersion(ctx context.Context, d discovery.DiscoveryInterface) (string, error) {
	info := &version.Info{}
	raw, err := d.RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	if err := decodeJSON(raw, info); err != nil {
		return "", err
	}
	return info.GitVersion, nil
}

func lowerKind(kind string) string { return strings.ToLower(kind) }
