package sites

import (
	"context"
	"embed"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

//go:embed crds/*.yaml
var crdFiles embed.FS

var crdFileOf = map[string]string{
	"RedisCluster":  "crds/redisclusters.yaml",
	"RedisFailover": "crds/redisfailovers.yaml",
}

func (c *Cluster) crds() dynamic.ResourceInterface {
	return c.Any.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	})
}

func readCRD(kind string) (*unstructured.Unstructured, error) {
	body, err := crdFiles.ReadFile(crdFileOf[kind])
	if err != nil {
		return nil, fmt.Errorf("definition of kind %s: %w", kind, err)
	}
	if body, err = yaml.YAMLToJSON(body); err != nil {
		return nil, fmt.Errorf("definition of kind %s: %w", kind, err)
	}
	crd := &unstructured.Unstructured{}
	if err := crd.UnmarshalJSON(body); err != nil {
		return nil, fmt.Errorf("definition of kind %s: %w", kind, err)
	}
	return crd, nil
}

// ensureCRD serves the version of the custom resource beside those that are
// served already, and waits until the API server offers it.
func (c *Cluster) ensureCRD(ctx context.Context, cr *unstructured.Unstructured) error {
	crd, err := readCRD(cr.GetKind())
	if err != nil {
		return err
	}
	version := cr.GroupVersionKind().Version
	served := map[string]bool{version: true}
	live, err := c.crds().Get(ctx, crd.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if err := setServed(crd, served); err != nil {
			return err
		}
		if _, err := c.crds().Create(ctx, crd, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("site %s: create definition %s: %w", c.Site, crd.GetName(), err)
		}
	case err != nil:
		return fmt.Errorf("site %s: definition %s: %w", c.Site, crd.GetName(), err)
	default:
		if err := addServed(live, served); err != nil {
			return err
		}
		if err := setServed(crd, served); err != nil {
			return err
		}
		crd.SetResourceVersion(live.GetResourceVersion())
		if _, err := c.crds().Update(ctx, crd, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("site %s: update definition %s: %w", c.Site, crd.GetName(), err)
		}
	}
	return c.waitServed(ctx, cr)
}

// waitServed waits until discovery lists the version and a list works.
func (c *Cluster) waitServed(ctx context.Context, cr *unstructured.Unstructured) error {
	return poll(ctx, fmt.Sprintf("site %s: wait for kind %s", c.Site, cr.GroupVersionKind()), func() (string, error) {
		endpoint, err := c.resource(cr)
		if err != nil {
			c.mapper.Reset()
			return err.Error(), nil //nolint:nilerr // not served yet is what we wait for
		}
		if _, err := endpoint.List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			if apierrors.IsNotFound(err) {
				return err.Error(), nil
			}
			return "", err
		}
		return "", nil
	})
}

func eachVersion(crd *unstructured.Unstructured, do func(version map[string]any)) error {
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil {
		return fmt.Errorf("definition %s: %w", crd.GetName(), err)
	}
	for _, v := range versions {
		version, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("definition %s: a version is no object", crd.GetName())
		}
		do(version)
	}
	crd.Object["spec"].(map[string]any)["versions"] = versions
	return nil
}

func setServed(crd *unstructured.Unstructured, served map[string]bool) error {
	return eachVersion(crd, func(v map[string]any) { v["served"] = served[v["name"].(string)] })
}

func addServed(crd *unstructured.Unstructured, served map[string]bool) error {
	return eachVersion(crd, func(v map[string]any) {
		if v["served"] == true {
			served[v["name"].(string)] = true
		}
	})
}

// dropCRD deletes the definition when no custom resource uses it.
func (c *Cluster) dropCRD(ctx context.Context, cr *unstructured.Unstructured) error {
	crd, err := readCRD(cr.GetKind())
	if err != nil {
		return err
	}
	mapping, err := c.mapping(cr)
	if err != nil {
		return nil //nolint:nilerr // not served: nothing to drop
	}
	list, err := c.Any.Resource(mapping.Resource).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("site %s: list %s: %w", c.Site, cr.GetKind(), err)
	}
	if len(list.Items) > 0 {
		return nil
	}
	if err := c.crds().Delete(ctx, crd.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("site %s: delete definition %s: %w", c.Site, crd.GetName(), err)
	}
	return nil
}
