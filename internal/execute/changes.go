package execute

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// recordKind is how a plan shows the record among the other objects.
const recordKind = "ConfigMap"

// Changes compares what the pair needs with what the clusters have. The API
// servers are asked by dry runs where the user may write, so that defaults and
// admission count; else only the fields that we set are compared.
func (w *World) Changes(ctx context.Context, force bool) ([]plan.Change, error) {
	sourceServices, targetServices, replicators, err := w.desired()
	if err != nil {
		return nil, err
	}
	changes := slices.Concat(w.recordChanges(), w.protectionChanges(), w.leftoverChanges())
	for _, group := range []struct {
		found   *Found
		objects []*unstructured.Unstructured
	}{
		{w.Source, sourceServices},
		{w.Target, slices.Concat(targetServices, replicators)},
	} {
		for _, object := range group.objects {
			change, err := w.change(ctx, group.found, object, force)
			if err != nil {
				return nil, err
			}
			changes = append(changes, change)
		}
	}
	changes = append(changes, w.prune(slices.Concat(sourceServices, targetServices, replicators))...)
	plan.Sort(changes, w.Source.Party.Site.Name, w.Target.Party.Site.Name)
	return changes, nil
}

func (w *World) desired() (source, target, replicators []*unstructured.Unstructured, err error) {
	if source, err = w.Link.SourceServices(); err != nil {
		return nil, nil, nil, err
	}
	if target, err = w.Link.TargetServices(); err != nil {
		return nil, nil, nil, err
	}
	replicators, err = w.Link.Replicators()
	return source, target, replicators, err
}

func (w *World) change(ctx context.Context, found *Found, object *unstructured.Unstructured, force bool) (plan.Change, error) {
	site := found.Party.Site.Name
	observed := plan.Observed{Desired: object, Purpose: w.purpose(object)}
	owned := w.ownedAt(found)
	for i := range owned {
		if owned[i].GetKind() == object.GetKind() && owned[i].GetName() == object.GetName() {
			observed.Live = &owned[i]
		}
	}
	if observed.Live == nil {
		if err := w.checkFree(ctx, found, object); err != nil {
			return plan.Change{}, err
		}
		return plan.Decide(site, observed), nil
	}
	applied, err := found.Party.Cluster.Apply(ctx, object, kube.ApplyOptions{DryRun: true, Force: force})
	switch {
	case err == nil:
		observed.Applied = applied
	case kube.IsConflict(err):
		change := plan.Decide(site, observed)
		change.Action, change.Reason = plan.ActionUpdate, "conflict: "+err.Error()
		return change, nil
	case !kube.IsForbidden(err):
		return plan.Change{}, err
	}
	return plan.Decide(site, observed), nil
}

// checkFree refuses to take over an object of that name that somebody else
// made.
func (w *World) checkFree(ctx context.Context, found *Found, object *unstructured.Unstructured) error {
	_, err := found.Party.Cluster.Get(ctx, refOf(object))
	if kube.IsNotFound(err) || kube.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return fault.Refuse("choose another name for the pair, or remove that object",
		"site %s: %s exists and was not made by this pair", found.Party.Site.Name, refOf(object))
}

// purpose says why an object is wanted.
func (w *World) purpose(object *unstructured.Unstructured) string {
	shard := object.GetLabels()[pair.LabelShard]
	switch object.GetKind() {
	case "Service":
		return "reaches pod " + object.GetAnnotations()[manifests.PodAnnotation]
	case "Secret":
		return "credentials for shard " + shard
	case "ConfigMap":
		return "sync.toml of shard " + shard
	default:
		return "replicator of shard " + shard
	}
}

func (w *World) prune(desired []*unstructured.Unstructured) []plan.Change {
	var changes []plan.Change
	for _, found := range []*Found{w.Source, w.Target} {
		if found == w.Target && w.samePlace() {
			continue
		}
		var owned []*unstructured.Unstructured
		objects := w.ownedAt(found)
		for i := range objects {
			if !isRecord(&objects[i], w.Session.Name) && !w.keepsVault(&objects[i]) {
				owned = append(owned, &objects[i])
			}
		}
		changes = append(changes, plan.Prune(found.Party.Site.Name, owned, desired)...)
	}
	return changes
}

func isRecord(object *unstructured.Unstructured, pairName string) bool {
	return object.GetKind() == recordKind && object.GetName() == pair.RecordName(pairName)
}

// recordChanges shows the record like any other object.
func (w *World) recordChanges() []plan.Change {
	var changes []plan.Change
	same := w.Session.Records.Complete() && w.recordCurrent()
	for _, place := range w.Session.Records.Places() {
		change := plan.Change{
			Site: place.Site, Kind: recordKind, Namespace: place.Namespace, Name: pair.RecordName(w.Session.Name),
			Action: plan.ActionCreate, Reason: "record of the pair",
		}
		switch {
		case place.Exists && same:
			change.Action = plan.ActionNone
		case place.Exists:
			change.Action, change.Reason = plan.ActionUpdate, "record of the pair: sites, shards or settings differ"
		}
		changes = append(changes, change)
	}
	return changes
}
