package execute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// Connector makes the client of one site. Empty arguments mean: as the
// command line and the kubeconfig say.
type Connector func(site, kubeconfig, context, namespace string) (*kube.Client, error)

// Request says which pair a verb is about.
type Request struct {
	Name string
	Verb pair.Verb
	// Definition, where given, comes from a file or from --source and
	// --target; else the record is all there is. A file says everything;
	// otherwise settings that the record has are kept.
	Definition *pair.Spec
	FromFile   bool
	// Adjust changes the spec as flags of the command line ask for.
	Adjust func(*pair.Spec)
	// SiteContexts and SiteKubeconfigs say, by site name, how this machine
	// reaches a site.
	SiteContexts    map[string]string
	SiteKubeconfigs map[string]string
	// NamespaceGiven tells that the user named the namespace of the record.
	NamespaceGiven bool
	// WithoutPrimary: what the primary has not sent may be lost, so a primary
	// whose API server lets the user do too little is one that does not answer.
	WithoutPrimary bool
	// Silent are the sites, by name, whose API server gave no answer a moment
	// ago: they count as silent without being asked again.
	Silent map[string]error
}

// Party is one site at work.
type Party struct {
	Site    pair.Site
	Cluster Cluster
	Kube    *kube.Client // the same, for what looks into Redis
	ID      pair.ClusterIdentity
	// Err is why the site could not be reached; nothing else is set then.
	Err error
}

// Session is a pair with its sites connected.
type Session struct {
	Name    string
	Spec    pair.Spec
	Record  *pair.Record // nil: there is none yet
	Records *Records
	Parties map[string]*Party
}

// Primary is the site that serves writes now.
func (s *Session) Primary() *Party { return s.Parties[s.PrimaryName()] }

// Standby is the other one.
func (s *Session) Standby() *Party {
	other, _ := s.Spec.Other(s.PrimaryName())
	return s.Parties[other.Name]
}

// PrimaryName is what the record says, or what a new pair starts with.
func (s *Session) PrimaryName() string {
	if s.Record != nil {
		return s.Record.Primary
	}
	return s.Spec.PreferredPrimary
}

// InOrder gives the parties in the order of the spec.
func (s *Session) InOrder() []*Party {
	parties := make([]*Party, 0, len(s.Spec.Sites))
	for _, site := range s.Spec.Sites {
		parties = append(parties, s.Parties[site.Name])
	}
	return parties
}

// Unreachable gives the errors of the sites that could not be reached.
func (s *Session) Unreachable() error {
	var errs []error
	for _, party := range s.InOrder() {
		errs = append(errs, party.Err)
	}
	return errors.Join(errs...)
}

// Silent gives the sites whose API server gave no answer, and how that was
// noticed.
func (s *Session) Silent() map[string]error {
	silent := map[string]error{}
	for name, party := range s.Parties {
		if kube.IsUnreachable(party.Err) {
			silent[name] = party.Err
		}
	}
	return silent
}

// Close ends the connections to the API servers.
func (s *Session) Close() {
	for _, party := range s.Parties {
		if party.Kube != nil {
			party.Kube.Close()
		}
	}
}

// Open connects the sites of a pair and reads its record. A site that does
// not answer is no error here: its Party says so.
func Open(ctx context.Context, connect Connector, req Request) (*Session, error) {
	s := &Session{Name: req.Name, Records: NewRecords(req.Name), Parties: map[string]*Party{}}
	if req.Definition != nil {
		s.Spec = *req.Definition
		s.Spec.Sites = slices.Clone(s.Spec.Sites)
		return s, s.connectAll(ctx, connect, req)
	}
	found, err := findRecord(ctx, connect, req)
	if err != nil {
		return nil, err
	}
	s.Record, s.Spec = found.record, found.record.Body.Spec
	s.Spec.Sites = slices.Clone(s.Spec.Sites)
	for i := range s.Spec.Sites {
		site := &s.Spec.Sites[i]
		here := found.record.Body.Sites[found.site].Cluster
		switch recorded := found.record.Body.Sites[site.Name]; {
		case site.Name == found.site:
			site.Context, site.Namespace = found.client.Context(), found.namespace
		case here.Same(recorded.Cluster):
			site.Context = found.client.Context()
		case site.Context == "":
			site.Context = recorded.Context
		}
	}
	return s, s.connectAll(ctx, connect, req)
}

func (s *Session) connectAll(ctx context.Context, connect Connector, req Request) error {
	for name := range merged(req.SiteContexts, req.SiteKubeconfigs) {
		if _, known := s.Spec.Site(name); !known {
			return fmt.Errorf("pair %s has no site %q: its sites are %s", req.Name, name, siteNames(s.Spec))
		}
	}
	for i := range s.Spec.Sites {
		site := &s.Spec.Sites[i]
		if override := req.SiteContexts[site.Name]; override != "" {
			site.Context = override
		}
		if override := req.SiteKubeconfigs[site.Name]; override != "" {
			site.Kubeconfig = override
		}
		party, err := s.connectOne(ctx, connect, *site, req)
		if err != nil {
			return err
		}
		s.Parties[site.Name] = party
		*site = party.Site
	}
	if s.Record != nil {
		if err := s.checkIdentity(req.Definition != nil); err != nil {
			return err
		}
		if req.Definition != nil && !req.FromFile {
			if err := s.keepSettings(); err != nil {
				return err
			}
		}
	}
	if req.Adjust != nil {
		req.Adjust(&s.Spec)
	}
	p := pair.Pair{Metadata: pair.Metadata{Name: s.Name}, Spec: s.Spec}.Default()
	s.Spec = p.Spec
	return p.Validate()
}

// connectOne reads the identity of a site's cluster and its copy of the record.
func (s *Session) connectOne(ctx context.Context, connect Connector, site pair.Site, req Request) (*Party, error) {
	party := &Party{Site: site}
	client, err := connect(site.Name, site.Kubeconfig, site.Context, site.Namespace)
	if err != nil {
		if s.Record == nil || !kube.IsConfig(err) {
			return nil, fault.Wrap(fault.CodeError, contextRemedy(site.Name), err)
		}
		party.Err = fault.Wrap(fault.CodeError, contextRemedy(site.Name), err)
		return party, nil
	}
	party.Kube, party.Cluster = client, client
	party.Site.Context, party.Site.Namespace = client.Context(), client.Namespace()
	if silent, was := req.Silent[site.Name]; was {
		party.Err = silent
		return party, nil
	}
	id, err := client.ClusterID(ctx, client.Namespace())
	if err != nil {
		if kube.IsUnreachable(err) {
			party.Err = err
			return party, nil
		}
		return s.withoutRights(party, req, s.explainAccess(ctx, party, req.Verb, err))
	}
	party.ID = pair.ClusterIdentity{UID: id.UID, CAHash: id.CAHash}
	for _, other := range s.Parties {
		if other.Err == nil && other.ID.Same(party.ID) && other.Site.Namespace == party.Site.Namespace {
			return party, nil // one copy of the record serves both
		}
	}
	if s.Record != nil && req.Definition == nil && req.Verb != pair.VerbDelete {
		gone, err := client.NamespaceGone(ctx, party.Site.Namespace)
		switch {
		case kube.IsUnreachable(err):
			party.Err = err
			return party, nil
		case err != nil: // the API server answered: the site is not silent
			return nil, err
		case gone != "": // the record cannot be kept there, which must not stop a failover
			party.Err = fault.New(fault.CodeError, "create it, if the instance is to come back; delete forgets the pair",
				"site %s (context %q): %s", site.Name, client.Context(), gone)
			return party, nil
		}
	}
	record, err := s.Records.Add(ctx, site.Name, client, party.Site.Namespace)
	if err != nil {
		return s.withoutRights(party, req, err)
	}
	if s.Record, err = pair.Newer(s.Record, record); err != nil {
		return nil, err
	}
	if s.givesUp(party, req) {
		side := manifests.SideStandby
		if party.Site.Name == s.PrimaryName() {
			side = manifests.SidePrimary
		}
		if err := checkParty(ctx, party, req.Verb, side); err != nil {
			return s.withoutRights(party, req, err)
		}
	}
	return party, nil
}

// givesUp tells the site that a failover goes on without if it has to.
func (s *Session) givesUp(party *Party, req Request) bool {
	if !req.WithoutPrimary || s.Record == nil {
		return false
	}
	from := s.Record.Primary
	if under := s.Record.Switching(); under != nil {
		from = under.From
	}
	return party.Site.Name == from
}

// withoutRights takes a site that the user has too few rights at for one that
// does not answer, where the verb may do without it; nothing is done there
// then, not even where a part of it would be allowed.
func (s *Session) withoutRights(party *Party, req Request, err error) (*Party, error) {
	if fault.ExitCode(err) != fault.CodeAuth || !s.givesUp(party, req) {
		return nil, err
	}
	s.Records.forget(party.Site.Name)
	party.Err = fmt.Errorf("it was not asked: %w", err)
	return party, nil
}

// explainAccess turns the first thing that a user may not do into all of them.
func (s *Session) explainAccess(ctx context.Context, party *Party, verb pair.Verb, err error) error {
	if missing := checkParty(ctx, party, verb, manifests.SideStandby); missing != nil {
		return missing
	}
	return fault.Wrap(fault.CodeAuth, fault.Remedy(err), err)
}

func contextRemedy(site string) string {
	return fmt.Sprintf("name the context with --site-context %s=CONTEXT, or the file with --site-kubeconfig %s=FILE", site, site)
}

// checkIdentity compares the sites with what the record says they are.
func (s *Session) checkIdentity(redefined bool) error {
	for _, party := range s.InOrder() {
		name := party.Site.Name
		state, known := s.Record.Body.Sites[name]
		if !known {
			return fault.Refuse("choose another name for the pair, or delete the one that exists",
				"pair %s exists with the sites %s; %q is none of them", s.Name, siteNames(s.Record.Body.Spec), name)
		}
		if party.Err != nil {
			continue
		}
		if redefined && (state.Namespace != party.Site.Namespace || state.Instance != party.Site.Instance.Name) {
			return fault.Refuse("choose another name for the pair, or delete the one that exists",
				"pair %s exists: its site %s is instance %s in namespace %s, not %s in %s", s.Name, name,
				state.Instance, state.Namespace, party.Site.Instance.Name, party.Site.Namespace)
		}
		if state.Cluster.Known() && party.ID.Known() && !state.Cluster.Same(party.ID) {
			return fault.Refuse(fmt.Sprintf("name the right context with --site-context %s=CONTEXT", name),
				"context %q is not the cluster that site %s of pair %s is in", party.Site.Context, name, s.Name)
		}
	}
	return nil
}

// keepSettings takes what --source and --target do not say from the record. They
// do say who is the primary, which only a switch can change.
func (s *Session) keepSettings() error {
	if named := s.Spec.PreferredPrimary; named != s.Record.Primary {
		return fault.Refuse("give the present primary as --source, or only the name of the pair",
			"pair %s exists, and its primary is site %s, not %s", s.Name, s.Record.Primary, named)
	}
	recorded := s.Record.Body.Spec
	recorded.Sites = slices.Clone(recorded.Sites)
	for i := range recorded.Sites {
		site := &recorded.Sites[i]
		now := s.Parties[site.Name].Site
		site.Context, site.Kubeconfig = now.Context, now.Kubeconfig
		if now.Instance.Kind != "" {
			site.Instance.Kind = now.Instance.Kind
		}
		s.Parties[site.Name].Site = *site
	}
	s.Spec = recorded
	return nil
}

func siteNames(spec pair.Spec) string {
	var names []string
	for _, site := range spec.Sites {
		names = append(names, site.Name)
	}
	return strings.Join(names, " and ")
}

func merged(a, b map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		maps.Copy(all, m)
	}
	return all
}
