package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ClusterNode is one line of CLUSTER NODES.
type ClusterNode struct {
	ID          string
	Host        string // ip, "" while unknown
	Port        int
	Hostname    string // 7.0+, where announced
	Flags       []string
	Master      string // node id, "" for a master
	ConfigEpoch int64
	LinkUp      bool
	Slots       SlotSet
	Migrating   map[int]string // slot -> node id it goes to
	Importing   map[int]string // slot -> node id it comes from
}

// Has reports whether the node carries a flag ("master", "fail?"...).
func (n ClusterNode) Has(flag string) bool { return slices.Contains(n.Flags, flag) }

// usable reports whether the node is a member that has not failed.
func (n ClusterNode) usable() bool {
	return !n.Has("fail") && !n.Has("handshake") && !n.Has("noaddr")
}

// ParseClusterNodes reads the answer of CLUSTER NODES of any version: with or
// without bus port (3.x), hostname (7.0) and further properties (7.2) after
// the address, with markers of moving slots.
func ParseClusterNodes(text string) ([]ClusterNode, error) {
	var out []ClusterNode
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		node, err := parseClusterNode(line)
		if err != nil {
			return nil, fmt.Errorf("CLUSTER NODES, line %q: %w", line, err)
		}
		out = append(out, node)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("CLUSTER NODES: the answer holds no node")
	}
	return out, nil
}

func parseClusterNode(line string) (ClusterNode, error) {
	fields := strings.Fields(line)
	if len(fields) < 8 {
		return ClusterNode{}, fmt.Errorf("has %d fields, expected at least 8", len(fields))
	}
	node := ClusterNode{ID: fields[0], Flags: strings.Split(fields[2], ","), LinkUp: fields[7] == "connected"}
	if err := node.parseAddress(fields[1]); err != nil {
		return ClusterNode{}, err
	}
	if fields[3] != "-" {
		node.Master = fields[3]
	}
	epoch, err := strconv.ParseInt(fields[6], 10, 64)
	if err != nil {
		return ClusterNode{}, fmt.Errorf("config epoch %q is no number", fields[6])
	}
	node.ConfigEpoch = epoch
	for _, field := range fields[8:] {
		if err := node.parseSlots(field); err != nil {
			return ClusterNode{}, err
		}
	}
	node.Slots = node.Slots.Normalize()
	return node, nil
}

// parseAddress reads ip:port[@busport][,hostname[,name=value...]].
func (n *ClusterNode) parseAddress(field string) error {
	address, rest, _ := strings.Cut(field, ",")
	hostname, _, _ := strings.Cut(rest, ",")
	if !strings.Contains(hostname, "=") { // an empty hostname may be left out before a property
		n.Hostname = hostname
	}
	address, _, _ = strings.Cut(address, "@")
	colon := strings.LastIndexByte(address, ':') // the ip may be an IPv6 one
	if colon < 0 {
		return fmt.Errorf("address %q has no port", field)
	}
	port, err := strconv.Atoi(address[colon+1:])
	if err != nil {
		return fmt.Errorf("address %q: the port is no number", field)
	}
	n.Host, n.Port = strings.Trim(address[:colon], "[]"), port
	return nil
}

// parseSlots reads "0-5460", "7", "[7->-nodeid]" or "[7-<-nodeid]".
func (n *ClusterNode) parseSlots(field string) error {
	if !strings.HasPrefix(field, "[") {
		set, err := ParseSlots(field)
		if err != nil {
			return err
		}
		n.Slots = append(n.Slots, set...)
		return nil
	}
	inner := strings.Trim(field, "[]")
	if slot, to, ok := strings.Cut(inner, "->-"); ok {
		number, err := strconv.Atoi(slot)
		if err != nil {
			return fmt.Errorf("moving slot %q is no number", field)
		}
		if n.Migrating == nil {
			n.Migrating = map[int]string{}
		}
		n.Migrating[number] = to
		return nil
	}
	if slot, from, ok := strings.Cut(inner, "-<-"); ok {
		number, err := strconv.Atoi(slot)
		if err != nil {
			return fmt.Errorf("moving slot %q is no number", field)
		}
		if n.Importing == nil {
			n.Importing = map[int]string{}
		}
		n.Importing[number] = from
		return nil
	}
	return fmt.Errorf("%q is neither a slot range nor a moving slot", field)
}
