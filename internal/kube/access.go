package kube

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Access is one thing that a verb needs to be allowed to do.
type Access struct {
	Verb      string
	Group     string // "" = core
	Resource  string // "pods", "pods/portforward"
	Namespace string // "" = all, or a resource without namespaces
	Name      string // "" = any
}

// String is the form of an RBAC rule: "create pods/portforward in namespace redis".
func (a Access) String() string {
	s := a.Verb + " " + a.Resource
	if a.Group != "" {
		s += "." + a.Group
	}
	if a.Name != "" {
		s += " " + a.Name
	}
	if a.Namespace != "" {
		s += " in namespace " + a.Namespace
	}
	return s
}

// CanI asks for each access whether the user has it.
func (c *Client) CanI(ctx context.Context, accesses []Access) ([]bool, error) {
	out := make([]bool, len(accesses))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, a := range accesses {
		group.Go(func() error {
			resource, sub, _ := strings.Cut(a.Resource, "/")
			review := &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{
					ResourceAttributes: &authorizationv1.ResourceAttributes{
						Verb: a.Verb, Group: a.Group, Resource: resource, Subresource: sub,
						Namespace: a.Namespace, Name: a.Name,
					},
				},
			}
			answer, err := c.core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				return c.wrap(err, "ask whether you may %s", a)
			}
			out[i] = answer.Status.Allowed
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}
