package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// Cluster writes to a Redis Cluster, one connection per master.
//
// MULTI cannot span slots there, so a batch of a node is one script that runs
// its commands and moves the frontier of the node, a key on the same node: the
// offset up to which this node has everything. A restart reads from the least
// frontier and each node leaves out what it has. Batches of commands that can
// be repeated at any time (SET, DEL) go without a script.
//
// Frontiers belong to a generation: a division of the slots among the nodes,
// kept with the checkpoint. When slots have moved, a new generation begins
// with the frontiers as they are, and slots that are behind their new node
// have one of their own until the node has caught up (see frontier.go).
type Cluster struct {
	o           Options
	incarnation string
	rdbVersion  int
	nodes       []*clusterNode
	owner       [route.SlotCount]*clusterNode
	holder      *clusterNode
	gen         generation
	spare       []*chunk // used in a snapshot, to be filled again

	now             psync.Position // of the last command taken
	flushed         psync.Position // everything before it is in batches that were sent
	flushedAt       time.Time
	committed       psync.Position // everything before it is applied
	advanced        time.Time      // when the frontiers were last written
	recorded        int64          // what they say
	recordedPending int            // how many pending keys the checkpoint tells of
	force           bool
	savedNow        psync.Position
	inTx            bool // between Save and Pass or Rollback
	sentInTx        bool // a batch was sent since Save
	keys            []int
	packed          []byte // of the batch that is being sent

	late []looseCommand // see divide

	pendingKeys
	stale   []Key // pending keys read from the target, with the frontiers
	writing int64 // end of the command being taken
	// streaming: the checkpoint in the target is one to go on from.
	streaming bool
	// ahead is the end of the last command of the stream that was sent to any
	// node.
	ahead int64
}

// clusterNode is a master of the target.
type clusterNode struct {
	id, addr, runID string
	slots           route.SlotSet
	replicas        int // that CLUSTER NODES lists, in whatever state
	server          rewrite.Server
	c               *conn.Conn

	tag      string
	frontier int64
	behind   map[int]int64 // slots with a frontier of their own, lower than the node's

	chunk *chunk
	sent  []*chunk

	cur, prev, spare *nodeBatch
}

// NewCluster returns a writer that is not connected yet.
func NewCluster(o Options) *Cluster { return &Cluster{o: o} }

// Target says which server was asked for the others.
func (t *Cluster) Target() wire.TargetStatus {
	s := wire.TargetStatus{Type: "cluster", Version: t.version()}
	for i, n := range t.nodes {
		s.Address += "," + n.addr
		if n.c != nil && (i == 0 || s.User == wire.SyncUser) {
			s.User = n.c.User
		}
	}
	s.Address = strings.TrimPrefix(s.Address, ",")
	return s
}

// Delivery of a cluster target.
func (t *Cluster) Delivery() wire.Delivery { return wire.ExactlyOnce }

// RDBVersion is the least payload version of the nodes' own DUMP.
func (t *Cluster) RDBVersion() int { return t.rdbVersion }

// Servers are the masters.
func (t *Cluster) Servers() []rewrite.Server {
	list := make([]rewrite.Server, len(t.nodes))
	for i, n := range t.nodes {
		list[i] = n.server
	}
	return list
}

// version is that of the node that holds our keys.
func (t *Cluster) version() string {
	if t.holder == nil {
		return ""
	}
	return t.holder.server.Text
}

// Close ends all connections.
func (t *Cluster) Close() error {
	for _, n := range t.nodes {
		if n.c != nil {
			_ = n.c.Close()
			n.c = nil
		}
	}
	return nil
}

// Take connects to all masters, waits out what passes, and returns the
// checkpoint.
func (t *Cluster) Take(ctx context.Context) (fence.Checkpoint, error) {
	var b backoff
	t.ahead = 0
	for {
		ck, err := t.connect(ctx)
		if err == nil {
			t.o.Waiting(nil)
			for _, n := range t.nodes {
				n.chunk, n.sent, n.cur, n.prev = newChunk(), nil, &nodeBatch{}, nil
			}
			t.clear()
			t.late = nil
			for _, k := range t.stale {
				t.pend(k, ck.Pos.Offset-1, t.floor(k)) // the command was before it
			}
			return ck, nil
		}
		if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
			return fence.Checkpoint{}, err
		}
	}
}

// TopologyError says that the target's cluster is not whole.
type TopologyError struct{ Reason string }

func (e *TopologyError) Error() string { return "the target cluster is not usable: " + e.Reason }

// connect asks for the nodes, dials the masters, takes the shard and reads
// the frontiers. The nodes of before, and the work they carry, are replaced
// only when all of it went well.
func (t *Cluster) connect(ctx context.Context) (fence.Checkpoint, error) {
	_ = t.Close()
	nodes, replicas, err := t.o.clusterNodes(ctx)
	if err != nil {
		return fence.Checkpoint{}, err
	}
	holder, writers, err := t.dialMasters(ctx, nodes)
	if err == nil {
		others := t.dialReplicas(ctx, replicas)
		var ck fence.Checkpoint
		if ck, err = t.takeNodes(nodes, holder, writers, others); err == nil {
			return ck, nil
		}
	}
	_ = t.Close()
	for _, c := range writers {
		_ = c.Close()
	}
	return fence.Checkpoint{}, err
}

// dialMasters connects to every master and returns the one that holds the
// keys of the pair.
func (t *Cluster) dialMasters(ctx context.Context, nodes []*clusterNode) (holder *clusterNode, writers []*conn.Conn, err error) {
	holderSlot := route.Slot([]byte(wire.FenceKey(t.o.Identity.Pair)))
	for _, n := range nodes {
		if n.c, err = conn.Dial(ctx, n.addr, t.o.Conn); err != nil {
			return nil, writers, err
		}
		writers = append(writers, n.c)
		if n.slots.Has(holderSlot) {
			holder = n
		}
		info, err := n.c.Info("server")
		if err != nil {
			return nil, writers, err
		}
		n.runID, n.server = info["run_id"], rewrite.ParseServer(info)
	}
	return holder, writers, nil
}

func (t *Cluster) takeNodes(nodes []*clusterNode, holder *clusterNode, writers, others []*conn.Conn) (fence.Checkpoint, error) {
	defer func() {
		for _, c := range others {
			_ = c.Close()
		}
	}()
	inc, id, ck, err := fence.Take(t.o.Identity, t.incarnation, holder.c, writers, others)
	if err != nil {
		return fence.Checkpoint{}, err
	}
	t.incarnation, t.o.Identity = inc, id
	if t.rdbVersion, _, _, err = features(holder.c, wire.IncarnationKey(t.o.Identity.Pair, t.o.Identity.Shard)); err != nil {
		return fence.Checkpoint{}, err
	}
	carry(t.nodes, nodes)
	t.nodes, t.holder = nodes, holder
	for _, n := range nodes {
		for slot := range route.SlotCount {
			if n.slots.Has(slot) {
				t.owner[slot] = n
			}
		}
	}
	t.stale = nil
	if ck.Usable() {
		if ck.Pos.Offset, err = t.loadFrontiers(); err != nil {
			return fence.Checkpoint{}, err
		}
	}
	return ck, nil
}

// carry hands the work of the old nodes to the new ones where they are the
// same server.
func carry(from, to []*clusterNode) {
	for _, n := range to {
		n.chunk, n.cur = newChunk(), &nodeBatch{}
		for _, o := range from {
			if o.id == n.id && o.runID == n.runID {
				n.chunk, n.sent, n.cur, n.prev = o.chunk, o.sent, o.cur, o.prev
			}
		}
	}
}

// dialReplicas reaches the other nodes, so that connections of a replicator
// before us that wait there are ended too. A node that cannot be reached
// cannot be written to through us; when it comes back as a replica it takes
// no writes.
func (t *Cluster) dialReplicas(ctx context.Context, addrs []string) []*conn.Conn {
	var list []*conn.Conn
	for _, a := range addrs {
		o := t.o.Conn
		o.DialTimeout = time.Second
		c, err := conn.Dial(ctx, a, o)
		if err != nil {
			t.o.Log.Warn("a replica of the target cannot be reached", "address", a, "error", err.Error())
			continue
		}
		list = append(list, c)
	}
	return list
}

// clusterNodes asks one node after the other for the whole cluster, until
// one gives an answer in which every slot has a reachable owner.
func (o *Options) clusterNodes(ctx context.Context) (masters []*clusterNode, replicas []string, err error) {
	var errs []error
	for _, a := range o.Addrs {
		masters, replicas, err := o.askNodes(ctx, a)
		if err == nil {
			return masters, replicas, nil
		}
		errs = append(errs, err)
	}
	return nil, nil, &NoMasterError{errors.Join(errs...)}
}

func (o *Options) askNodes(ctx context.Context, addr string) (masters []*clusterNode, replicas []string, err error) {
	c, err := conn.Dial(ctx, addr, o.Conn)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = c.Close() }()
	r, err := c.Do("CLUSTER", "NODES")
	if err != nil {
		return nil, nil, err
	}
	list, err := route.ParseNodes(r.Text, addr)
	if err != nil {
		return nil, nil, err
	}
	covered := 0
	copies := map[string]int{}
	for i := range list {
		if list[i].Is("slave") {
			copies[list[i].Master]++
		}
	}
	for i := range list {
		n := &list[i]
		switch {
		case !n.Usable():
		case n.Is("slave"):
			replicas = append(replicas, n.Addr)
		case n.Slots.Count() > 0:
			covered += n.Slots.Count()
			masters = append(masters, &clusterNode{id: n.ID, addr: n.Addr, slots: n.Slots, replicas: copies[n.ID]})
		}
	}
	if covered != route.SlotCount {
		return nil, nil, &TopologyError{fmt.Sprintf("%d of %d slots have a reachable master, says %s", covered, route.SlotCount, addr)}
	}
	return masters, replicas, nil
}
