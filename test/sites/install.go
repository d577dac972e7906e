package sites

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Install creates the objects of a placement, in the order in which an
// operator would: definition, custom resource, then the children with its
// uid. Objects that exist are left alone, so that it can be repeated.
func (c *Cluster) Install(ctx context.Context, p Placement, image string) error {
	objects, err := p.Read()
	if err != nil {
		return err
	}
	if err := c.ensureCRD(ctx, objects.CR); err != nil {
		return err
	}
	if err := c.ensureNamespace(ctx, p.Namespace); err != nil {
		return err
	}
	cr, err := c.ensure(ctx, Creatable(objects.CR, image, ""))
	if err != nil {
		return err
	}
	for _, child := range objects.Children {
		if _, err := c.ensure(ctx, Creatable(child, image, string(cr.GetUID()))); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) ensureNamespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := c.Typed.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("site %s: create namespace %s: %w", c.Site, name, err)
	}
	return nil
}

// ensure creates the object unless it exists and returns the live one.
func (c *Cluster) ensure(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	endpoint, err := c.resource(o)
	if err != nil {
		return nil, err
	}
	live, err := endpoint.Create(ctx, o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if apierrors.IsAlreadyExists(err) {
		live, err = endpoint.Get(ctx, o.GetName(), metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("site %s: create %s: %w", c.Site, describe(o), err)
	}
	return live, nil
}

// Remove deletes the custom resource with all that it owns, the claims of its
// StatefulSets, the namespace and the definition if nothing else uses it.
func (c *Cluster) Remove(ctx context.Context, p Placement) error {
	objects, err := p.Read()
	if err != nil {
		return err
	}
	err = c.Typed.CoreV1().Namespaces().Delete(ctx, p.Namespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("site %s: delete namespace %s: %w", c.Site, p.Namespace, err)
	}
	if err := c.waitNamespaceGone(ctx, p.Namespace); err != nil {
		return err
	}
	return c.dropCRD(ctx, objects.CR)
}
