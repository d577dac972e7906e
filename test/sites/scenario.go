// Package sites brings Redis instances into live Kubernetes clusters with the
// objects that their operators make: custom resource definitions, custom
// resources, StatefulSets, Services, Secrets, ConfigMaps, labels and owner
// references of the fixtures. What an operator does at run time is done by
// package operator.
package sites

import (
	"fmt"
	"sort"
	"strings"
)

// Placement puts the instance of one fixture into one cluster.
type Placement struct {
	Site      string // name of the site, and context of the kubeconfig
	Namespace string
	Fixture   string // file of package fixtures
	Instance  string // name of the custom resource
	Kind      string // of the custom resource
}

// Scenario is a set of instances that belong together.
type Scenario struct {
	Name       string
	Placements []Placement
}

var scenarios = []Scenario{
	{Name: "default", Placements: []Placement{
		{Site: "site-a", Namespace: "redis", Fixture: "ot-v0.26.0-rediscluster-redis-a.yaml", Instance: "redis-a", Kind: "RedisCluster"},
		{Site: "site-b", Namespace: "redis", Fixture: "spotahome-v1.3.0-rc1-redisfailover-redis-b.yaml", Instance: "redis-b", Kind: "RedisFailover"},
	}},
	{Name: "daocloud", Placements: []Placement{
		{Site: "site-a", Namespace: "redis-dce", Fixture: "daocloud-ot-rediscluster-redis-a.yaml", Instance: "redis-a", Kind: "RedisCluster"},
		{Site: "site-b", Namespace: "redis-dce", Fixture: "daocloud-redisfailover-redis-b.yaml", Instance: "redis-b", Kind: "RedisFailover"},
	}},
}

// Find returns the scenario of that name.
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range scenarios {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	sort.Strings(names)
	return Scenario{}, fmt.Errorf("scenario %q: there are %s", name, strings.Join(names, ", "))
}

// In returns the scenario with all instances in another namespace; "" keeps
// them where they are.
func (s Scenario) In(namespace string) Scenario {
	out := Scenario{Name: s.Name, Placements: append([]Placement(nil), s.Placements...)}
	for i := range out.Placements {
		if namespace != "" {
			out.Placements[i].Namespace = namespace
		}
	}
	return out
}
