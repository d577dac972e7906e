package topology

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// resolveCluster derives the shards from what a majority of the nodes say.
func (i *Instance) resolveCluster(answers Answers) {
	views := map[string][]ClusterNode{} // by pod
	for _, p := range i.Pods {
		a, ok := answers.Pods[p.Name]
		if !ok || a.Err != nil || a.ClusterNodes == "" {
			continue
		}
		nodes, err := ParseClusterNodes(a.ClusterNodes)
		if err != nil {
			i.find(SeverityError, i.podRef(p.Name), "report this answer", "%v", err)
			continue
		}
		views[p.Name] = nodes
		if a.ClusterState == "fail" {
			i.find(SeverityError, i.podRef(p.Name), "repair the cluster first (redis-cli --cluster check)", "says cluster_state:fail")
		}
	}
	if len(views) == 0 {
		i.find(SeverityError, "instance "+i.Ref(), "", "no pod gave an answer to CLUSTER NODES")
		return
	}
	own := i.nodeIDs(views)
	nodes, ok := i.majorityView(views)
	if !ok {
		return
	}
	nodes = withOwnWords(nodes, own)
	i.placeNodes(nodes)
	i.shardsOf(nodes)
	i.noteMoving(nodes)
	i.noteCoverage(nodes)
	i.checkRoles(answers)
}

// nodeIDs takes each pod's own id from the line that it marks as "myself",
// and returns these lines by id.
func (i *Instance) nodeIDs(views map[string][]ClusterNode) map[string]ClusterNode {
	own := map[string]ClusterNode{}
	for n := range i.Pods {
		p := &i.Pods[n]
		for _, node := range views[p.Name] {
			if node.Has("myself") {
				p.NodeID = node.ID
				own[node.ID] = node
			}
		}
	}
	return own
}

// withOwnWords corrects the view of the majority by what nodes without slots
// say of themselves: that a node replicates, and whom, it knows first, and the
// news travels by gossip. Who owns slots stays with the majority.
func withOwnWords(nodes []ClusterNode, own map[string]ClusterNode) []ClusterNode {
	out := slices.Clone(nodes)
	for n := range out {
		said, ok := own[out[n].ID]
		if ok && said.Has("slave") && len(out[n].Slots) == 0 && out[n].usable() {
			out[n].Flags, out[n].Master = said.Flags, said.Master
		}
	}
	return out
}

// majorityView picks the slot map that most nodes agree on. A node that was
// cut off, or lost its configuration, is outvoted; without a majority nothing
// is certain enough to act on.
func (i *Instance) majorityView(views map[string][]ClusterNode) ([]ClusterNode, bool) {
	bySlots := map[string][]string{} // signature -> pods
	for _, pod := range slices.Sorted(maps.Keys(views)) {
		sig := slotSignature(views[pod])
		bySlots[sig] = append(bySlots[sig], pod)
	}
	best := ""
	for _, sig := range slices.Sorted(maps.Keys(bySlots)) {
		if best == "" || len(bySlots[sig]) > len(bySlots[best]) {
			best = sig
		}
	}
	agreeing := bySlots[best]
	if len(agreeing)*2 <= len(views) {
		var said []string
		for _, sig := range slices.Sorted(maps.Keys(bySlots)) {
			said = append(said, fmt.Sprintf("%s: %s", strings.Join(bySlots[sig], ", "), orElse(sig, "no slots")))
		}
		i.find(SeverityError, "instance "+i.Ref(), "wait until the nodes agree (redis-cli --cluster check)",
			"no majority of its nodes agrees on who serves which slots: %s", strings.Join(said, "; "))
		return nil, false
	}
	for _, sig := range slices.Sorted(maps.Keys(bySlots)) {
		if sig == best {
			continue
		}
		for _, pod := range bySlots[sig] {
			if sig == "" {
				i.find(SeverityWarning, i.podRef(pod), "make it meet the cluster again, or delete it for its operator to do so",
					"is a master without slots that knows of nobody who has any: it is no shard")
				continue
			}
			i.find(SeverityWarning, i.podRef(pod), "wait until it has caught up", "sees other slot owners than the majority")
		}
	}
	if len(views) == 1 && len(i.Pods) > 1 {
		i.find(SeverityWarning, "instance "+i.Ref(), "", "only pod %s could be asked for the slot map: it is not confirmed by a second one", agreeing[0])
	}
	// Of those who agree, the one with the newest configuration also knows
	// the replicas best.
	slices.SortStableFunc(agreeing, func(a, b string) int { return int(maxEpoch(views[b]) - maxEpoch(views[a])) })
	return views[agreeing[0]], true
}

func maxEpoch(nodes []ClusterNode) int64 {
	var top int64
	for _, n := range nodes {
		top = max(top, n.ConfigEpoch)
	}
	return top
}

// slotSignature is the slot map as text: who serves what.
func slotSignature(nodes []ClusterNode) string {
	var parts []string
	for _, n := range nodes {
		if n.Has("master") && n.usable() && len(n.Slots) > 0 {
			parts = append(parts, n.ID+" "+n.Slots.String())
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, " | ")
}

// placeNodes maps the nodes to pods and takes the roles from them.
func (i *Instance) placeNodes(nodes []ClusterNode) {
	var strangers []ClusterNode
	for _, n := range nodes {
		if n.Has("handshake") || n.Has("noaddr") {
			continue
		}
		p := i.podOf(n)
		if p == nil {
			if n.usable() && (len(n.Slots) > 0 || n.Master != "") {
				strangers = append(strangers, n)
			}
			continue
		}
		p.NodeID = n.ID
		switch {
		case !n.usable():
			p.Role = RoleUnknown
		case n.Has("master") && len(n.Slots) > 0:
			p.Role = RolePrimary
		case n.Has("slave"):
			p.Role = RoleReplica
		}
	}
	if len(strangers) <= i.unplaced() {
		return // they may be the pods that do not answer
	}
	for _, n := range strangers {
		i.find(SeverityWarning, "instance "+i.Ref(), "remove it with CLUSTER FORGET if it is gone for good",
			"node %s at %s:%d is none of its pods", short(n.ID), n.Host, n.Port)
	}
}

// unplaced counts the pods whose node is not known.
func (i *Instance) unplaced() int {
	count := 0
	for _, p := range i.Pods {
		if p.NodeID == "" {
			count++
		}
	}
	return count
}

// podOf finds the pod of a node: by the id that the pod itself gave, else by
// its address.
func (i *Instance) podOf(n ClusterNode) *Pod {
	for k := range i.Pods {
		if i.Pods[k].NodeID == n.ID {
			return &i.Pods[k]
		}
	}
	p := i.podAt(n.Host, n.Hostname, n.Port)
	if p != nil && p.NodeID != "" {
		return nil // that pod is another node: the address is an old one
	}
	return p
}

func (i *Instance) shardsOf(nodes []ClusterNode) {
	for _, n := range nodes {
		if !n.Has("master") || !n.usable() || len(n.Slots) == 0 {
			continue
		}
		shard := Shard{Slots: n.Slots}
		if p := i.podOf(n); p != nil {
			shard.Primary = p.Name
		} else {
			i.find(SeverityError, "instance "+i.Ref(), "", "the master of slots %s (node %s at %s:%d) is none of its pods that answer",
				n.Slots, short(n.ID), n.Host, n.Port)
		}
		for _, r := range nodes {
			if r.Master != n.ID || !r.Has("slave") || !r.usable() {
				continue
			}
			if p := i.podOf(r); p != nil {
				shard.Replicas = append(shard.Replicas, p.Name)
			}
		}
		sort.Strings(shard.Replicas)
		i.Shards = append(i.Shards, shard)
	}
	sort.Slice(i.Shards, func(a, b int) bool { return i.Shards[a].Slots[0].From < i.Shards[b].Slots[0].From })
	for k := range i.Shards {
		i.Shards[k].Index = k
	}
}

// noteMoving refuses while slots move: between two replicators the deletion
// on the one side and the arrival on the other have no order.
func (i *Instance) noteMoving(nodes []ClusterNode) {
	moving := map[int]bool{}
	for _, n := range nodes {
		for slot := range n.Migrating {
			moving[slot] = true
		}
		for slot := range n.Importing {
			moving[slot] = true
		}
	}
	if len(moving) == 0 {
		return
	}
	var set SlotSet
	for slot := range moving {
		set = append(set, SlotRange{slot, slot})
	}
	i.find(SeverityError, "instance "+i.Ref(),
		"wait until the reshard is done, or close it with redis-cli --cluster fix",
		"slots are being moved: %s", set.Normalize())
}

func (i *Instance) noteCoverage(nodes []ClusterNode) {
	owners := make([]int, SlotCount)
	for _, n := range nodes {
		if !n.Has("master") || !n.usable() {
			continue
		}
		for _, r := range n.Slots {
			for slot := r.From; slot <= r.To; slot++ {
				owners[slot]++
			}
		}
	}
	var missing, double SlotSet
	for slot, count := range owners {
		switch {
		case count == 0:
			missing = append(missing, SlotRange{slot, slot})
		case count > 1:
			double = append(double, SlotRange{slot, slot})
		}
	}
	if len(missing) > 0 {
		missing = missing.Normalize()
		i.find(SeverityError, "instance "+i.Ref(),
			"bring the masters of these slots back, or repair with redis-cli --cluster fix",
			"%d of %d slots have no working master: %s", missing.Count(), SlotCount, missing)
	}
	if len(double) > 0 {
		i.find(SeverityError, "instance "+i.Ref(), "repair with redis-cli --cluster fix",
			"slots with two masters: %s", double.Normalize())
	}
	for _, n := range nodes {
		if n.Has("master") && n.Has("fail?") {
			i.find(SeverityWarning, "instance "+i.Ref(), "wait a moment and look again",
				"the master of slots %s (node %s) may be failing", n.Slots, short(n.ID))
		}
	}
}

// checkRoles compares the slot map with what each pod says of itself.
func (i *Instance) checkRoles(answers Answers) {
	for n := range i.Pods {
		p := &i.Pods[n]
		a, ok := answers.Pods[p.Name]
		if !ok || a.Err != nil || a.Replication.Role == RoleUnknown || p.Role == RoleUnknown || a.Replication.Role == p.Role {
			continue
		}
		i.find(SeverityError, i.podRef(p.Name), "a failover is under way: look again in a moment",
			"the cluster says %s, the pod itself %s", p.Role, a.Replication.Role)
	}
}

func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}
