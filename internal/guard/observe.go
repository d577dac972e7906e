package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// PodState is what one pod said of itself.
type PodState struct {
	Pod   string
	Ready bool // as Kubernetes said when the instance was discovered
	RunID string
	Role  topology.Role

	ReplID, ReplID2 string
	Offset          int64            // master_repl_offset, of a replica too
	SecondOffset    int64            // up to which ReplID2 holds
	LinkUp          bool             // of a replica to its master
	Backlog         bool             // it keeps one
	Slots           topology.SlotSet // of a master

	Fence        int64 // as this node holds it; 0: not there, or not its slot
	WritesClosed bool
	Protected    bool
	ProtectWhy   string // why it is not

	MinReplicas   string // min-replicas-to-write
	GoodReplicas  int64  // of a master that counts them: those whose lag is low enough
	LacksReplicas bool   // a master that refuses writes (NOREPLICAS)

	Err error // it gave no answer; nothing else is known then
}

// ShardMaster is the one pod that takes the writes of some slots.
type ShardMaster struct {
	Slots           topology.SlotSet
	Pod, RunID      string
	ReplID, ReplID2 string
	Offset          int64
	SecondOffset    int64
}

// State is what all pods said.
type State struct {
	Pods   []PodState
	Shards []ShardMaster // sorted by first slot
	Fence  int64         // 0: missing, or its holder is not known
	Holder string        // pod that holds the keys of the pair; "" when no master has their slot

	WritesClosed bool   // on every pod
	Protected    bool   // on every pod
	ProtectWhy   string // "" when Protected
}

// Pod finds a pod; nil when there is none.
func (s *State) Pod(name string) *PodState {
	for i := range s.Pods {
		if s.Pods[i].Pod == name {
			return &s.Pods[i]
		}
	}
	return nil
}

// Observe asks every pod once. A pod that gives no answer is part of the
// state. Two pods that both say that they are the master of a shard are an
// error: nobody knows which one takes the writes.
func (s *Site) Observe(ctx context.Context) (State, error) {
	state := State{Pods: make([]PodState, len(s.inst.Pods))}
	for i, p := range s.inst.Pods {
		state.Pods[i] = PodState{Pod: p.Name, Ready: p.Ready}
	}
	err := s.each(ctx, "looking at the instance", func(pod string, c *redisx.Client) error {
		return s.observePod(ctx, c, &state.Pods[s.indexOf(pod)])
	})
	var failed *PodsError
	if errors.As(err, &failed) {
		for _, p := range failed.Pods {
			state.Pods[s.indexOf(p.Pod)].Err = p.Err
		}
	}
	if ctx.Err() != nil {
		return state, context.Cause(ctx)
	}
	return state, s.addUp(&state)
}

// observePod puts all questions at once.
func (s *Site) observePod(ctx context.Context, c *redisx.Client, p *PodState) error {
	facts, err := c.Observe(ctx, s.opts.Pair, s.inst.Mode == topology.ModeCluster)
	if err != nil {
		return err
	}
	*p = PodState{Pod: p.Pod, Ready: p.Ready}
	info := facts.Info
	p.RunID, p.ReplID, p.ReplID2 = info["run_id"], info["master_replid"], info["master_replid2"]
	p.Offset, p.SecondOffset = info.Int("master_repl_offset"), info.Int("second_repl_offset")
	p.LinkUp, p.Backlog = info["master_link_status"] == "up", info["repl_backlog_active"] == "1"
	p.Fence = facts.Fence
	p.WritesClosed = facts.MinReplicas.ToWrite == windowReplicas && facts.MinReplicas.MaxLag != "0"
	p.MinReplicas, p.GoodReplicas = facts.MinReplicas.ToWrite, info.Int("min_slaves_good_slaves")
	// The field is there only while the server counts them.
	_, counts := info["min_slaves_good_slaves"]
	p.LacksReplicas = counts && info["role"] == "master" && needs(facts.MinReplicas.ToWrite) > p.GoodReplicas
	switch info["role"] {
	case "master":
		p.Role = topology.RolePrimary
	case "slave":
		p.Role = topology.RoleReplica
	default:
		return fmt.Errorf("%s: its role is %q", c.Name(), info["role"])
	}
	if p.Role == topology.RolePrimary {
		if p.Slots = topology.AllSlots(); s.inst.Mode == topology.ModeCluster {
			if p.Slots, err = ownSlots(facts.ClusterNodes); err != nil {
				return fmt.Errorf("%s: %w", c.Name(), err)
			}
		}
	}
	switch {
	case s.opts.Vault == nil:
		p.ProtectWhy = errNoVault.Error()
	case facts.ACLErr != nil:
		p.ProtectWhy = facts.ACLErr.Error()
	case s.opts.Vault.Password() == "":
		p.ProtectWhy = "it was never protected"
	default:
		p.ProtectWhy = strings.Join(s.missing(p.Pod, facts.Users).Gaps, ", ")
	}
	p.Protected = p.ProtectWhy == ""
	return nil
}

// needs reads min-replicas-to-write; 0 when it says nothing.
func needs(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ownSlots are those of the line "myself". A slot on the move is still its
// owner's.
func ownSlots(text string) (topology.SlotSet, error) {
	nodes, err := topology.ParseClusterNodes(text)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Has("myself") {
			return n.Slots, nil
		}
	}
	return nil, errors.New("CLUSTER NODES: no line is marked as the node's own")
}

func (s *Site) addUp(state *State) error {
	state.WritesClosed, state.Protected = true, true
	var why []string
	slot := topology.KeySlot(wire.FenceKey(s.opts.Pair))
	for _, p := range state.Pods {
		if p.Err != nil {
			state.WritesClosed, state.Protected = false, false
			why = append(why, "pod "+p.Pod+" gives no answer")
			continue
		}
		state.WritesClosed = state.WritesClosed && p.WritesClosed
		if !p.Protected {
			state.Protected = false
			why = append(why, "pod "+p.Pod+": "+p.ProtectWhy)
		}
		if p.Role != topology.RolePrimary || len(p.Slots) == 0 { // a master without slots takes no writes
			continue
		}
		for _, other := range state.Shards {
			if overlap(other.Slots, p.Slots) {
				return fmt.Errorf("%s: %s: pods %s and %s both say that they are the master", s.session.Client().Where(), s.inst.Ref(), other.Pod, p.Pod)
			}
		}
		state.Shards = append(state.Shards, ShardMaster{
			Slots: p.Slots, Pod: p.Pod, RunID: p.RunID, ReplID: p.ReplID, ReplID2: p.ReplID2, Offset: p.Offset, SecondOffset: p.SecondOffset,
		})
		if p.Slots.Contains(slot) {
			state.Holder, state.Fence = p.Pod, p.Fence
		}
	}
	state.ProtectWhy = strings.Join(why, "; ")
	slices.SortFunc(state.Shards, func(a, b ShardMaster) int { return cmp.Compare(a.Slots[0].From, b.Slots[0].From) })
	return nil
}

func overlap(a, b topology.SlotSet) bool {
	for _, x := range a {
		for _, y := range b {
			if x.From <= y.To && y.From <= x.To {
				return true
			}
		}
	}
	return false
}
