package apply

import (
	"context"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// Master is a server of the target that can be written to. Slots is nil where
// the target is no cluster.
type Master struct {
	Addr  string
	Slots route.SlotSet
}

// Looker reads from a target without taking a shard of it: it writes nothing
// and shuts nobody out.
type Looker struct {
	Masters []Master

	o     Options
	nodes []*clusterNode // of a cluster
	c     *conn.Conn     // of any other target
}

// Look connects to the masters of a target.
func Look(ctx context.Context, o Options, cluster bool) (*Looker, error) {
	l := &Looker{o: o}
	if !cluster {
		c, err := o.dialMaster(ctx)
		if err != nil {
			return nil, err
		}
		l.c, l.Masters = c, []Master{{Addr: c.Addr}}
		return l, nil
	}
	nodes, _, err := o.clusterNodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.c, err = conn.Dial(ctx, n.addr, o.Conn); err != nil {
			l.Close()
			return nil, err
		}
		l.nodes = append(l.nodes, n)
		l.Masters = append(l.Masters, Master{n.addr, n.slots})
	}
	return l, nil
}

// Close ends the connections.
func (l *Looker) Close() {
	if l.c != nil {
		_ = l.c.Close()
	}
	for _, n := range l.nodes {
		_ = n.c.Close()
	}
}

// holder is the connection to the server that holds the keys of the pair.
func (l *Looker) holder(pair string) *clusterNode {
	slot := route.Slot([]byte(wire.FenceKey(pair)))
	for _, n := range l.nodes {
		if n.slots.Has(slot) {
			return n
		}
	}
	return &clusterNode{c: l.c}
}

// Shard gives the slots that a shard is applied for, "" where there is no
// checkpoint of it.
func (l *Looker) Shard(pair string, shard int) (slots string, err error) {
	f, err := fence.ReadHash(l.holder(pair).c, wire.CheckpointKey(pair, shard))
	return f[wire.CkptSlots], err
}

// Checkpoint reads how far a shard is applied.
func (l *Looker) Checkpoint(id fence.Identity) (fence.Checkpoint, error) {
	holder := l.holder(id.Pair)
	ck, err := fence.ReadCheckpoint(holder.c, id)
	if err != nil || l.c != nil || !ck.Usable() {
		return ck, err
	}
	t := &Cluster{o: l.o, nodes: l.nodes, holder: holder}
	t.o.Identity = id
	for _, n := range l.nodes {
		for slot := range route.SlotCount {
			if n.slots.Has(slot) {
				t.owner[slot] = n
			}
		}
	}
	_, ck.Pos.Offset, err = t.readFrontiers()
	return ck, err
}
