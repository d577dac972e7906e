package execute

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// CheckAccess asks the API servers whether the user may do what a verb does,
// before it does anything.
func CheckAccess(ctx context.Context, s *Session, verb pair.Verb) error {
	for _, party := range s.InOrder() {
		if party.Err != nil {
			continue
		}
		side := manifests.SideStandby
		if party.Site.Name == s.PrimaryName() {
			side = manifests.SidePrimary
		}
		if err := checkParty(ctx, party, verb, side); err != nil {
			return err
		}
	}
	return nil
}

func checkParty(ctx context.Context, party *Party, verb pair.Verb, side string) error {
	accesses, err := accessesOf(verb, side, party.Site.Namespace)
	if err != nil {
		return err
	}
	allowed, err := party.Cluster.CanI(ctx, accesses)
	if err != nil {
		return fmt.Errorf("asking what the user may do: %w", err)
	}
	var missing []kube.Access
	for i, access := range accesses {
		if !allowed[i] {
			missing = append(missing, access)
		}
	}
	missing = withoutEitherPortForward(missing, accesses, allowed)
	if len(missing) == 0 {
		return nil
	}
	return fault.New(fault.CodeAuth,
		fmt.Sprintf("bind the ClusterRole %s of manifests/rbac in namespace %s; kubectl redis-sync %s --help lists its rules",
			roleOf(verb, side), party.Site.Namespace, verb),
		"site %s (context %q): in namespace %s the user may not %s", party.Site.Name, party.Site.Context, party.Site.Namespace, sentence(missing))
}

// roleOf names the ClusterRole of a verb for one side.
func roleOf(verb pair.Verb, side string) string {
	roles, err := manifests.Roles(string(verb))
	if err == nil && len(roles) > 1 {
		return fmt.Sprintf("redis-sync-%s-%s", verb, side)
	}
	return fmt.Sprintf("redis-sync-%s", verb)
}

// sentence joins what is missing: verbs once, with the resources that lack
// the same ones.
func sentence(missing []kube.Access) string {
	var resources []string
	verbs := map[string][]string{}
	for _, access := range missing {
		resource := access.Resource
		if access.Group != "" {
			resource += "." + access.Group
		}
		if verbs[resource] == nil {
			resources = append(resources, resource)
		}
		verbs[resource] = append(verbs[resource], access.Verb)
	}
	var order []string
	having := map[string][]string{}
	for _, resource := range resources {
		list := strings.Join(verbs[resource], ", ")
		if having[list] == nil {
			order = append(order, list)
		}
		having[list] = append(having[list], resource)
	}
	parts := make([]string, 0, len(order))
	for _, list := range order {
		parts = append(parts, list+" "+strings.Join(having[list], ", "))
	}
	return strings.Join(parts, "; ")
}

// withoutEitherPortForward: which verb a port-forward needs depends on the
// protocol, so one of the two is enough to try.
func withoutEitherPortForward(missing, accesses []kube.Access, allowed []bool) []kube.Access {
	forwards := false
	for i, access := range accesses {
		forwards = forwards || access.Resource == "pods/portforward" && allowed[i]
	}
	if !forwards {
		return missing
	}
	return slices.DeleteFunc(missing, func(a kube.Access) bool { return a.Resource == "pods/portforward" })
}

// accessesOf turns the rules of a verb into questions. Reading single Secrets
// is not asked for: a rule with resourceNames answers that question with no.
func accessesOf(verb pair.Verb, side, namespace string) ([]kube.Access, error) {
	rules, err := manifests.Rules(string(verb), side)
	if err != nil {
		return nil, err
	}
	var accesses []kube.Access
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, v := range rule.Verbs {
					access := kube.Access{Verb: v, Group: group, Resource: resource, Namespace: namespace}
					if (resource == "secrets" && v == "get") || slices.Contains(accesses, access) {
						continue
					}
					accesses = append(accesses, access)
				}
			}
		}
	}
	return accesses, nil
}
