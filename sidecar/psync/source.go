// Package psync attaches to one shard of a source as a replica does: it finds
// a pod of the shard that can serve the stream, asks for the wanted position
// (PSYNC, PSYNC2), and acknowledges what was applied. Protocol:
// replication.c of Redis 7.0.
package psync

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// Node is what a candidate said about itself.
type Node struct {
	Addr       string
	Role       string // "master" or "slave"
	LinkUp     bool   // of a replica to its master
	Offset     int64  // master_repl_offset
	ReplID     string
	ReplID2    string // of the history before its promotion
	SecondOff  int64  // up to which ReplID2 is valid
	FirstByte  int64  // of its backlog
	Version    string
	RunID      string
	Valkey     bool
	Cluster    bool
	NodeID     string
	OwnerID    string        // of the master of its shard: its own, or the one that it follows
	Slots      route.SlotSet // of its shard; nil when it is no cluster node
	Migrating  bool          // a slot of the shard is being moved
	MasterAddr string        // of a replica: the address it follows
	Err        error         // it could not be asked
}

// maxAnswer bounds what a source says about itself: CLUSTER NODES of 1000
// nodes has about 200 KB.
const maxAnswer = 8 << 20

// Server is the node's product and version.
func (n *Node) Server() rewrite.Server {
	if n.Valkey {
		return rewrite.ParseServer(map[string]string{"valkey_version": n.Version})
	}
	return rewrite.ParseServer(map[string]string{"redis_version": n.Version})
}

// Probe asks one address what it is.
func Probe(ctx context.Context, addr string, o conn.Options) Node {
	n := Node{Addr: addr}
	// A pod that hangs must not keep the others from being looked at.
	o.DialTimeout, o.Timeout, o.Whole, o.MaxReply = 2*time.Second, 2*time.Second, true, maxAnswer
	c, err := conn.Dial(ctx, addr, o)
	if err != nil {
		n.Err = err
		return n
	}
	defer func() { _ = c.Close() }()
	n.Err = n.ask(c)
	return n
}

func (n *Node) ask(c *conn.Conn) error {
	info, err := c.Info("replication")
	if err != nil {
		return err
	}
	n.Role = info["role"]
	n.LinkUp = info["master_link_status"] == "up"
	n.ReplID = info["master_replid"]
	if n.Offset, err = strconv.ParseInt(info["master_repl_offset"], 10, 64); err != nil {
		return fmt.Errorf("INFO replication at %s: master_repl_offset: %w", n.Addr, err)
	}
	n.ReplID2 = info["master_replid2"]
	// Absent in a server that is not what it says, and then nothing continues.
	n.SecondOff, _ = strconv.ParseInt(info["second_repl_offset"], 10, 64)
	n.FirstByte = -1
	if info["repl_backlog_active"] == "1" {
		n.FirstByte, _ = strconv.ParseInt(info["repl_backlog_first_byte_offset"], 10, 64)
	}
	if n.Role == "slave" {
		n.MasterAddr = info["master_host"] + ":" + info["master_port"]
	}
	server, err := c.Info("server")
	if err != nil {
		return err
	}
	n.Version, n.RunID = server["redis_version"], server["run_id"]
	if v := server["valkey_version"]; v != "" {
		n.Version, n.Valkey = v, true
	}
	if server["redis_mode"] != "cluster" {
		return nil
	}
	n.Cluster = true
	r, err := c.Do("CLUSTER", "NODES")
	if err != nil {
		return err
	}
	return n.readClusterNodes(r.Text)
}

// readClusterNodes finds this node's shard in CLUSTER NODES: the slots of the
// master that it is, or follows.
func (n *Node) readClusterNodes(text string) error {
	nodes, err := route.ParseNodes(text, n.Addr)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Addr, err)
	}
	byID := map[string]*route.ClusterNode{}
	var owner *route.ClusterNode
	for i := range nodes {
		byID[nodes[i].ID] = &nodes[i]
		if nodes[i].Is("myself") {
			owner = &nodes[i]
		}
	}
	if owner == nil {
		return fmt.Errorf("CLUSTER NODES at %s names no node as itself", n.Addr)
	}
	n.NodeID = owner.ID
	if owner.Is("slave") {
		if owner = byID[owner.Master]; owner == nil {
			return fmt.Errorf("CLUSTER NODES at %s: the master of this replica is not listed", n.Addr)
		}
	}
	n.OwnerID, n.Slots, n.Migrating = owner.ID, owner.Slots, owner.Migrating
	return nil
}

// CanContinue reports whether the node would grant a partial resync from a
// position (replication.c, masterTryPartialResynchronization).
func (n *Node) CanContinue(pos Position) bool {
	next := pos.Offset + 1
	if pos.Zero() || n.FirstByte < 0 || next < n.FirstByte || next > n.Offset+1 {
		return false
	}
	return pos.ReplID == n.ReplID || pos.ReplID == n.ReplID2 && next <= n.SecondOff
}

// ErrNoSource is wrapped when no candidate can serve the stream now.
var ErrNoSource = errors.New("no pod of the source can serve this shard now")

// SlotsChangedError says that no pod of the source has exactly the slots of
// the shard any more.
type SlotsChangedError struct {
	Want, Have route.SlotSet
	Addr       string
}

func (e *SlotsChangedError) Error() string {
	return fmt.Sprintf("the slots of the shard have changed at the source: the shard holds %s, the pod at %s serves %s; they are copied again when the source has settled", e.Want, e.Addr, e.Have)
}

// SlotsMovingError says that slots of the shard are leaving its master or
// coming to it. Two streams then carry parts of one key's history in no order.
type SlotsMovingError struct{ Addr string }

func (e *SlotsMovingError) Error() string {
	return fmt.Sprintf("slots of the shard are being moved at the source (%s); holding back until they have settled, then copying again", e.Addr)
}

// Settled asks a connected master whether its slots are the wanted ones and
// none is on the move.
func Settled(c *conn.Conn, want route.SlotSet) error {
	n := Node{Addr: c.Addr}
	if err := n.ask(c); err != nil {
		return err
	}
	if n.Cluster && (n.Migrating || want != nil && !n.Slots.Equal(want)) {
		return &SlotsMovingError{c.Addr}
	}
	return nil
}

// Choose probes all candidates and returns them in the order in which they
// should be tried: first those that can continue from pos, and among them and
// the others replicas of the shard whose link is up and that are near the
// master, then its master. A client of a master counts as its replica for
// Sentinel and for the operators, with bad results, so a master comes last.
// want is nil when any shard is right (no [link]).
func Choose(ctx context.Context, addrs []string, o conn.Options, want route.SlotSet, pos Position) (ordered []Node, master *Node, err error) {
	nodes := ProbeAll(ctx, addrs, o)
	var errs []error
	var changed *SlotsChangedError
	var masters, replicas []Node
	for _, n := range nodes {
		switch {
		case n.Err != nil:
			errs = append(errs, n.Err)
		case n.Cluster && n.Role == "slave" && n.stale(nodes):
			errs = append(errs, fmt.Errorf("%s does not know yet that its master's slots have changed", n.Addr))
		case n.Cluster && want != nil && !n.Slots.Equal(want):
			if n.Slots.Overlaps(want) {
				changed = &SlotsChangedError{Want: want, Have: n.Slots, Addr: n.Addr}
			}
		case n.Cluster && n.Slots.Count() == 0:
			// A master without slots has lost its nodes.conf, or is new: its
			// keyspace is not this shard's.
			errs = append(errs, fmt.Errorf("%s serves no slots", n.Addr))
		case n.Role == "master" && n.Migrating:
			return nil, nil, fmt.Errorf("%w: %w", ErrNoSource, &SlotsMovingError{n.Addr})
		case n.Role == "master":
			masters = append(masters, n)
		case !n.LinkUp:
			errs = append(errs, fmt.Errorf("%s is a replica without a link to its master", n.Addr))
		default:
			replicas = append(replicas, n)
		}
	}
	if len(masters) > 1 && !samePlace(masters) {
		return nil, nil, fmt.Errorf("%w: %s and %s both say that they are its master", ErrNoSource, masters[0].Addr, masters[1].Addr)
	}
	if len(masters) > 0 {
		master = &masters[0]
	}
	for _, r := range replicas {
		// A replica far behind would make us lag with it.
		if master == nil || master.Offset-r.Offset < 64<<20 {
			ordered = append(ordered, r)
		}
	}
	ordered = append(ordered, masters...)
	sort.SliceStable(ordered, func(i, k int) bool { return ordered[i].CanContinue(pos) && !ordered[k].CanContinue(pos) })
	if len(ordered) == 0 {
		if changed != nil {
			return nil, nil, changed
		}
		return nil, nil, fmt.Errorf("%w: %w", ErrNoSource, errors.Join(errs...))
	}
	return ordered, master, nil
}

// stale reports whether the replica's master, which is among the nodes, says
// that it has other slots than the replica believes.
func (n *Node) stale(nodes []Node) bool {
	for i := range nodes {
		m := &nodes[i]
		if m.Err == nil && m.Role == "master" && m.NodeID == n.OwnerID && !m.Slots.Equal(n.Slots) {
			return true
		}
	}
	return false
}

// Masters returns the masters of a cluster with their slots, when all slots
// have one and none is on the move.
func Masters(ctx context.Context, addrs []string, o conn.Options) ([]Node, error) {
	var masters []Node
	var errs []error
	seen, covered := map[string]bool{}, route.NewSlotSet()
	for _, n := range ProbeAll(ctx, addrs, o) {
		switch {
		case n.Err != nil:
			errs = append(errs, n.Err)
		case !n.Cluster || n.Role != "master" || n.Slots.Count() == 0 || seen[n.NodeID]:
		case n.Migrating:
			return nil, fmt.Errorf("%w: %w", ErrNoSource, &SlotsMovingError{n.Addr})
		case covered.Overlaps(n.Slots):
			return nil, fmt.Errorf("%w: two masters say that they have the slots %s", ErrNoSource, covered.And(n.Slots))
		default:
			seen[n.NodeID] = true
			covered.Merge(n.Slots)
			masters = append(masters, n)
		}
	}
	if covered.Count() != route.SlotCount {
		return nil, fmt.Errorf("%w: %d of %d slots of the source have a master that answers; %w", ErrNoSource, covered.Count(), route.SlotCount, errors.Join(errs...))
	}
	return masters, nil
}

// samePlace reports whether all addresses lead to one server (two Services in
// front of one pod).
func samePlace(nodes []Node) bool {
	for _, n := range nodes {
		if n.RunID != nodes[0].RunID {
			return false
		}
	}
	return true
}

// ProbeAll asks all addresses at the same time.
func ProbeAll(ctx context.Context, addrs []string, o conn.Options) []Node {
	nodes := make([]Node, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		wg.Go(func() { nodes[i] = Probe(ctx, a, o) })
	}
	wg.Wait()
	return nodes
}
