package topology

import (
	"slices"
	"sort"
	"strings"
)

// Resolve fills in what only Redis knows: the shards, the role of each pod,
// the version; and the findings that follow. Labels never decide: where one
// says something else than Redis, that is a finding.
func Resolve(inst Instance, answers Answers) Instance {
	inst.Pods = slices.Clone(inst.Pods)
	inst.Findings = slices.Clone(inst.Findings)
	inst.Shards = nil
	if inst.Sentinel == nil && inst.Mode == ModeSentinel {
		inst.Mode = ModeReplication
	}
	answered := inst.readAnswers(answers)
	if answered == 0 {
		if len(inst.Pods) > 0 {
			inst.find(SeverityError, "instance "+inst.Ref(),
				"check that the pods run and that the password is right",
				"none of its %d data pods answers as Redis", len(inst.Pods))
		}
		return inst
	}
	switch inst.Mode {
	case ModeCluster:
		inst.resolveCluster(answers)
	case ModeSentinel:
		inst.resolveSentinel(answers)
	default:
		inst.resolveReplication(answers)
	}
	inst.noteStaleLabels()
	inst.noteVersions(answers)
	return inst
}

// readAnswers settles the mode and tells of pods that did not answer.
func (i *Instance) readAnswers(answers Answers) int {
	answered := 0
	modes := map[string][]string{}
	for _, p := range i.Pods {
		a, asked := answers.Pods[p.Name]
		if !asked {
			continue
		}
		if a.Err != nil {
			i.find(SeverityWarning, i.podRef(p.Name), "", "does not answer: %v", a.Err)
			continue
		}
		answered++
		modes[a.RedisMode] = append(modes[a.RedisMode], p.Name)
	}
	if len(modes[string(ModeCluster)]) == answered && answered > 0 && i.Operator == OperatorNone {
		i.Mode = ModeCluster // a chart's objects need not tell
	}
	for mode, pods := range modes {
		if mode == "" || (mode == string(ModeCluster)) == (i.Mode == ModeCluster) {
			continue
		}
		sort.Strings(pods)
		i.find(SeverityError, "instance "+i.Ref(), "repair the configuration of these pods first",
			"its objects say mode %s, but %s runs in mode %s", i.Mode, strings.Join(pods, ", "), mode)
	}
	return answered
}

func (i *Instance) noteStaleLabels() {
	for _, p := range i.StalePods() {
		remedy := "nothing to do for us: labels are not used; applications that use a Service with this label reach the wrong pod"
		if i.MasterOnlyService != "" {
			remedy = "nothing to do for us: labels are not used; Service " + i.MasterOnlyService + " selects by this label"
		}
		i.find(SeverityWarning, i.podRef(p.Name), remedy,
			"stale label: it says %s, Redis says %s", p.RoleSaid, p.Role)
	}
}

func (i *Instance) noteVersions(answers Answers) {
	versions := map[string][]string{}
	for _, p := range i.Pods {
		if a, ok := answers.Pods[p.Name]; ok && a.Err == nil && a.Version != "" {
			versions[a.Version] = append(versions[a.Version], p.Name)
		}
	}
	for _, s := range i.Shards {
		if v := answers.Pods[s.Primary].Version; v != "" && i.Version == "" {
			i.Version = v
		}
	}
	if len(versions) > 1 {
		var said []string
		for v, pods := range versions {
			said = append(said, v+" ("+strings.Join(pods, ", ")+")")
		}
		sort.Strings(said)
		i.find(SeverityWarning, "instance "+i.Ref(), "wait until the upgrade is done", "runs several versions: %s", strings.Join(said, ", "))
	}
	for v := range versions {
		if i.Version == "" {
			i.Version = v
		}
	}
}

// podAt finds the pod behind an address that a server or a Sentinel names: by
// host name, pod IP, the address of a Service of that one pod, or the node
// port of such a Service.
func (i *Instance) podAt(host, hostname string, port int) *Pod {
	for n := range i.Pods {
		p := &i.Pods[n]
		for _, name := range []string{hostname, host} {
			if name != "" && (name == p.Name || strings.HasPrefix(name, p.Name+".")) {
				return p
			}
		}
	}
	for n := range i.Pods {
		p := &i.Pods[n]
		if host != "" && (host == p.IP || host == p.Address) && (p.IP != p.HostIP || port == i.Port) {
			return p
		}
	}
	for n := range i.Pods {
		p := &i.Pods[n]
		if p.NodePort != 0 && int(p.NodePort) == port {
			return p
		}
	}
	return nil
}

// oneShard records a master and its replicas as the only shard.
func (i *Instance) oneShard(primary string) {
	shard := Shard{Slots: AllSlots(), Primary: primary}
	for n := range i.Pods {
		p := &i.Pods[n]
		switch {
		case p.Name == primary:
			p.Role = RolePrimary
		case p.Role == RoleReplica:
			shard.Replicas = append(shard.Replicas, p.Name)
		}
	}
	sort.Strings(shard.Replicas)
	i.Shards = []Shard{shard}
}
