package discovery

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// readObjects lists what topology.Detect reads. Custom resources that the
// cluster does not serve, or that the user may not list, are left out: owner
// references and labels then have to do.
func readObjects(ctx context.Context, c *kube.Client, namespace string) (topology.Objects, error) {
	var objs topology.Objects
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		objs.StatefulSets, err = c.StatefulSets(ctx, namespace, "")
		return err
	})
	group.Go(func() (err error) {
		objs.Deployments, err = c.Deployments(ctx, namespace, "")
		return err
	})
	group.Go(func() (err error) {
		objs.Pods, err = c.Pods(ctx, namespace, "")
		return err
	})
	group.Go(func() (err error) {
		objs.Services, err = c.Services(ctx, namespace, "")
		return err
	})
	group.Go(func() (err error) {
		objs.Custom, err = readCustom(ctx, c, namespace)
		return err
	})
	return objs, group.Wait()
}

func readCustom(ctx context.Context, c *kube.Client, namespace string) ([]unstructured.Unstructured, error) {
	served, err := c.ServedGroups(ctx)
	if kube.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var out []unstructured.Unstructured
	group, ctx := errgroup.WithContext(ctx)
	for _, kind := range topology.CustomKinds {
		version, ok := served[kind.Group]
		if !ok {
			continue
		}
		group.Go(func() error {
			gvr := schema.GroupVersionResource{Group: kind.Group, Version: version, Resource: kind.Resource}
			items, err := c.CustomResources(ctx, gvr, namespace)
			if kube.IsForbidden(err) || kube.IsNotFound(err) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, items...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b unstructured.Unstructured) int {
		if a.GetKind()+a.GetName() < b.GetKind()+b.GetName() {
			return -1
		}
		return 1
	})
	return out, nil
}
