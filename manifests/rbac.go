package manifests

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

//go:embed rbac/*.yaml
var rbacFiles embed.FS

// Sides of a pair, as a ClusterRole names them.
const (
	SideBoth    = "both"
	SidePrimary = "primary"
	SideStandby = "standby"
)

const sideLabel = "redis-sync.io/side"

// Roles gives the ClusterRoles of a verb: one for both sites, or one for each.
func Roles(verb string) ([]rbacv1.ClusterRole, error) {
	text, err := rbacFiles.ReadFile("rbac/" + verb + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("RBAC of verb %s: %w", verb, err)
	}
	var roles []rbacv1.ClusterRole
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(document, &role); err != nil {
			return nil, fmt.Errorf("RBAC of verb %s: %w", verb, err)
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// Rules gives what a verb needs on one side.
func Rules(verb, side string) ([]rbacv1.PolicyRule, error) {
	roles, err := Roles(verb)
	if err != nil {
		return nil, err
	}
	var rules []rbacv1.PolicyRule
	for _, role := range roles {
		if of := role.Labels[sideLabel]; of == side || of == SideBoth {
			rules = append(rules, role.Rules...)
		}
	}
	return rules, nil
}

// Table prints what a verb needs, for a help text.
func Table(verb string) (string, error) {
	roles, err := Roles(verb)
	if err != nil {
		return "", err
	}
	type row struct{ group, resource, site string }
	var order []row
	verbs := map[row][]string{}
	for _, role := range roles {
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					key := row{group, resource, role.Labels[sideLabel]}
					if !slices.Contains(order, key) {
						order = append(order, key)
					}
					for _, v := range rule.Verbs {
						if !slices.Contains(verbs[key], v) {
							verbs[key] = append(verbs[key], v)
						}
					}
				}
			}
		}
	}
	slices.SortStableFunc(order, func(a, b row) int {
		if a.site != b.site {
			return strings.Compare(a.site, b.site)
		}
		return strings.Compare(a.group+"/"+a.resource, b.group+"/"+b.resource)
	})
	var b strings.Builder
	fmt.Fprintf(&b, "  %-8s %-6s %-17s %s\n", "SITE", "GROUP", "RESOURCE", "VERBS")
	for _, key := range order {
		group := key.group
		if group == "" {
			group = "core"
		}
		fmt.Fprintf(&b, "  %-8s %-6s %-17s %s\n", key.site, group, key.resource, strings.Join(verbs[key], ", "))
	}
	return strings.TrimRight(b.String(), "\n"), nil
}
