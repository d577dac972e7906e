package compare

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// master is a server that holds a part of a side's data.
type master struct {
	addr  string
	slots route.SlotSet // nil when the side is no cluster
	node  *node
}

type masters []master

func (m masters) close() {
	for _, one := range m {
		one.node.close()
	}
}

// side describes the masters to the comparison.
func (m masters) side(name string) verify.Side {
	s := verify.Side{Name: name}
	var ranges []verify.SlotRange
	for i, one := range m {
		s.Nodes = append(s.Nodes, one.node)
		s.Cluster = s.Cluster || one.slots != nil
		for slot := range route.SlotCount {
			if one.slots.Has(slot) {
				ranges = append(ranges, verify.SlotRange{From: slot, To: slot, Node: i})
			}
		}
	}
	if s.Cluster {
		s.Owner = verify.SlotOwner(ranges)
	}
	return s
}

// openSource finds the masters among all candidates. A slot that nobody
// serves, or two at once, makes the comparison impossible.
func openSource(ctx context.Context, cfg *config.Config) (masters, error) {
	var found masters
	var errs []error
	seen := map[string]bool{}
	covered := make(route.SlotSet, route.SlotCount/64)
	cluster := false
	for _, n := range psync.ProbeAll(ctx, cfg.SourceAddrs, cfg.Source) {
		cluster = cluster || n.Cluster
		switch {
		case n.Err != nil:
			errs = append(errs, n.Err)
			continue
		case n.Role != "master" || n.Cluster && n.Slots.Count() == 0 || seen[n.RunID]:
			continue // two Services may lead to one pod
		case !n.Cluster && len(found) > 0:
			return nil, errSlots("%s and %s both say that they are its master", found[0].addr, n.Addr)
		case n.Cluster && n.Slots.Overlaps(covered):
			return nil, errSlots("%s serves slots that another master serves as well", n.Addr)
		}
		seen[n.RunID] = true
		one := master{addr: n.Addr, node: newNode(n.Addr, cfg.Source)}
		if n.Cluster {
			one.slots = n.Slots
			covered.Merge(n.Slots)
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, errSlots("no master answers: %w", errors.Join(errs...))
	}
	if n := covered.Count(); cluster && n != route.SlotCount {
		return nil, errSlots("%d of %d slots have a master that answers: %w", n, route.SlotCount, errors.Join(errs...))
	}
	return found, nil
}

// writes tells whether a source was written to between two calls: by the
// counter of changes that Redis keeps for its snapshots (server.dirty), which
// expiry does not move.
func (m masters) writes() (string, error) {
	var b strings.Builder
	for _, one := range m {
		replies, err := one.node.Pipeline(context.Background(), 0, [][]string{{"INFO", "persistence"}, {"INFO", "server"}})
		if err != nil {
			return "", err
		}
		for i, names := range [][]string{{"rdb_changes_since_last_save", "rdb_last_save_time"}, {"run_id"}} {
			text, ok := replies[i].(string)
			if !ok {
				return "", fmt.Errorf("INFO at %s: %v", one.addr, replies[i])
			}
			fields := conn.Fields(text)
			for _, name := range names {
				fmt.Fprintf(&b, "%s %s ", name, fields[name])
			}
		}
	}
	return b.String(), nil
}

// target is the other side, with what reads its checkpoints.
type target struct {
	masters
	options apply.Options
	cluster bool
	look    *apply.Looker
}

func openTarget(ctx context.Context, cfg *config.Config, log *slog.Logger) (*target, error) {
	t := &target{options: targetOptions(cfg, log), cluster: cfg.SyncFile.Target.Type == "cluster"}
	var err error
	if t.look, err = apply.Look(ctx, t.options, t.cluster); err != nil {
		return nil, err
	}
	for _, m := range t.look.Masters {
		t.masters = append(t.masters, master{addr: m.Addr, slots: m.Slots, node: newNode(m.Addr, cfg.Target)})
	}
	return t, nil
}

func (t *target) close() {
	t.look.Close()
	t.masters.close()
}

// dialTimeout is longer than a replicator's: nothing waits for this one.
const dialTimeout = 5 * time.Second
