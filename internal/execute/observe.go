package execute

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// World is a pair with everything that a plan depends on.
type World struct {
	Session *Session
	Source  *Found
	Target  *Found
	Link    plan.Link

	Established bool
	Preflight   *PreflightAnswer
	protection  protection
	leftover    leftover
	owned       map[string][]unstructured.Unstructured // by site: our objects there
}

// Observe finds out about both sites of a pair. It changes nothing.
func Observe(ctx context.Context, s *Session, finder Finder, image string) (*World, error) {
	if err := s.Unreachable(); err != nil {
		return nil, err
	}
	w := &World{
		Session:     s,
		Source:      &Found{Party: s.Primary(), Pair: s.Name},
		Target:      &Found{Party: s.Standby(), Pair: s.Name},
		Established: s.Record != nil && s.Record.Phase != pair.PhasePlanned,
		owned:       map[string][]unstructured.Unstructured{},
	}
	if err := w.find(ctx, finder); err != nil {
		return nil, err
	}
	if err := w.checkDistinct(); err != nil {
		return nil, err
	}
	if err := w.checkOnlyStandby(ctx); err != nil {
		return nil, err
	}
	if err := w.listOwned(ctx); err != nil {
		return nil, err
	}
	if err := w.observeProtection(ctx, finder); err != nil {
		return nil, err
	}
	if err := w.observeLeftover(ctx, finder); err != nil {
		return nil, err
	}
	if err := w.makeLink(image); err != nil {
		return nil, err
	}
	var err error
	w.Preflight, err = finder.Preflight(ctx, w.Source, w.Target, PreflightQuestion{
		Established: w.Established,
		StaleKeys:   s.Spec.StaleKeys.Policy,
		Endpoints:   w.endpoints(),
	})
	if err != nil {
		return w, err
	}
	w.Preflight.Findings = append(w.Preflight.Findings, w.protection.findings...)
	w.judgeIdentity()
	return w, w.findEpoch(ctx, finder)
}

// judgeIdentity tells an instance that was made anew under its name; an apply
// takes it for the one that it is to be.
func (w *World) judgeIdentity() {
	if w.Session.Record == nil {
		return
	}
	for _, found := range []*Found{w.Source, w.Target} {
		name := found.Party.Site.Name
		why := replaced(w.Session.Record.Body.Sites[name], found.Instance)
		if why == "" {
			continue
		}
		remedy := "apply notes the new identity"
		if found == w.Source {
			remedy += fmt.Sprintf(", and site %s becomes a copy of what is there now. kubectl redis-sync status %s says whether that is the same data",
				w.Target.Party.Site.Name, w.Session.Name)
		}
		w.Preflight.Findings = append(w.Preflight.Findings, topology.Finding{
			Severity: topology.SeverityWarning, Object: "site " + name, Message: why, Remedy: remedy,
		})
	}
}

func (w *World) find(ctx context.Context, finder Finder) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, found := range []*Found{w.Source, w.Target} {
		group.Go(func() error {
			inst, err := finder.Discover(ctx, found.Party)
			if err != nil {
				return err
			}
			found.Instance = inst
			found.Credentials, err = finder.Credentials(ctx, found.Party, inst)
			if err != nil {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

// samePlace tells whether both sites share a namespace of one cluster.
func (w *World) samePlace() bool {
	a, b := w.Source.Party, w.Target.Party
	return a.ID.Same(b.ID) && a.Site.Namespace == b.Site.Namespace
}

func (w *World) listOwned(ctx context.Context) error {
	for _, found := range []*Found{w.Source, w.Target} {
		if found == w.Target && w.samePlace() {
			continue
		}
		party := found.Party
		owned, err := party.Cluster.ListOwned(ctx, party.Site.Namespace, w.Session.Name)
		if err != nil {
			return fmt.Errorf("listing the objects of pair %s: %w", w.Session.Name, err)
		}
		w.owned[party.Site.Name] = owned
	}
	return nil
}

// ownedAt are our objects where a site is.
func (w *World) ownedAt(found *Found) []unstructured.Unstructured {
	if w.samePlace() {
		found = w.Source
	}
	return w.owned[found.Party.Site.Name]
}

// findEpoch lets a new pair begin above the fence that an earlier pair of its
// name left in the source: a later epoch of this pair would be the one of that
// fence, and of the checkpoints of its time.
func (w *World) findEpoch(ctx context.Context, finder Finder) error {
	if w.Session.Record != nil || len(topology.Errors(w.Preflight.Findings)) > 0 {
		return nil
	}
	redis, err := finder.Redis(ctx, w.Source)
	if err != nil {
		return err
	}
	left, err := redis.FenceEpoch(ctx, w.Session.Name)
	if err = errors.Join(err, redis.Close()); err != nil {
		return fmt.Errorf("site %s: looking for the fence of an earlier pair %s: %w", w.Source.Party.Site.Name, w.Session.Name, err)
	}
	w.Link.Epoch = left + 1
	return nil
}

func (w *World) makeLink(image string) error {
	s := w.Session
	w.Link = plan.Link{
		Pair: s.Name, Epoch: 1, Spec: s.Spec, Image: image,
		StaleKeys: policyInForce(s.Spec.StaleKeys.Policy),
		Salts:     w.salts(),
	}
	var recorded []pair.ShardState
	if s.Record != nil {
		w.Link.Epoch, w.Link.Paused = s.Record.Epoch, s.Record.Paused
		recorded = s.Record.Body.Shards
	}
	if s.Spec.Replicator.Image != "" {
		w.Link.Image = s.Spec.Replicator.Image
	}
	var err error
	if w.Link.Shards, err = plan.ShardsOf(*w.Source.Instance, recorded); err != nil {
		return err
	}
	w.Link.Source = w.side(w.Source, w.accessOf(w.Source))
	w.Link.Target = w.side(w.Target, pair.AccessClusterIP)
	if w.protection.wanted {
		w.Link.Target.SyncPassword = []byte(cmp.Or(w.Target.Vault.Password(), plan.Pending))
	}
	return nil
}

// accessOf is the way to the pods of a site: a Service inside one cluster, a
// node port between two.
func (w *World) accessOf(found *Found) pair.AccessType {
	switch {
	case found.Party.Site.Access.Type != "":
		return found.Party.Site.Access.Type
	case w.Source.Party.ID.Same(w.Target.Party.ID):
		return pair.AccessClusterIP
	default:
		return pair.AccessNodePort
	}
}

func (w *World) side(found *Found, access pair.AccessType) plan.Side {
	side := plan.Side{
		Site: found.Party.Site, Access: access, Instance: *found.Instance,
		Username: found.Credentials.Username, Password: found.Credentials.Password,
		SentinelPassword: found.Credentials.SentinelPassword,
		CA:               found.Credentials.CA, Cert: found.Credentials.Cert, Key: found.Credentials.Key,
		Services: map[string]pair.ServiceInfo{}, LoadBalancers: map[string]string{},
	}
	if s := w.Session; s.Record != nil {
		for pod, service := range s.Record.Body.Sites[found.Party.Site.Name].Services {
			// A cluster IP is of one life of a Service; a node port we ask for again.
			side.Services[pod] = pair.ServiceInfo{Name: service.Name, NodePort: service.NodePort, Foreign: service.Foreign}
		}
	}
	for _, object := range w.ownedAt(found) {
		// Where both sites share a namespace, so do their Services.
		if hasPod(found.Instance, object.GetAnnotations()[manifests.PodAnnotation]) {
			readService(&side, &object)
		}
	}
	for _, pod := range found.Instance.Pods {
		if access == pair.AccessNodePort && pod.NodePort != 0 {
			side.Services[pod.Name] = pair.ServiceInfo{Name: pod.Service, NodePort: pod.NodePort, Foreign: true}
		}
	}
	return side
}

func hasPod(inst *topology.Instance, name string) bool {
	return inst.Pod(name) != nil || inst.Sentinel != nil && slices.Contains(inst.Sentinel.Pods, name)
}

// readService takes from a live Service of ours what the API server chose.
func readService(side *plan.Side, object *unstructured.Unstructured) {
	if object.GetKind() != "Service" || object.GetDeletionTimestamp() != nil {
		return
	}
	pod := object.GetAnnotations()[manifests.PodAnnotation]
	if pod == "" {
		return
	}
	info := pair.ServiceInfo{Name: object.GetName()}
	if ip, _, err := unstructured.NestedString(object.Object, "spec", "clusterIP"); err == nil && ip != corev1.ClusterIPNone {
		info.ClusterIP = ip
	}
	info.NodePort = int32(plan.NodePort(object)) //nolint:gosec // a port
	if info.NodePort == 0 {
		info.NodePort = side.Services[pod].NodePort
	}
	side.Services[pod] = info
	if address := loadBalancer(object); address != "" {
		side.LoadBalancers[pod] = address
	}
}

func loadBalancer(object *unstructured.Unstructured) string {
	ingress, _, err := unstructured.NestedSlice(object.Object, "status", "loadBalancer", "ingress")
	if err != nil || len(ingress) == 0 {
		return ""
	}
	first, _ := ingress[0].(map[string]any)
	for _, field := range []string{"ip", "hostname"} {
		if address, _ := first[field].(string); address != "" {
			return address
		}
	}
	return ""
}

// salts reads what the replicators' Secrets hold.
func (w *World) salts() map[int][]byte {
	salts := map[int][]byte{}
	byName := map[string]*unstructured.Unstructured{}
	owned := w.ownedAt(w.Target)
	for i := range owned {
		if owned[i].GetKind() == "Secret" {
			byName[owned[i].GetName()] = &owned[i]
		}
	}
	for ordinal := range len(w.Source.Instance.Shards) {
		secret := byName[pair.ReplicatorName(w.Session.Name, w.Target.Party.Site.Name, ordinal)]
		if secret == nil {
			continue
		}
		text, _, err := unstructured.NestedString(secret.Object, "data", manifests.SaltFile)
		if err != nil {
			continue
		}
		if salt, err := base64.StdEncoding.DecodeString(text); err == nil && len(salt) > 0 {
			salts[ordinal] = salt
		}
	}
	return salts
}

// makeSecrets makes the salts and the password that are missing.
func (w *World) makeSecrets() error {
	if w.protection.wanted {
		if err := w.Target.Vault.MakePassword(); err != nil {
			return err
		}
		w.Link.Target.SyncPassword = []byte(w.Target.Vault.Password())
	}
	for ordinal := range w.Link.Shards {
		if len(w.Link.Salts[ordinal]) > 0 {
			continue
		}
		salt := make([]byte, 16)
		if _, err := rand.Read(salt); err != nil {
			return fmt.Errorf("making a salt: %w", err)
		}
		w.Link.Salts[ordinal] = salt
	}
	return nil
}

// endpoints are the ways to the source that exist before an apply. A recorded
// node port counts only while its Service is there.
func (w *World) endpoints() []plan.Endpoint {
	side := w.Link.Source
	live := map[string]bool{}
	for _, object := range w.ownedAt(w.Source) {
		if object.GetKind() == "Service" {
			live[object.GetAnnotations()[manifests.PodAnnotation]] = true
		}
	}
	endpoints := side.Endpoints()
	for i := range endpoints {
		pod := endpoints[i].Pod
		endpoints[i].Exists = endpoints[i].Exists &&
			(side.Access == pair.AccessAddresses || live[pod] || side.Services[pod].Foreign)
	}
	return endpoints
}

// policyInForce: where nothing was chosen the target was empty at the first
// apply, so that what is there later and not in the source is stale. A share
// above the brake still stops the replicator.
func policyInForce(policy pair.StaleKeysPolicy) pair.StaleKeysPolicy {
	if policy == pair.StaleKeysUnset {
		return pair.StaleKeysPrune
	}
	return policy
}
