package execute

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// PlanReport is what plan shows and what apply asks to be confirmed.
type PlanReport struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // PairPlan

	Pair      string             `json:"pair"`
	New       bool               `json:"new"`
	Epoch     int64              `json:"epoch"`
	Primary   string             `json:"primary"`
	Standby   string             `json:"standby"`
	Image     string             `json:"image"`
	StaleKeys string             `json:"staleKeys"` // policy in force
	Sites     []PlanSite         `json:"sites"`
	Shards    []PlanShard        `json:"shards"`
	Changes   []plan.Change      `json:"changes"`
	Counts    plan.Counts        `json:"counts"`
	Findings  []topology.Finding `json:"findings,omitempty"`

	SourceKeys  int64 `json:"sourceKeys"`
	SourceBytes int64 `json:"sourceBytes"` // of the data set in memory
	TargetKeys  int64 `json:"targetKeys"`  // not counting ours
	FullCopy    bool  `json:"fullCopy"`    // an apply starts one
}

// PlanSite is one site of a PlanReport.
type PlanSite struct {
	Name      string            `json:"name"`
	Role      pair.Role         `json:"role"`
	Context   string            `json:"context"`
	Server    string            `json:"server"`
	Namespace string            `json:"namespace"`
	Kind      string            `json:"kind"`
	Instance  string            `json:"instance"`
	Operator  topology.Operator `json:"operator"`
	Mode      topology.Mode     `json:"mode"`
	Version   string            `json:"version"`
	Access    pair.AccessType   `json:"access,omitempty"` // of the primary
}

// PlanShard is one shard of the source and its replicator.
type PlanShard struct {
	Shard      int      `json:"shard"`
	Slots      string   `json:"slots"`
	Primary    string   `json:"primary"`
	Replicas   []string `json:"replicas"`
	Replicator string   `json:"replicator"`
}

// Plan observes a pair and compares it with the clusters.
func Plan(ctx context.Context, w *World, force bool) (*PlanReport, error) {
	changes, err := w.Changes(ctx, force)
	if err != nil {
		return nil, err
	}
	s := w.Session
	report := &PlanReport{
		APIVersion: pair.APIVersion, Kind: "PairPlan",
		Pair: s.Name, New: s.Record == nil, Epoch: w.Link.Epoch, Primary: w.Source.Party.Site.Name, Standby: w.Target.Party.Site.Name,
		Image: w.Link.Image, StaleKeys: string(w.Link.StaleKeys),
		Changes: changes, Counts: plan.Count(changes),
		Findings:   w.Preflight.Findings,
		SourceKeys: w.Preflight.Keys, SourceBytes: w.Preflight.Bytes, TargetKeys: w.Preflight.TargetKeys,
		FullCopy: !w.Established,
	}
	for _, found := range []*Found{w.Source, w.Target} {
		site := planSite(found)
		if found == w.Source {
			site.Role, site.Access = pair.RolePrimary, w.Link.Source.Access
		}
		report.Sites = append(report.Sites, site)
	}
	for ordinal, shard := range w.Link.Shards {
		report.Shards = append(report.Shards, PlanShard{
			Shard: ordinal, Slots: shard.Slots.String(), Primary: shard.Pods[0], Replicas: shard.Pods[1:],
			Replicator: pair.ReplicatorName(s.Name, report.Standby, ordinal),
		})
	}
	return report, nil
}

func planSite(found *Found) PlanSite {
	return PlanSite{
		Name: found.Party.Site.Name, Role: pair.RoleStandby, Context: found.Party.Site.Context, Server: found.Party.Cluster.Server(),
		Namespace: found.Party.Site.Namespace, Kind: found.Instance.Kind, Instance: found.Instance.Name,
		Operator: found.Instance.Operator, Mode: found.Instance.Mode, Version: found.Instance.Version,
	}
}

// Manifest is one object of a plan, with its site.
type Manifest struct {
	Site   string
	Object *unstructured.Unstructured
}

// Manifests are the objects that the pair needs, in the order in which apply
// makes them; the record, which a verb writes, is not among them.
func (w *World) Manifests() ([]Manifest, error) {
	source, target, replicators, err := w.desired()
	if err != nil {
		return nil, err
	}
	var manifests []Manifest
	for _, object := range source {
		manifests = append(manifests, Manifest{w.Source.Party.Site.Name, object})
	}
	for _, object := range slices.Concat(target, replicators) {
		manifests = append(manifests, Manifest{w.Target.Party.Site.Name, object})
	}
	return manifests, nil
}
