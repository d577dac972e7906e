package execute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// Records keeps the record of a pair in the namespaces of its sites: two
// copies, or one where both sites share a namespace of one cluster. Every
// write names the version that it replaces, so that of two verbs that run at
// once one is told.
type Records struct {
	pair   string
	copies []*recordCopy
}

type recordCopy struct {
	site      string
	cluster   Cluster
	namespace string
	live      *corev1.ConfigMap // nil: none is there
	created   bool              // by this Records
}

// NewRecords starts without any copy.
func NewRecords(pairName string) *Records { return &Records{pair: pairName} }

// Add names a place where a copy of the record belongs, and reads what is
// there. The place of the other site is added only where it is another one.
func (r *Records) Add(ctx context.Context, site string, cluster Cluster, namespace string) (*pair.Record, error) {
	c := &recordCopy{site: site, cluster: cluster, namespace: namespace}
	live, err := cluster.ConfigMap(ctx, namespace, pair.RecordName(r.pair))
	switch {
	case kube.IsNotFound(err):
		r.copies = append(r.copies, c)
		return nil, nil //nolint:nilnil // no record is an answer
	case err != nil:
		return nil, fmt.Errorf("reading the record of pair %s: %w", r.pair, err)
	}
	r.copies, c.live = append(r.copies, c), live
	return decodeRecord(live, site)
}

// decodeRecord reads the record of a ConfigMap and names both in errors.
func decodeRecord(m *corev1.ConfigMap, site string) (*pair.Record, error) {
	record, err := pair.RecordFromData(m.Data)
	if err != nil {
		err = fmt.Errorf("site %s: configmap %s/%s: %w", site, m.Namespace, m.Name, err)
		if fault.Remedy(err) == "" {
			err = fault.Wrap(fault.CodeRefused, "correct that ConfigMap, or delete it and name the other site with --context: its record counts", err)
		}
		return nil, err
	}
	return record, nil
}

// Exists tells whether any copy was there when it was last read or written.
func (r *Records) Exists() bool {
	for _, c := range r.copies {
		if c.live != nil {
			return true
		}
	}
	return false
}

// Complete tells whether every copy exists and says the same.
func (r *Records) Complete() bool {
	for _, c := range r.copies {
		if c.live == nil || !maps.Equal(c.live.Data, r.copies[0].live.Data) {
			return false
		}
	}
	return len(r.copies) > 0
}

// Edited tells two copies that say different things although no verb wrote
// them apart: every write of a verb counts the revision up.
func (r *Records) Edited() bool {
	if len(r.copies) != 2 || r.copies[0].live == nil || r.copies[1].live == nil || r.Complete() {
		return false
	}
	a, errA := pair.RecordFromData(r.copies[0].live.Data)
	b, errB := pair.RecordFromData(r.copies[1].live.Data)
	return errA == nil && errB == nil && a.Body.Revision == b.Body.Revision
}

// Difference says how the copies differ; "" when they do not.
func (r *Records) Difference() string {
	if r.Complete() {
		return ""
	}
	for _, c := range r.copies {
		if c.live == nil {
			return fmt.Sprintf("site %s has no record: configmap %s/%s is missing", c.site, c.namespace, pair.RecordName(r.pair))
		}
	}
	if len(r.copies) != 2 {
		return "there is no record"
	}
	a, b := r.copies[0], r.copies[1]
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(merged(a.live.Data, b.live.Data))) {
		x, y := a.live.Data[key], b.live.Data[key]
		switch {
		case x == y:
		case len(x)+len(y) > 100 || strings.ContainsAny(x+y, "\n"):
			keys = append(keys, key)
		default:
			keys = append(keys, fmt.Sprintf("%s (%q and %q)", key, x, y))
		}
	}
	text := fmt.Sprintf("the records of the sites %s and %s differ in %s", a.site, b.site, strings.Join(keys, ", "))
	if r.Edited() {
		text += ", and no verb wrote them so: one was edited by hand"
	}
	return text
}

// Save writes the record to every copy.
func (r *Records) Save(ctx context.Context, record *pair.Record) error {
	record.Body.Revision++
	return r.SaveFrom(ctx, record, "")
}

// SaveFrom writes the record to every copy, the one of the site first first.
// Its revision is the caller's to raise.
func (r *Records) SaveFrom(ctx context.Context, record *pair.Record, first string) error {
	data, err := record.Data()
	if err != nil {
		return err
	}
	copies := slices.Clone(r.copies)
	slices.SortStableFunc(copies, func(a, b *recordCopy) int {
		switch {
		case a.site == first && b.site != first:
			return -1
		case b.site == first && a.site != first:
			return 1
		}
		return 0
	})
	for _, c := range copies {
		if err := c.save(ctx, r.pair, data); err != nil {
			return err
		}
	}
	return nil
}

func (c *recordCopy) save(ctx context.Context, pairName string, data map[string]string) error {
	name := pair.RecordName(pairName)
	if c.live == nil {
		created, err := c.cluster.CreateConfigMap(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace, Labels: pair.SiteLabels(pairName, c.site)},
			Data:       data,
		})
		if err != nil {
			return c.explain(err, pairName)
		}
		c.live, c.created = created, true
		return nil
	}
	next := c.live.DeepCopy()
	next.Data = data
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, pair.SiteLabels(pairName, c.site))
	updated, err := c.cluster.UpdateConfigMap(ctx, next)
	if err != nil {
		return c.explain(err, pairName)
	}
	c.live = updated
	return nil
}

func (c *recordCopy) explain(err error, pairName string) error {
	wrapped := fmt.Errorf("writing the record of pair %s: %w", pairName, err)
	if kube.IsConflict(err) || kube.IsAlreadyExists(err) {
		return fault.Wrap(fault.CodeLocked, "wait until the other command has ended, look at status, and run this one again",
			fmt.Errorf("site %s: another command changed the record of pair %s meanwhile: %w", c.site, pairName, err))
	}
	return wrapped
}

// forget leaves out the copy of a site where none can be.
func (r *Records) forget(site string) {
	r.copies = slices.DeleteFunc(r.copies, func(c *recordCopy) bool { return c.site == site })
}

// ForgetMissing leaves out the copies that do not exist, so that Save makes no
// new ones.
func (r *Records) ForgetMissing() {
	r.copies = slices.DeleteFunc(r.copies, func(c *recordCopy) bool { return c.live == nil })
}

// DeleteCreated removes the copies that Save created, and only these.
func (r *Records) DeleteCreated(ctx context.Context) error {
	var errs []error
	for _, c := range r.copies {
		if c.created {
			errs = append(errs, c.delete(ctx, r.pair))
		}
	}
	return errors.Join(errs...)
}

func (c *recordCopy) delete(ctx context.Context, pairName string) error {
	if c.live == nil {
		return nil
	}
	ref := kube.Ref{
		GVK: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Namespace: c.namespace, Name: pair.RecordName(pairName), UID: c.live.UID,
	}
	if err := c.cluster.Delete(ctx, ref); err != nil {
		return err
	}
	c.live, c.created = nil, false
	return nil
}

// Place is where a copy of the record belongs.
type Place struct {
	Site, Namespace string
	Exists          bool
}

// Places lists the copies.
func (r *Records) Places() []Place {
	places := make([]Place, 0, len(r.copies))
	for _, c := range r.copies {
		places = append(places, Place{Site: c.site, Namespace: c.namespace, Exists: c.live != nil})
	}
	return places
}
