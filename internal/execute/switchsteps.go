package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// do does one step at the sites.
func (h *switchHands) do(ctx context.Context, step switchover.Step, r *pair.Record) error {
	s := r.Body.Switch
	if step.Op == switchover.OpCommit {
		if !h.session.Records.Complete() {
			return errors.New("the records of both sites differ right after they were written")
		}
		return nil
	}
	site, err := h.site(step.Site)
	if err != nil {
		return err
	}
	switch step.Op {
	case switchover.OpVerify:
		return h.verify(ctx, step.Full)
	case switchover.OpClose:
		return h.close(ctx, site, r)
	case switchover.OpDrain:
		return h.drain(ctx, site, r)
	case switchover.OpLook:
		return h.lookAgain(ctx, site, r)
	case switchover.OpFence:
		return site.guard.RaiseFence(ctx, step.Epoch)
	case switchover.OpPosition:
		s.Positions, err = positions(ctx, site, r.Body.Shards)
		return err
	case switchover.OpOpen:
		return h.openWrites(ctx, site)
	case switchover.OpStop:
		return h.stop(ctx, site)
	case switchover.OpProtect:
		return protect(ctx, site, s)
	case switchover.OpRescue:
		return h.rescue(ctx, r)
	case switchover.OpLift:
		var window *guard.Window
		if len(s.Window) > 0 {
			if err := json.Unmarshal(s.Window, &window); err != nil {
				return fmt.Errorf("what the record says of the closing: %w", err)
			}
		}
		if step.Site == r.Primary { // a server before 7.0 was closed by its ACLs as well
			notes, err := site.guard.Unprotect(ctx)
			h.notes = append(h.notes, notes...)
			if err != nil {
				return err
			}
		}
		return site.guard.OpenWrites(ctx, window)
	case switchover.OpCheckpoint:
		return site.guard.WriteCheckpoints(ctx, r.Epoch, newCheckpoints(s.Positions, r.Body.Shards))
	case switchover.OpCarry:
		return site.guard.CarryCheckpoints(ctx, len(r.Body.Shards), s.Base, step.Epoch)
	case switchover.OpLink:
		return h.link(ctx, r, step.Full)
	case switchover.OpAwait:
		return h.await(ctx, site, r)
	}
	return fmt.Errorf("step %q: this version cannot do it", step.Op)
}

// close saves what it replaces before it replaces it.
func (h *switchHands) close(ctx context.Context, site *switchSite, r *pair.Record) error {
	s := r.Body.Switch
	var window *guard.Window
	var err error
	if len(s.Window) > 0 {
		if err := json.Unmarshal(s.Window, &window); err != nil {
			return fmt.Errorf("what the record says of the closing: %w", err)
		}
	} else {
		if window, err = site.guard.ReadWindow(ctx); err != nil {
			return err
		}
		if s.Window, err = json.Marshal(window); err != nil {
			return err
		}
		if err := h.Save(ctx, r, s.From, "noted what the closing of site "+s.From+" replaces"); err != nil {
			return err
		}
	}
	h.closed = time.Now()
	if window, err = site.guard.CloseWrites(ctx, window); err != nil {
		return err
	}
	if s.Window, err = json.Marshal(window); err != nil {
		return err
	}
	site.state, err = site.guard.Observe(ctx)
	if err == nil && !site.state.WritesClosed {
		err = errors.New("not every data pod refuses writes")
	}
	return err
}

// drainInterval is how often the checkpoints are read while nobody can write.
const drainInterval = 30 * time.Millisecond

// drain waits until the standby has applied what the masters of the old
// primary had after they were closed.
func (h *switchHands) drain(ctx context.Context, to *switchSite, r *pair.Record) error {
	from, err := h.site(r.Body.Switch.From)
	if err != nil {
		return err
	}
	if from.state, err = from.guard.Observe(ctx); err != nil {
		return err
	}
	if !from.state.WritesClosed {
		return fmt.Errorf("site %s is not closed any more: %w", r.Body.Switch.From, switchover.ErrMoved)
	}
	masters, err := bySlots(r.Body.Shards, from.state.Shards)
	if err != nil {
		return err
	}
	h.drained = masters
	wait, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	for {
		checkpoints, err := to.guard.Checkpoints(wait, len(masters))
		left := ""
		if err == nil {
			if left, err = undrained(checkpoints, masters, r.Epoch); left == "" && err == nil {
				return nil
			}
		}
		if err != nil && wait.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the last writes: %w", context.Cause(ctx))
		case <-wait.Done():
			return fault.New(fault.CodeTimeout, "look at status", "after %s the standby had not applied everything: %s", h.opts.Timeout, left)
		case <-time.After(drainInterval):
		}
	}
}

// undrained says which shard is behind its master; "" when none is.
func undrained(checkpoints []redisx.Checkpoint, masters []guard.ShardMaster, epoch int64) (string, error) {
	if why, complete := incomplete(checkpoints, epoch); !complete {
		return "", fmt.Errorf("%s: %w", why, switchover.ErrMoved)
	}
	for shard, c := range checkpoints {
		switch master := masters[shard]; {
		case c.ReplID != master.ReplID:
			return fmt.Sprintf("shard %d follows another history than its master %s", shard, master.Pod), nil
		case c.Offset < master.Offset:
			return fmt.Sprintf("shard %d is %d bytes behind", shard, master.Offset-c.Offset), nil
		case c.Pending > 0:
			return fmt.Sprintf("shard %d waits for the values of %d keys from the primary", shard, c.Pending), nil
		}
	}
	return "", nil
}

// lookAgain finds out whether anything moved since the drain.
func (h *switchHands) lookAgain(ctx context.Context, to *switchSite, r *pair.Record) error {
	from, err := h.site(r.Body.Switch.From)
	if err != nil {
		return err
	}
	if from.state, err = from.guard.Observe(ctx); err != nil {
		return err
	}
	if !from.state.WritesClosed {
		return fmt.Errorf("site %s is not closed any more: %w", r.Body.Switch.From, switchover.ErrMoved)
	}
	masters, err := bySlots(r.Body.Shards, from.state.Shards)
	if err != nil {
		return fmt.Errorf("%w: %w", switchover.ErrMoved, err)
	}
	for i, now := range masters {
		if was := h.drained[i]; now.RunID != was.RunID || now.ReplID != was.ReplID {
			return fmt.Errorf("shard %d: pod %s is the master now, it was %s: %w", i, now.Pod, was.Pod, switchover.ErrMoved)
		}
	}
	if to.state, err = to.guard.Observe(ctx); err != nil {
		return err
	}
	if to.state.Fence != r.Epoch {
		return fmt.Errorf("the fence of site %s is at epoch %d: %w", r.Body.Switch.To, to.state.Fence, switchover.ErrMoved)
	}
	return nil
}

func positions(ctx context.Context, site *switchSite, shards []pair.ShardState) ([]pair.PositionRecorded, error) {
	list, err := site.guard.Positions(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]pair.PositionRecorded, len(shards))
	for i, shard := range shards {
		found := false
		for _, p := range list {
			if sameSlots(p.Slots, shard.Slots) {
				out[i], found = pair.PositionRecorded{ReplID: p.ReplID, Offset: p.Offset, DB: p.DB}, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no master has the slots %s of shard %d", shard.Slots, i)
		}
	}
	return out, nil
}

func newCheckpoints(positions []pair.PositionRecorded, shards []pair.ShardState) []guard.NewCheckpoint {
	out := make([]guard.NewCheckpoint, len(positions))
	for i, p := range positions {
		out[i] = guard.NewCheckpoint{ReplID: p.ReplID, Offset: p.Offset, DB: p.DB, Slots: shards[i].Slots.String()}
	}
	return out
}

// openWrites lets applications write to a site: it is no standby any more, and
// a closing that an earlier switch left behind ends.
func (h *switchHands) openWrites(ctx context.Context, site *switchSite) error {
	notes, err := site.guard.Unprotect(ctx)
	h.notes = append(h.notes, notes...)
	if err != nil {
		return err
	}
	for _, pod := range site.state.Pods {
		if pod.WritesClosed {
			if err := site.guard.OpenWrites(ctx, nil); err != nil {
				return err
			}
			break
		}
	}
	if !h.closed.IsZero() {
		h.unavailable = time.Since(h.closed)
	}
	return nil
}

// stopTimeout is how long the old replicators may take to end. The fence holds
// without it: a pod on a node that is cut off never goes away. The fence must
// not go back then, and a snapshot of the servers may begin within keepTimeout.
const (
	stopTimeout = 20 * time.Second
	keepTimeout = 5 * time.Second
)

func (h *switchHands) stop(ctx context.Context, site *switchSite) error {
	party := site.found.Party
	if err := ScaleReplicators(ctx, party, h.session.Name, party.Site.Name, 0); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	selector := pair.Selector(h.session.Name) + "," + pair.LabelSite + "=" + party.Site.Name
	if err := waitNoPodsOf(wait, party, selector); err != nil {
		h.notes = append(h.notes, "the fence keeps it from writing: "+err.Error())
		bounded, cancel := context.WithTimeout(ctx, keepTimeout)
		defer cancel()
		if err := site.guard.KeepFence(bounded); err != nil {
			h.notes = append(h.notes, "until every data pod has written a snapshot (BGSAVE) or has an AOF, a restart of all of them can bring an older fence back: "+err.Error())
		}
	}
	return nil
}

// protect notes whether the site refused writes until the moment at which it
// was protected.
func protect(ctx context.Context, site *switchSite, s *pair.Switch) error {
	before, err := site.guard.Observe(ctx)
	if err != nil {
		return err
	}
	s.Kept = s.Kept || before.WritesClosed
	if err := site.guard.Protect(ctx); err != nil {
		return err
	}
	after, err := site.guard.Observe(ctx)
	if err == nil && !after.Protected {
		err = fmt.Errorf("site %s: not protected: %s", site.found.Party.Site.Name, after.ProtectWhy)
	}
	return err
}

// link creates the replicators of the present direction and what they need.
func (h *switchHands) link(ctx context.Context, r *pair.Record, full bool) error {
	h.session.Record = r
	w, err := Observe(ctx, h.session, h.finder, h.opts.Image)
	if err != nil {
		return err
	}
	if full {
		// The user agreed that the target becomes what the source is.
		share := 1.0
		w.Link.StaleKeys, w.Link.Spec.StaleKeys.MaxShare = pair.StaleKeysPrune, &share
	}
	if err := RefuseOn(w.Preflight.Findings); err != nil {
		return err
	}
	changes, err := w.Changes(ctx, false)
	if err != nil {
		return err
	}
	if err := w.makeSecrets(); err != nil {
		return err
	}
	a := &applier{
		world: w, finder: h.finder, changes: changes, result: &ApplyResult{},
		opts:   ApplyOptions{Timeout: h.opts.Timeout, Progress: h.opts.Progress},
		runner: &Runner{Record: r, Records: h.session.Records, Progress: h.opts.Progress},
	}
	steps := []func(context.Context) error{a.services}
	if w.Link.Source.Access == pair.AccessLoadBalancer {
		steps = append(steps, a.loadBalancers)
	}
	for _, step := range append(steps, a.reach, a.replicators, a.prune) {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.Body.StandbyGuard = w.protection.word
	r.Body.Sites = maps.Clone(r.Body.Sites)
	for _, found := range []*Found{w.Source, w.Target} { // who copies between them has accepted them
		r.Body.Sites[found.Party.Site.Name] = identified(r.Body.Sites[found.Party.Site.Name], found.Instance)
	}
	h.checksums = a.checksums
	return nil
}

// await waits until the standby is in sync.
func (h *switchHands) await(ctx context.Context, site *switchSite, r *pair.Record) error {
	party := site.found.Party
	read := func(ctx context.Context) ([]ReplicatorState, error) {
		return Replicators(ctx, party.Cluster, party.Site.Namespace, h.session.Name, party.Site.Name, r.Body.Shards)
	}
	states, err := WaitInSync(ctx, party.Site.Name, h.checksums, h.opts.Timeout, h.opts.Progress, read)
	h.replicators = states
	return err
}

// fullCopies counts the shards whose replicator made a full copy.
func fullCopies(states []ReplicatorState) int {
	n := 0
	for _, state := range states {
		if state.Status != nil && (state.Status.FullSync.Count > 0 || state.Status.Phase == wire.PhaseFullSync) {
			n++
		}
	}
	return n
}
