package preflight

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// checkInstances carries over what discovery found on both sides.
func checkInstances(in Input, _, _ Facts) []topology.Finding {
	var out []topology.Finding
	for _, side := range []*Side{&in.Source, &in.Target} {
		for _, f := range side.Instance.Findings {
			f.Site = side.Site
			out = append(out, f)
		}
		if len(side.Instance.Shards) == 0 && len(topology.Errors(side.Instance.Findings)) == 0 {
			f := findOn(side)
			f.add(topology.SeverityError, "", "look at it with `kubectl redis-sync discover`", "its primary is not known")
			out = append(out, f.list...)
		}
	}
	return out
}

// checkIdentity refuses a target that is the source itself, or its replica.
func checkIdentity(ctx context.Context, in Input, source, target Facts) ([]topology.Finding, error) {
	f := findOn(&in.Target)
	s, t := &in.Source.Instance, &in.Target.Instance
	if s.Namespace == t.Namespace && s.Name == t.Name && s.Kind == t.Kind {
		sourceID, err := in.Source.Client.ClusterID(ctx, s.Namespace)
		if err != nil {
			return nil, err
		}
		targetID, err := in.Target.Client.ClusterID(ctx, t.Namespace)
		if err != nil {
			return nil, err
		}
		if sourceID.Same(targetID) {
			f.add(topology.SeverityError, "", "name two different instances",
				"is the source itself: both sites are %s in the same cluster", s.Ref())
			return f.list, nil
		}
	}
	return append(f.list, sameServers(in, source, target)...), nil
}

func sameServers(in Input, source, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	for _, t := range target.Nodes {
		for _, s := range source.Nodes {
			switch {
			case t.RunID != "" && t.RunID == s.RunID:
				f.add(topology.SeverityError, f.pod(t.Pod), "name two different instances",
					"is the same server as pod %s of the source (run_id)", s.Pod)
			case t.ReplID != "" && t.ReplID == s.ReplID:
				f.add(topology.SeverityError, f.pod(t.Pod), "end that replication first (REPLICAOF NO ONE)",
					"shares its replication history with pod %s of the source: one is a replica of the other, or was made from its files", s.Pod)
			}
		}
	}
	return f.list
}

// checkOtherPairs refuses a target that somebody else copies into: the two
// histories would mix.
func checkOtherPairs(in Input, _, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	if in.Pair == "" {
		return nil
	}
	for _, n := range target.Nodes {
		for _, pair := range n.Writers {
			if pair != in.Pair {
				f.add(topology.SeverityError, f.pod(n.Pod), "delete or pause that pair first, or choose another target",
					"is being written by the replicators of another pair, %q", pair)
			}
		}
	}
	return f.list
}

func checkPermissions(in Input, source, target Facts) []topology.Finding {
	var out []topology.Finding
	for side, facts := range map[*Side]Facts{&in.Source: source, &in.Target: target} {
		f := findOn(side)
		for _, n := range facts.Nodes {
			if len(n.Denied) > 0 {
				f.add(topology.SeverityError, f.pod(n.Pod), fmt.Sprintf("ACL SETUSER %s +%s, on every data pod", n.User, strings.Join(n.Denied, " +")),
					"the user %q may not run %s", n.User, strings.Join(n.Denied, ", "))
			}
			if len(n.Unread) > 0 {
				f.add(topology.SeverityError, f.pod(n.Pod), fmt.Sprintf("ACL SETUSER %s +get ~%s*, on every data pod", n.User, wire.KeyPrefix),
					"the user %q may not GET %s, by which the verbs tell who may write", n.User, strings.Join(n.Unread, ", "))
			}
			if n.ConfigRefused != "" {
				f.add(topology.SeverityInfo, f.pod(n.Pod), "", "sizes and limits are not checked: %s", n.ConfigRefused)
			}
		}
		out = append(out, f.list...)
	}
	slices.SortStableFunc(out, func(a, b topology.Finding) int { return strings.Compare(a.Site+a.Object, b.Site+b.Object) })
	return out
}

func checkVersions(in Input, source, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	for _, s := range source.Nodes {
		if s.Version.major > 0 && !s.Version.atLeast(2, 8) {
			g := findOn(&in.Source)
			g.add(topology.SeverityError, g.pod(s.Pod), "upgrade the source", "runs %s, which has no PSYNC", s.Version.text)
			return g.list
		}
		for _, t := range target.Nodes {
			if s.Version.rdb() == 0 || t.Version.rdb() == 0 || t.Version.reads(s.Version) {
				continue
			}
			f.add(topology.SeverityWarning, "", "upgrade the target to the version of the source",
				"runs %s, the source %s: values in forms that only the source knows cannot be written, and the replicator then stops at that key",
				t.Version.text, s.Version.text)
			return f.list
		}
	}
	return f.list
}

func checkDatabases(in Input, source, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	used := slices.Sorted(maps.Keys(source.Databases))
	if len(used) == 0 {
		return nil
	}
	highest := used[len(used)-1]
	if highest == 0 {
		return nil
	}
	if in.Target.Instance.Mode == topology.ModeCluster {
		f.add(topology.SeverityError, "", "move the keys of the source to database 0, or choose a target that is no cluster",
			"is a cluster, which has database 0 only, but the source has keys in database %s", listInts(used))
		return f.list
	}
	for _, n := range target.Nodes {
		if n.DatabasesLimit > 0 && int64(highest) >= n.DatabasesLimit {
			f.add(topology.SeverityError, f.pod(n.Pod), fmt.Sprintf("set databases to at least %d and restart it", highest+1),
				"has %d databases, but the source has keys in database %d", n.DatabasesLimit, highest)
		}
	}
	return f.list
}

func listInts(numbers []int) string {
	parts := make([]string, 0, len(numbers))
	for _, n := range numbers {
		parts = append(parts, fmt.Sprint(n))
	}
	return strings.Join(parts, ", ")
}

func checkModules(in Input, source, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	missing := map[string]bool{}
	for _, s := range source.Nodes {
		for _, module := range s.Modules {
			for _, t := range target.Nodes {
				if !slices.Contains(t.Modules, module) {
					missing[module] = true
				}
			}
		}
	}
	if len(missing) > 0 {
		f.add(topology.SeverityWarning, "", "load them on the target too, unless no key uses them",
			"lacks modules of the source: %s; the replicator stops at the first value of one", strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	return f.list
}

// checkContent asks for a decision about keys that the source does not have.
func checkContent(in Input, _, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	if target.Keys <= 0 || in.Established {
		return nil
	}
	switch in.StaleKeys {
	case "":
		f.add(topology.SeverityError, "",
			"choose --stale-keys=prune (the target becomes an exact copy) or --stale-keys=keep, or empty the target",
			"is not empty: it holds %d keys, and what happens to those that the source does not have was not chosen", target.Keys)
	case "prune":
		f.add(topology.SeverityWarning, "", "", "is not empty: of its %d keys, those that the source does not have will be removed", target.Keys)
	default:
		f.add(topology.SeverityWarning, "", "", "is not empty: of its %d keys, those that the source does not have will stay, so it will be no exact copy", target.Keys)
	}
	return f.list
}

func checkWrites(in Input, _, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	for _, n := range target.Nodes {
		if n.MinReplicas > 0 && n.GoodReplicas < n.MinReplicas {
			f.add(topology.SeverityError, f.pod(n.Pod), "bring its replicas back, or CONFIG SET min-replicas-to-write 0",
				"refuses writes: min-replicas-to-write is %d, and %d replicas are good", n.MinReplicas, n.GoodReplicas)
		}
	}
	return f.list
}
