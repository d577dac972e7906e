package topology

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// takeRoles notes what each pod says of itself.
func (i *Instance) takeRoles(answers Answers) (masters []string) {
	for n := range i.Pods {
		p := &i.Pods[n]
		a, ok := answers.Pods[p.Name]
		if !ok || a.Err != nil {
			continue
		}
		p.Role = a.Replication.Role
		if p.Role == RolePrimary {
			masters = append(masters, p.Name)
		}
	}
	return masters
}

// resolveSentinel takes the master that a majority of the Sentinels name, and
// requires that this pod agrees.
func (i *Instance) resolveSentinel(answers Answers) {
	masters := i.takeRoles(answers)
	votes, answered := i.sentinelVotes(answers)
	if answered == 0 {
		i.find(SeverityError, "instance "+i.Ref(), "check the Sentinel pods and their password",
			"none of its %d Sentinels names the master of %q", len(i.Sentinel.Pods), i.Sentinel.MasterSet)
		if len(masters) == 1 {
			i.oneShard(masters[0])
		}
		return
	}
	named := ""
	for _, at := range slices.Sorted(maps.Keys(votes)) {
		if len(votes[at])*2 > max(len(i.Sentinel.Pods), answered) {
			named = at
		}
	}
	if named == "" {
		i.find(SeverityError, "instance "+i.Ref(), "wait until the Sentinels agree, or check them",
			"no majority of its %d Sentinels agrees on the master of %q: %s", len(i.Sentinel.Pods), i.Sentinel.MasterSet, said(votes))
		return
	}
	if len(votes) > 1 {
		i.find(SeverityWarning, "instance "+i.Ref(), "wait until the Sentinels agree", "its Sentinels disagree: %s", said(votes))
	}
	first := answers.Sentinels[votes[named][0]]
	pod := i.podAt(first.Host, first.Host, first.Port)
	if pod == nil {
		i.find(SeverityError, "instance "+i.Ref(), "check whether its Sentinels watch another instance",
			"its Sentinels name %s as the master of %q, which is none of its pods", named, i.Sentinel.MasterSet)
		return
	}
	if a, ok := answers.Pods[pod.Name]; ok && a.Err == nil && a.Replication.Role == RoleReplica {
		i.find(SeverityError, i.podRef(pod.Name), "a failover is under way: look again in a moment",
			"its Sentinels call it the master, it calls itself a replica of %s:%d", a.Replication.MasterHost, a.Replication.MasterPort)
		return
	}
	for _, other := range masters {
		if other != pod.Name {
			i.find(SeverityWarning, i.podRef(other), "its Sentinels will make it a replica; look again in a moment",
				"calls itself a master, but the majority of the Sentinels names %s", pod.Name)
			i.Pod(other).Role = RoleUnknown
		}
	}
	i.oneShard(pod.Name)
	i.noteForeignReplicas(answers)
}

// sentinelVotes groups the Sentinels by the address that they name.
func (i *Instance) sentinelVotes(answers Answers) (votes map[string][]string, answered int) {
	votes = map[string][]string{}
	for _, pod := range i.Sentinel.Pods {
		a, asked := answers.Sentinels[pod]
		switch {
		case !asked:
			continue
		case a.Err != nil:
			i.find(SeverityWarning, i.podRef(pod), "", "Sentinel does not answer: %v", a.Err)
			continue
		}
		answered++
		at := fmt.Sprintf("%s:%d", a.Host, a.Port)
		votes[at] = append(votes[at], pod)
		if a.NoGood {
			i.find(SeverityWarning, i.podRef(pod), "check the Sentinels: no failover is possible now", "Sentinel says: %s", a.Quorum)
		}
	}
	return votes, answered
}

// noteForeignReplicas tells of replicas of the master that are no pods: they
// confuse Sentinel and operators.
func (i *Instance) noteForeignReplicas(answers Answers) {
	for _, s := range i.Shards {
		for _, r := range answers.Pods[s.Primary].Replication.Replicas {
			if i.podAt(r.Host, r.Host, r.Port) == nil {
				i.find(SeverityInfo, i.podRef(s.Primary), "", "has a replica that is none of the instance's pods: %s:%d", r.Host, r.Port)
			}
		}
	}
}

func said(votes map[string][]string) string {
	var parts []string
	for at, pods := range votes {
		parts = append(parts, fmt.Sprintf("%s say %s", strings.Join(pods, ", "), at))
	}
	sort.Strings(parts)
	return strings.Join(parts, "; ")
}

// resolveReplication takes the one pod that says it is the master.
func (i *Instance) resolveReplication(answers Answers) {
	masters := i.takeRoles(answers)
	switch len(masters) {
	case 1:
		i.oneShard(masters[0])
		i.noteForeignReplicas(answers)
	case 0:
		from := map[string]bool{}
		for _, a := range answers.Pods {
			if a.Err == nil && a.Replication.MasterHost != "" {
				from[fmt.Sprintf("%s:%d", a.Replication.MasterHost, a.Replication.MasterPort)] = true
			}
		}
		i.find(SeverityError, "instance "+i.Ref(), "make one of its pods the master, or wait for its operator to do so",
			"none of its pods is a master; they replicate from %s", strings.Join(slices.Sorted(maps.Keys(from)), ", "))
	default:
		i.find(SeverityError, "instance "+i.Ref(), "leave one master only (REPLICAOF on the others) and look again",
			"%d of its pods say they are the master: %s", len(masters), strings.Join(masters, ", "))
	}
}
