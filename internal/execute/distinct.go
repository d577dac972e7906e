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

// otherPair is a pair that has a record where an instance is.
type otherPair struct {
	name   string
	record *pair.Record
	is     func(site string) bool // whether a site of it is that instance
}

// switching refuses while a switch of the pair, which has not ended, is about
// the instance.
func (o otherPair) switching(site, instance string) error {
	s := o.record.Switching()
	if s == nil || !o.is(s.From) && !o.is(s.To) {
		return nil
	}
	return fault.Refuse("resume or cancel it first", "site %s: instance %s takes part in a %s of pair %s that has not ended",
		site, instance, s.Verb, o.name)
}

// otherPairs reads the records of the pairs, other than this one, in the
// namespace of a site.
func otherPairs(ctx context.Context, self string, party *Party, instance string) ([]otherPair, error) {
	records, err := party.Cluster.ConfigMaps(ctx, party.Site.Namespace, pair.LabelManagedBy+"="+pair.ManagedBy)
	if err != nil {
		return nil, fmt.Errorf("looking for other pairs: %w", err)
	}
	var others []otherPair
	for i := range records {
		name := records[i].Labels[pair.LabelPair]
		if name == self || records[i].Name != pair.RecordName(name) {
			continue
		}
		record, err := decodeRecord(&records[i], party.Site.Name)
		if err != nil {
			return nil, err
		}
		others = append(others, otherPair{name, record, func(site string) bool {
			state := record.Body.Sites[site]
			return state.Cluster.Same(party.ID) && state.Namespace == party.Site.Namespace && state.Instance == instance
		}})
	}
	return others, nil
}

// checkOnlyStandby refuses a target that another pair writes to: two sources
// would overwrite each other there.
func (w *World) checkOnlyStandby(ctx context.Context) error {
	return onlyStandby(ctx, w.Session.Name, w.Target.Party, w.Target.Instance.Name)
}

func onlyStandby(ctx context.Context, self string, party *Party, instance string) error {
	others, err := otherPairs(ctx, self, party, instance)
	if err != nil {
		return err
	}
	for _, other := range others {
		if err := other.switching(party.Site.Name, instance); err != nil {
			return err
		}
		if other.is(other.record.Standby()) {
			return fault.Refuse("choose another target, or delete pair "+other.name,
				"site %s: instance %s is the standby of pair %s already", party.Site.Name, instance, other.name)
		}
	}
	return nil
}
