package route

import (
	"fmt"
	"slices"
	"strings"
)

// ClusterNode is one line of CLUSTER NODES.
type ClusterNode struct {
	ID, Addr, Master string
	flags            []string
	Slots            SlotSet
	Migrating        bool // a slot is leaving it or coming to it
}

// Is reports whether the node carries a flag ("master", "slave", "myself",
// "fail"...).
func (n *ClusterNode) Is(flag string) bool {
	return slices.Contains(n.flags, flag)
}

// Usable reports whether the node can be talked to.
func (n *ClusterNode) Usable() bool {
	return n.Addr != "" && !n.Is("fail") && !n.Is("handshake") && !n.Is("noaddr")
}

// ParseNodes reads CLUSTER NODES in the forms of versions 4 to 8: the address
// may carry a bus port and a hostname, lines may lack slots, and slots may be
// on the move. selfAddr stands in where a node does not know its own address.
func ParseNodes(text, selfAddr string) ([]ClusterNode, error) {
	var nodes []ClusterNode
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 8 {
			return nil, fmt.Errorf("CLUSTER NODES has a line of %d fields, expected at least 8", len(f))
		}
		addr, _, _ := strings.Cut(f[1], ",")
		addr, _, _ = strings.Cut(addr, "@")
		n := ClusterNode{ID: f[0], Addr: addr, flags: strings.Split(f[2], ","), Master: f[3], Slots: make(SlotSet, SlotCount/64)}
		if strings.HasPrefix(addr, ":") { // no address known yet
			n.Addr = ""
			if n.Is("myself") {
				n.Addr = selfAddr
			}
		}
		for _, part := range f[8:] {
			if strings.HasPrefix(part, "[") {
				n.Migrating = true
				continue
			}
			s, err := ParseSlots(part)
			if err != nil {
				return nil, fmt.Errorf("CLUSTER NODES: %w", err)
			}
			n.Slots.Merge(s)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// Merge adds the slots of o.
func (s SlotSet) Merge(o SlotSet) {
	for i := range o {
		s[i] |= o[i]
	}
}

// TagIn returns a short hash tag whose slot is in the set.
func TagIn(s SlotSet) (string, error) {
	var tag [4]byte
	for i := range 1 << 20 {
		for k := range tag {
			tag[k] = "0123456789abcdefghijklmnopqrstuv"[i>>(5*k)&31]
		}
		if s.Has(Slot(tag[:])) {
			return string(tag[:]), nil
		}
	}
	return "", fmt.Errorf("no hash tag leads to the slots %s", s)
}
