package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// probeTimeout is how long a switch waits for a site until it counts as silent.
const probeTimeout = 10 * time.Second

// switchSite is a site that a switch works at.
type switchSite struct {
	found *Found
	guard Guard
	state guard.State
}

// Look observes both sites at the same time.
func (h *switchHands) Look(ctx context.Context) (switchover.World, error) {
	w := switchover.World{Sites: map[string]switchover.Site{}}
	if err := h.open(ctx); err != nil {
		return w, err
	}
	w.Record = h.session.Record
	views := make([]switchover.Site, 2)
	sites := make([]*switchSite, 2)
	group, work := errgroup.WithContext(ctx)
	for i, party := range h.session.InOrder() {
		group.Go(func() error {
			var err error
			views[i], sites[i], err = h.lookAt(work, party)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return w, err
	}
	for i, party := range h.session.InOrder() {
		w.Sites[party.Site.Name] = views[i]
		if sites[i] != nil {
			h.sites[party.Site.Name] = sites[i]
		}
	}
	w.Link = h.lookAtLink(ctx, w)
	var err error
	if h.opts.Operation.Verb == pair.VerbRecover {
		w.Divergence, err = h.diverged(ctx, w)
	}
	return w, err
}

// open reads the records anew, unless nothing was done since they were read.
func (h *switchHands) open(ctx context.Context) error {
	if !h.used {
		h.used = true
		return nil
	}
	h.closeSites()
	session, err := h.opts.Reopen(ctx)
	if err != nil {
		return err
	}
	h.session = session
	return nil
}

// lookAt asks one site. One that does not answer within the probe's time is no
// error: what it is good for then is decided elsewhere.
func (h *switchHands) lookAt(ctx context.Context, party *Party) (switchover.Site, *switchSite, error) {
	view := switchover.Site{Name: party.Site.Name}
	if party.Err != nil {
		view.Why = party.Err.Error()
		return view, nil, nil
	}
	view.Reachable = true
	probe, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer within %s", probeTimeout))
	defer cancel()
	site, err := openSite(probe, h.finder, h.session.Name, party)
	if err == nil {
		site.state, err = site.guard.Observe(probe)
	}
	if err == nil {
		err = h.judgeSite(probe, &view, site)
	}
	if err != nil {
		if ctx.Err() != nil {
			return view, nil, context.Cause(ctx)
		}
		view.Why = err.Error()
		return view, nil, nil
	}
	return view, site, nil
}

// openSite finds the instance of a site and opens its pods.
func openSite(ctx context.Context, finder Finder, pairName string, party *Party) (*switchSite, error) {
	inst, err := finder.Discover(ctx, party)
	if err != nil {
		return nil, err
	}
	site := &switchSite{found: &Found{Party: party, Instance: inst, Pair: pairName}}
	if site.found.Credentials, err = finder.Credentials(ctx, party, inst); err != nil {
		return nil, err
	}
	if site.found.Vault, err = openVault(ctx, party, pairName); err != nil {
		return nil, err
	}
	site.guard, err = finder.Guard(ctx, site.found)
	return site, err
}

// judgeSite turns what the pods said into what the steps depend on.
func (h *switchHands) judgeSite(ctx context.Context, view *switchover.Site, site *switchSite) error {
	inst, state := site.found.Instance, site.state
	if err := missingMasters(inst, state); err != nil {
		return err
	}
	view.Answers = true
	view.Replaced = replaced(h.session.Record.Body.Sites[view.Name], inst)
	view.Fence, view.Closed, view.Protected = state.Fence, state.WritesClosed, state.Protected
	var err error
	if view.Shards, err = plan.ShardsOf(*inst, nil); err != nil {
		return err
	}
	view.Protectable, view.WhyNot = h.protectable(ctx, site)
	if h.opts.Operation.Verb == pair.VerbRecover {
		view.Keys, err = h.countKeys(ctx, site)
	}
	return err
}

func (h *switchHands) protectable(ctx context.Context, site *switchSite) (bool, string) {
	if h.session.Spec.ProtectStandby == pair.ProtectNone {
		return false, "the pair is set to protectStandby: none"
	}
	pods, err := site.guard.Protection(ctx)
	if err != nil {
		return false, err.Error()
	}
	for _, pod := range pods {
		if pod.Err != nil {
			return false, "pod " + pod.Pod + ": " + pod.Err.Error()
		}
	}
	return true, ""
}

// fewKeys is up to how many keys it is worth looking which of them are ours.
const fewKeys = 200

// countKeys counts the keys of a site that are not ours; of many it counts all.
func (h *switchHands) countKeys(ctx context.Context, site *switchSite) (int64, error) {
	var total int64
	for _, shard := range site.state.Shards {
		err := site.guard.OnPod(ctx, shard.Pod, func(c *redisx.Client) error {
			info, err := c.Info(ctx, "keyspace")
			if err != nil {
				return err
			}
			var keys int64
			for _, n := range info.Keys() {
				keys += n
			}
			if keys > 0 && keys <= fewKeys {
				own, err := c.OwnKeys(ctx)
				if err != nil {
					return err
				}
				keys -= own
			}
			total += keys
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}

// lookAtLink says how the copying from the primary to the standby is, from the
// standby's checkpoints and the replicators.
func (h *switchHands) lookAtLink(ctx context.Context, w switchover.World) switchover.Link {
	r := w.Record
	link := switchover.Link{Why: "its checkpoints could not be read", Problem: "their site does not answer"}
	standby := h.sites[r.Standby()]
	if standby == nil || !w.Sites[r.Standby()].Answers {
		return link
	}
	checkpoints, err := standby.guard.Checkpoints(ctx, len(r.Body.Shards))
	if err != nil {
		link.Why += ": " + err.Error()
		return link
	}
	if link.Why, link.Complete = incomplete(checkpoints, r.Epoch); link.Complete {
		h.recognize(w, checkpoints)
	}
	lastHeard(&link, checkpoints, time.Now())
	party := standby.found.Party
	states, err := Replicators(ctx, party.Cluster, party.Site.Namespace, h.session.Name, party.Site.Name, r.Body.Shards)
	if err != nil {
		link.Problem = err.Error()
		return link
	}
	h.replicators = states
	link.Running, link.Problem = true, ""
	for _, state := range states {
		if problem := notRunning(state); problem != "" {
			link.Running, link.Problem = false, fmt.Sprintf("shard %d: %s", state.Shard, problem)
			continue
		}
		if unheard(state) {
			link.Unheard = fmt.Sprintf("the replicator of shard %d has not heard its master since it started", state.Shard)
		}
		link.Lag = max(link.Lag, time.Duration(state.Status.LagSeconds*float64(time.Second)))
	}
	return link
}

// lastHeard takes from the checkpoints when the primary was heard of last, and
// what the standby still lacks of what the primary had then. Of several shards
// the worst counts.
func lastHeard(link *switchover.Link, checkpoints []redisx.Checkpoint, now time.Time) {
	last := int64(0)
	for i, c := range checkpoints {
		link.Pending += c.Pending
		if i == 0 || c.SourceTimeMS < last {
			last = c.SourceTimeMS
		}
		lacks := c.SourceOffset - c.Offset
		if lacks <= 0 {
			continue
		}
		link.LagBytes += lacks
		switch {
		case c.UpToMS == 0 || link.Behind < 0:
			link.Behind = -1
		default:
			link.Behind = max(link.Behind, time.Duration(c.SourceTimeMS-c.UpToMS)*time.Millisecond)
		}
	}
	if last > 0 {
		at := time.UnixMilli(last).UTC()
		link.Since = fmt.Sprintf("at %s (%.0f s ago)", at.Format(time.RFC3339), now.Sub(at).Seconds())
	}
}

// notRunning says what keeps a replicator from copying; "" when nothing does.
func notRunning(state ReplicatorState) string {
	switch {
	case state.Status == nil:
		return state.Problem
	case state.Status.Phase == wire.PhaseFenced, state.Status.Phase == wire.PhaseFailed, state.Status.Phase == wire.PhaseDraining:
		return strings.TrimSuffix(string(state.Status.Phase)+": "+state.Status.Error, ": ")
	}
	return ""
}

// unheard tells a replicator that was started while its source did not answer:
// what it says of its lag means nothing.
func unheard(state ReplicatorState) bool {
	return state.Status.Phase == wire.PhaseConnecting && state.Status.Source.MasterOffset == 0
}

// incomplete says which shard has no complete copy under the epoch.
func incomplete(checkpoints []redisx.Checkpoint, epoch int64) (why string, complete bool) {
	for shard, c := range checkpoints {
		switch {
		case c.Epoch == 0:
			return fmt.Sprintf("shard %d has no checkpoint", shard), false
		case c.Epoch != epoch:
			return fmt.Sprintf("shard %d has a checkpoint of epoch %d, not of %d", shard, c.Epoch, epoch), false
		case c.State != wire.CkptStateStream:
			return fmt.Sprintf("a full copy of shard %d is being written", shard), false
		}
	}
	return "", len(checkpoints) > 0
}

func (h *switchHands) closeSites() {
	for name, site := range h.sites {
		// They were only asked; what was written was read again.
		_ = site.guard.Close()
		delete(h.sites, name)
	}
}

var errGone = errors.New("the site was not looked at")

// site gives a site that answered; an error for one that did not.
func (h *switchHands) site(name string) (*switchSite, error) {
	if site := h.sites[name]; site != nil {
		return site, nil
	}
	return nil, fmt.Errorf("site %s: %w", name, errGone)
}

// bySlots finds the master of every recorded shard among those that were seen.
func bySlots(shards []pair.ShardState, seen []guard.ShardMaster) ([]guard.ShardMaster, error) {
	out := make([]guard.ShardMaster, len(shards))
	for i, shard := range shards {
		found := false
		for _, master := range seen {
			if sameSlots(master.Slots, shard.Slots) {
				out[i], found = master, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no master has the slots %s of shard %d", shard.Slots, i)
		}
	}
	return out, nil
}

func sameSlots(a, b topology.SlotSet) bool { return a.String() == b.String() }
