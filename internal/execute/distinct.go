package execute

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// checkDistinct refuses to copy an instance onto itself, however the two
// contexts are named.
func (w *World) checkDistinct() error {
	a, b := w.Source, w.Target
	if !a.Party.ID.Same(b.Party.ID) || a.Instance.Namespace != b.Instance.Namespace {
		return nil
	}
	same := a.Instance.Kind == b.Instance.Kind && a.Instance.Name == b.Instance.Name
	for _, pod := range a.Instance.Pods {
		same = same || slices.ContainsFunc(b.Instance.Pods, func(p topology.Pod) bool { return p.Name == pod.Name })
	}
	if !same {
		return nil
	}
	return fault.Refuse("name two different instances",
		"the target is the source itself: sites %s and %s are both %s in the cluster of context %q",
		a.Party.Site.Name, b.Party.Site.Name, a.Instance.Ref(), a.Party.Site.Context)
}

// checkOnlyStandby refuses a target that another pair writes to: two sources
// would overwrite each other there.
func (w *World) checkOnlyStandby(ctx context.Context) error {
	target := w.Target.Party
	records, err := target.Cluster.ConfigMaps(ctx, target.Site.Namespace, pair.LabelManagedBy+"="+pair.ManagedBy)
	if err != nil {
		return fmt.Errorf("looking for other pairs: %w", err)
	}
	for i := range records {
		name := records[i].Labels[pair.LabelPair]
		if name == w.Session.Name || records[i].Name != pair.RecordName(name) {
			continue
		}
		other, err := decodeRecord(&records[i], target.Site.Name)
		if err != nil {
			return err
		}
		is := func(site string) bool {
			state := other.Body.Sites[site]
			return state.Cluster.Same(target.ID) && state.Namespace == target.Site.Namespace && state.Instance == w.Target.Instance.Name
		}
		switch s := other.Switching(); {
		case s != nil && (is(s.From) || is(s.To)):
			return fault.Refuse("resume or cancel it first", "site %s: instance %s takes part in a %s of pair %s that has not ended",
				target.Site.Name, w.Target.Instance.Name, s.Verb, name)
		case is(other.Standby()):
			return fault.Refuse("choose another target, or delete pair "+name,
				"site %s: instance %s is the standby of pair %s already", target.Site.Name, w.Target.Instance.Name, name)
		}
	}
	return nil
}
