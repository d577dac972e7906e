package execute

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// nextRecord is the record as an apply writes it.
func (w *World) nextRecord() *pair.Record {
	s := w.Session
	record := &pair.Record{Pair: s.Name, Phase: pair.PhasePlanned, Epoch: w.Link.Epoch, Primary: s.PrimaryName()}
	if s.Record != nil {
		copied := *s.Record
		record = &copied
	}
	record.Body = w.nextBody()
	return record
}

func (w *World) nextBody() pair.Body {
	var body pair.Body
	if w.Session.Record != nil {
		body = w.Session.Record.Body
	}
	body.Spec = w.Session.Spec
	body.Spec.Sites = slices.Clone(body.Spec.Sites)
	for i := range body.Spec.Sites {
		body.Spec.Sites[i].Kubeconfig = ""
	}
	body.Image = w.Link.Image
	body.Shards = w.Link.Shards
	body.StandbyGuard = w.protection.word
	sites := map[string]pair.SiteState{}
	for _, at := range []struct {
		found *Found
		side  plan.Side
	}{{w.Source, w.Link.Source}, {w.Target, w.Link.Target}} {
		sites[at.found.Party.Site.Name] = siteState(at.found, at.side, body.Sites[at.found.Party.Site.Name])
	}
	body.Sites = sites
	return body
}

func siteState(found *Found, side plan.Side, old pair.SiteState) pair.SiteState {
	inst := found.Instance
	state := pair.SiteState{
		Cluster:   found.Party.ID,
		Context:   found.Party.Site.Context,
		Server:    found.Party.Cluster.Server(),
		Namespace: found.Party.Site.Namespace,
		Instance:  inst.Name, Kind: inst.Kind, APIVersion: inst.APIVersion, Operator: inst.Operator, Mode: inst.Mode,
		Services:    map[string]pair.ServiceInfo{},
		Invalidated: old.Invalidated,
	}
	state = identified(state, inst)
	for pod, service := range side.Services {
		service.ClusterIP = ""
		state.Services[pod] = service
	}
	// What this user could not read is no reason to forget it.
	if state.Cluster.UID == "" {
		state.Cluster.UID = old.Cluster.UID
	}
	if state.Cluster.CAHash == "" {
		state.Cluster.CAHash = old.Cluster.CAHash
	}
	return state
}

// recordCurrent tells whether an apply would leave the record as it is.
func (w *World) recordCurrent() bool {
	old, next := w.Session.Record.Body, w.nextBody()
	for _, body := range []*pair.Body{&old, &next} {
		body.Sites = withoutPersonal(body.Sites)
		body.Spec.Sites = slices.Clone(body.Spec.Sites)
		for i := range body.Spec.Sites {
			body.Spec.Sites[i].Context = ""
		}
		body.Shards = withoutRoles(body.Shards)
		body.LastOperation = pair.Operation{}
	}
	oldText, errOld := json.Marshal(old)
	nextText, errNext := json.Marshal(next)
	return errOld == nil && errNext == nil && bytes.Equal(oldText, nextText)
}

// withoutPersonal leaves out how the user of the moment names and reaches the
// clusters.
func withoutPersonal(sites map[string]pair.SiteState) map[string]pair.SiteState {
	out := map[string]pair.SiteState{}
	for name, state := range sites {
		state.Context, state.Server = "", ""
		out[name] = state
	}
	return out
}

// withoutRoles sorts the pods of a shard: a failover inside an instance is no
// change of the pair.
func withoutRoles(shards []pair.ShardState) []pair.ShardState {
	out := slices.Clone(shards)
	for i := range out {
		out[i].Pods = slices.Sorted(slices.Values(out[i].Pods))
	}
	return out
}

// identified notes what an instance is recognised by.
func identified(state pair.SiteState, inst *topology.Instance) pair.SiteState {
	state.StatefulSets, state.NodeIDs = inst.StatefulSets, nil
	for _, pod := range inst.Pods {
		if pod.NodeID != "" {
			state.NodeIDs = append(state.NodeIDs, pod.NodeID)
		}
	}
	slices.Sort(state.NodeIDs)
	return state
}
