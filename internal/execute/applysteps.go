package execute

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// services creates the Services of both sites and takes over what the API
// servers chose for them.
func (a *applier) services(ctx context.Context) error {
	sourceServices, targetServices, _, err := a.world.desired()
	if err != nil {
		return err
	}
	link := &a.world.Link
	for _, at := range []struct {
		party   *Party
		side    *plan.Side
		objects []*unstructured.Unstructured
	}{
		{a.world.Source.Party, &link.Source, sourceServices},
		{a.world.Target.Party, &link.Target, targetServices},
	} {
		for _, object := range at.objects {
			applied, err := a.apply(ctx, at.party, object)
			if err != nil {
				return err
			}
			readService(at.side, applied)
		}
	}
	// From here on the record says which ports to ask for again.
	a.runner.Record.Body = a.world.nextBody()
	return nil
}

// loadBalancerTimeout is how long a cloud may take to give an address.
const loadBalancerTimeout = 3 * time.Minute

// loadBalancers waits until every Service of the source has an address.
func (a *applier) loadBalancers(ctx context.Context) error {
	services, err := a.world.Link.SourceServices()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loadBalancerTimeout)
	defer cancel()
	side, party := &a.world.Link.Source, a.world.Source.Party
	for _, service := range services {
		pod := service.GetAnnotations()[manifests.PodAnnotation]
		for side.LoadBalancers[pod] == "" {
			live, err := party.Cluster.Get(ctx, refOf(service))
			if err != nil {
				return err
			}
			if readService(side, live); side.LoadBalancers[pod] != "" {
				break
			}
			select {
			case <-ctx.Done():
				return fault.New(fault.CodeTimeout, "look at the events of that Service, or choose access type NodePort",
					"site %s: %s got no address from the load balancer within %s", party.Site.Name, refOf(service), loadBalancerTimeout)
			case <-time.After(pollInterval):
			}
		}
	}
	return nil
}

// reachTimeout is how long a new Service may take until the nodes forward it.
const reachTimeout = 15 * time.Second

// reach asks from a pod of the target whether the source answers.
func (a *applier) reach(ctx context.Context) error {
	deadline := time.Now().Add(min(reachTimeout, a.opts.Timeout))
	for {
		findings, err := a.finder.Reach(ctx, a.world.Source, a.world.Target, a.world.Link.Source.Endpoints())
		if err != nil {
			return err
		}
		refusal := RefuseOn(findings)
		if refusal == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return refusal
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
}

// fence makes the epoch key, without which no replicator writes. A pair that
// starts anew must not resume from what an old one of its name left.
func (a *applier) fence(ctx context.Context, redis Redis) error {
	if !a.world.Established {
		if _, err := redis.DropShards(ctx, a.world.Session.Name, len(a.world.Link.Shards)); err != nil {
			return fmt.Errorf("removing old checkpoints: %w", err)
		}
	}
	epoch, err := redis.CreateFence(ctx, a.world.Session.Name, a.world.Link.Epoch)
	if err != nil {
		return fmt.Errorf("setting the fence: %w", err)
	}
	if epoch != a.world.Link.Epoch {
		return otherEpoch(a.world, epoch)
	}
	return nil
}

func (a *applier) replicators(ctx context.Context) error {
	_, _, objects, err := a.world.desired()
	if err != nil {
		return err
	}
	for _, object := range objects {
		if _, err := a.apply(ctx, a.world.Target.Party, object); err != nil {
			return err
		}
	}
	return a.readChecksums()
}

// readChecksums notes by which checksum the pods of this configuration are
// told from older ones.
func (a *applier) readChecksums() error {
	_, _, objects, err := a.world.desired()
	if err != nil {
		return err
	}
	a.checksums = nil
	for _, object := range objects {
		if object.GetKind() != deploymentKind.Kind {
			continue
		}
		sum, _, err := unstructured.NestedString(object.Object, "spec", "template", "metadata", "annotations", manifests.ChecksumAnnotation)
		if err != nil {
			return fmt.Errorf("deployment %s: %w", object.GetName(), err)
		}
		a.checksums = append(a.checksums, sum)
	}
	return nil
}

func (a *applier) apply(ctx context.Context, party *Party, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	applied, err := party.Cluster.Apply(ctx, object, kube.ApplyOptions{Force: a.opts.Force})
	if kube.IsConflict(err) {
		return nil, fault.Wrap(fault.CodeError, "take the fields over with --force-conflicts",
			err)
	}
	if err != nil {
		return nil, err
	}
	for _, change := range a.changes {
		if change.Action == plan.ActionCreate && change.Kind == object.GetKind() && change.Name == object.GetName() && change.Site == party.Site.Name {
			a.created = append(a.created, created{party, refOf(applied)})
		}
	}
	return applied, nil
}

func (a *applier) prune(ctx context.Context) error {
	for _, change := range a.changes {
		if change.Action != plan.ActionDelete {
			continue
		}
		party := a.world.Session.Parties[change.Site]
		if err := party.Cluster.Delete(ctx, kube.RefOf(change.Object)); err != nil {
			return err
		}
	}
	return nil
}
