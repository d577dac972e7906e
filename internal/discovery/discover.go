package discovery

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// instancesAtOnce bounds how many instances List asks at the same time.
const instancesAtOnce = 4

// Discover finds one instance by name, and by kind where one is given, and
// asks Redis about it. What is wrong with the instance is in its findings; an
// error means that it could not be examined: there is no such instance, its
// password is missing or wrong, the API server does not answer.
func Discover(ctx context.Context, c *kube.Client, namespace, name, kind string) (topology.Instance, error) {
	return DiscoverWith(ctx, c, namespace, name, kind, nil)
}

// DiscoverWith is Discover for an instance that the user has said more about:
// adjust may replace its user, its password's Secret and its TLS settings
// before Redis is asked.
func DiscoverWith(ctx context.Context, c *kube.Client, namespace, name, kind string,
	adjust func(*topology.Instance),
) (topology.Instance, error) {
	objs, err := readObjects(ctx, c, namespace)
	if err != nil {
		return topology.Instance{}, err
	}
	inst, err := topology.Find(topology.Detect(objs), namespace, name, kind)
	if err != nil {
		return topology.Instance{}, notFound(ctx, c, err)
	}
	if adjust != nil {
		adjust(&inst)
	}
	return examine(ctx, c, inst)
}

// notFound names the site, and tells whether the namespace exists at all.
func notFound(ctx context.Context, c *kube.Client, err error) error {
	if missing, ok := err.(*topology.NotFoundError); ok && len(missing.Existing) == 0 { //nolint:errorlint // Find returns it bare
		exists, nsErr := c.NamespaceExists(ctx, missing.Namespace)
		if nsErr != nil {
			return nsErr
		}
		missing.NoNamespace = !exists
	}
	return fmt.Errorf("%s: %w", c.Where(), err)
}

// List finds all instances of a namespace ("" = all) and asks Redis about
// them. An instance that cannot be asked is listed with the reason.
func List(ctx context.Context, c *kube.Client, namespace string) ([]topology.Instance, error) {
	objs, err := readObjects(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	all := topology.Detect(objs)
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(instancesAtOnce)
	for n := range all {
		group.Go(func() error {
			inst, err := examine(ctx, c, all[n])
			if err != nil {
				inst = all[n]
				inst.Findings = append(inst.Findings, topology.Finding{
					Severity: topology.SeverityError, Object: "instance " + inst.Ref(), Message: err.Error(), Remedy: remedyOf(err),
				})
			}
			mu.Lock()
			defer mu.Unlock()
			all[n] = inst
			return nil
		})
	}
	_ = group.Wait() // no function of the group returns an error
	return all, ctx.Err()
}

func remedyOf(err error) string {
	if r, ok := err.(interface{ Remedy() string }); ok { //nolint:errorlint // the outermost one
		return r.Remedy()
	}
	return ""
}

// examine reads the passwords and asks the pods.
func examine(ctx context.Context, c *kube.Client, inst topology.Instance) (topology.Instance, error) {
	cred, err := rawCredentials(ctx, c, inst)
	if err != nil {
		return inst, err
	}
	sentinelCred, err := ReadSentinelCredentials(ctx, c, inst)
	if err != nil {
		return inst, err
	}
	answers, err := ask(ctx, c, inst, cred, sentinelCred)
	if err != nil {
		return inst, err
	}
	if err := refusal(c, inst, answers); err != nil {
		return inst, err
	}
	return topology.Resolve(inst, answers), nil
}
