package sites

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

func uid(s string) types.UID { return types.UID(s) }

// Cluster is a connection to the API server of one site.
type Cluster struct {
	Site   string
	Config *rest.Config
	Typed  kubernetes.Interface
	Any    dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// Connect uses the context that has the name of the site.
func Connect(kubeconfig, site string) (*Cluster, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: site}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("context %s of %s: %w", site, kubeconfig, err)
	}
	config.QPS, config.Burst = 100, 200
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", site, err)
	}
	anyClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", site, err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(typed.Discovery()))
	return &Cluster{Site: site, Config: config, Typed: typed, Any: anyClient, mapper: mapper}, nil
}

// mapping finds the endpoint of a kind by discovery.
func (c *Cluster) mapping(o *unstructured.Unstructured) (*meta.RESTMapping, error) {
	gvk := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("site %s: %s: %w", c.Site, gvk, err)
	}
	return mapping, nil
}

// resource returns the endpoint of an object's kind, in its namespace if the
// kind has namespaces.
func (c *Cluster) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapping(o)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.Any.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return c.Any.Resource(mapping.Resource), nil
}

func describe(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}
