package apply

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// generation is how the slots were divided when the frontiers were begun. It
// is written in one step, with the checkpoint's other fields, to the node
// that holds the keys of the pair.
type generation struct {
	Number int64     `json:"number"`
	Epoch  int64     `json:"epoch,omitempty"` // in the names of its frontiers; 0: that of the checkpoint
	Token  string    `json:"token"`           // of the process that began it: frontiers of a copy before it are not these
	Parts  []genPart `json:"parts"`
	Ahead  int64     `json:"ahead,omitempty"` // as frontierAhead, of all nodes before it began
	set    bool      // read or written
}

// genPart is one node's slots and where they stood when the generation began.
type genPart struct {
	Tag      string           `json:"tag"` // leads to a slot of the node
	Slots    string           `json:"slots"`
	Frontier int64            `json:"frontier"`
	Behind   map[string]int64 `json:"behind,omitempty"` // slot -> offset
}

// ckptGeneration is the field of the checkpoint that holds the generation.
const ckptGeneration = wire.CkptGeneration

// Fields of a frontier key.
const (
	frontierOffset = "offset"
	// frontierAhead is up to where the node may have commands that were sent
	// without a script. Nothing is left out for it; it tells what a node has of
	// a history that its source has lost.
	frontierAhead = "ahead"
	// frontierSlot starts the field of a slot with a frontier of its own.
	frontierSlot = "s"
)

func (t *Cluster) frontierKey(tag string) string { return t.partKey(tag) + "frontier" }

// pendingKey is the set of the names of the node's pending keys.
func (t *Cluster) pendingKey(tag string) string { return t.partKey(tag) + "pending" }

func (t *Cluster) partKey(tag string) string {
	// A checkpoint that was carried to another epoch keeps its frontiers.
	epoch := cmp.Or(t.gen.Epoch, t.o.Identity.Epoch)
	return fmt.Sprintf("%s{%s}:%s:%d:%d:%d-%s:", wire.KeyPrefix, tag, t.o.Identity.Pair, t.o.Identity.Shard, epoch, t.gen.Number, t.gen.Token)
}

// loadFrontiers reads the generation and the frontiers of its parts, applies
// them to the nodes of now, and returns the least of them.
func (t *Cluster) loadFrontiers() (int64, error) {
	at, least, err := t.readFrontiers()
	if err != nil {
		return 0, err
	}
	same := len(t.gen.Parts) == len(t.nodes)
	for _, n := range t.nodes {
		n.place(at)
		part := t.gen.partOf(n.slots)
		if part == nil {
			same = false
			continue
		}
		n.tag = part.Tag
	}
	if !same {
		if err := t.beginGeneration(); err != nil {
			return 0, err
		}
	}
	return least, nil
}

// readFrontiers reads the generation and how far each slot is, and returns the
// least of them too. It writes nothing.
func (t *Cluster) readFrontiers() (*[route.SlotCount]int64, int64, error) {
	f, err := fence.ReadHash(t.holder.c, wire.CheckpointKey(t.o.Identity.Pair, t.o.Identity.Shard))
	if err != nil {
		return nil, 0, err
	}
	var at, extra [route.SlotCount]int64
	if f[ckptGeneration] == "" { // written by the plugin: every node is there
		offset, err := strconv.ParseInt(f[wire.CkptOffset], 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("checkpoint at %s: offset: %w", t.holder.addr, err)
		}
		for slot := range at {
			at[slot] = offset
		}
		t.gen = generation{Number: t.gen.Number}
		return &at, offset, nil
	}
	var g generation
	if err := json.Unmarshal([]byte(f[ckptGeneration]), &g); err != nil {
		return nil, 0, fmt.Errorf("checkpoint at %s: generation: %w", t.holder.addr, err)
	}
	g.set = true
	t.gen = g
	t.ahead = max(t.ahead, g.Ahead)
	for i := range g.Parts {
		if err := t.readPart(&g.Parts[i], &at, &extra); err != nil {
			return nil, 0, err
		}
		if err := t.readPending(&g.Parts[i]); err != nil {
			return nil, 0, err
		}
	}
	least := int64(-1)
	for slot := range at {
		at[slot] = max(at[slot], extra[slot])
		t.ahead = max(t.ahead, at[slot])
		if least < 0 || at[slot] < least {
			least = at[slot]
		}
	}
	return &at, least, nil
}

func (g *generation) partOf(slots route.SlotSet) *genPart {
	text := slots.String()
	for i := range g.Parts {
		if g.Parts[i].Slots == text {
			return &g.Parts[i]
		}
	}
	return nil
}

// readPart reads one frontier key. A slot's own field counts for its part; in
// another part's key it was written while the slot was on the move, and what
// it says is at least done.
func (t *Cluster) readPart(p *genPart, at, extra *[route.SlotCount]int64) error {
	slots, err := route.ParseSlots(p.Slots)
	if err != nil {
		return fmt.Errorf("checkpoint at %s: %w", t.holder.addr, err)
	}
	key := t.frontierKey(p.Tag)
	n := t.owner[route.Slot([]byte(key))]
	f, err := fence.ReadHash(n.c, key)
	if err != nil {
		return err
	}
	whole, behind := p.Frontier, map[int]int64{}
	for s, off := range p.Behind {
		slot, err := strconv.Atoi(s)
		if err != nil || slot < 0 || slot >= route.SlotCount {
			return fmt.Errorf("checkpoint at %s: slot %q", t.holder.addr, s)
		}
		behind[slot] = off
	}
	// Once the node's offset has moved, it covers the slots that were behind.
	moved := false
	if v, ok := f[frontierOffset]; ok {
		off, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("frontier at %s: offset: %w", n.addr, err)
		}
		if moved = off > whole; moved {
			whole, behind = off, nil
		}
	}
	if v, ok := f[frontierAhead]; ok {
		off, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("frontier at %s: ahead: %w", n.addr, err)
		}
		t.ahead = max(t.ahead, off)
	}
	for name, v := range f {
		s, ok := strings.CutPrefix(name, frontierSlot)
		slot, err := strconv.Atoi(s)
		if !ok || err != nil || slot < 0 || slot >= route.SlotCount {
			continue
		}
		off, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("frontier at %s: slot %d: %w", n.addr, slot, err)
		}
		switch {
		case !slots.Has(slot):
			extra[slot] = max(extra[slot], off)
		case !moved:
			if was, ok := behind[slot]; ok {
				behind[slot] = max(was, off)
			}
		}
	}
	for slot := range route.SlotCount {
		if slots.Has(slot) {
			at[slot] = whole
			if off, ok := behind[slot]; ok {
				at[slot] = min(off, whole)
			}
		}
	}
	return nil
}

// place gives a node the greatest frontier of its slots, and those that are
// behind it their own.
func (n *clusterNode) place(at *[route.SlotCount]int64) {
	n.frontier, n.behind = -1, nil
	for slot := range at {
		if n.slots.Has(slot) {
			n.frontier = max(n.frontier, at[slot])
		}
	}
	for slot := range at {
		if n.slots.Has(slot) && at[slot] < n.frontier {
			if n.behind == nil {
				n.behind = map[int]int64{}
			}
			n.behind[slot] = at[slot]
		}
	}
}

// beginGeneration divides the slots as they are now, with the frontiers that
// the nodes have in memory.
func (t *Cluster) beginGeneration() error {
	text, err := t.nextGeneration()
	if err != nil {
		return err
	}
	if err := t.carryPending(); err != nil {
		return err
	}
	key := wire.CheckpointKey(t.o.Identity.Pair, t.o.Identity.Shard)
	if _, err := t.holder.c.Do("HSET", key, ckptGeneration, text); err != nil {
		return err
	}
	return t.replicateHolder()
}

// replicateHolder waits until a replica of the holder has the generation: an
// old one, brought back by a failover, would name frontiers that are not
// written any more. A holder without replicas has nothing to wait for.
func (t *Cluster) replicateHolder() error {
	if t.holder.replicas == 0 { // when we connected; there may be one since
		info, err := t.holder.c.Info("replication")
		if err != nil {
			return err
		}
		if info["connected_slaves"] == "0" {
			return nil
		}
	}
	_, err := t.holder.c.Do("WAIT", "1", "1000")
	return err
}

// nextGeneration numbers a new generation and returns its text.
func (t *Cluster) nextGeneration() (string, error) {
	g := generation{Number: t.gen.Number + 1, Epoch: t.o.Identity.Epoch, Token: t.o.Identity.Token, Ahead: t.ahead, set: true}
	for _, n := range t.nodes {
		tag, err := route.TagIn(n.slots)
		if err != nil {
			return "", err
		}
		n.tag = tag
		p := genPart{Tag: tag, Slots: n.slots.String(), Frontier: n.frontier}
		for slot, off := range n.behind {
			if p.Behind == nil {
				p.Behind = map[string]int64{}
			}
			p.Behind[strconv.Itoa(slot)] = off
		}
		g.Parts = append(g.Parts, p)
	}
	text, err := json.Marshal(g)
	if err != nil {
		return "", err
	}
	t.gen = g
	return string(text), nil
}

// moved notes that a slot has everything up to mark. Beyond the frontier it
// moves the whole node: commands are applied in the order of the stream.
func (n *clusterNode) moved(slot int, mark int64) {
	switch {
	case mark > n.frontier:
		n.frontier, n.behind = mark, nil
	case n.behind != nil:
		n.behind[slot] = max(n.behind[slot], mark)
	}
}

// floor is the offset up to which a key's slot takes no commands any more.
func (t *Cluster) floor(k Key) int64 {
	slot := route.Slot([]byte(k.Name))
	n := t.owner[slot]
	if off, ok := n.behind[slot]; ok {
		return off
	}
	return n.frontier
}

// done reports whether a slot already has the command that ends at offset.
func (n *clusterNode) done(slot int, end int64) bool {
	if off, ok := n.behind[slot]; ok {
		return end <= off
	}
	return end <= n.frontier
}
