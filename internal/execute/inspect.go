package execute

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// inspection is what the servers of a site said of who may write there.
type inspection struct {
	site  string
	inst  *topology.Instance
	state guard.State
	// of the standby: how far it is a copy; nil where that could not be read
	checkpoints []redisx.Checkpoint
	err         error // why nothing is known
}

// Inspector asks the servers of both sites whether they are as the record says:
// others may change them by hand. Who watches a pair asks them less often than
// the replicators.
type Inspector struct {
	Finder Finder
	Every  time.Duration // what was found is good for so long

	asked time.Time
	about string // what the record said then
	found []topology.Finding
	anew  map[string]string // SiteReport.Replaced, by site
}

// inspect adds to a report what the servers say.
func (i *Inspector) inspect(ctx context.Context, r *StatusReport, s *Session) {
	about := fmt.Sprint(r.Epoch, r.Phase, s.Record.Body.Revision)
	if about == i.about && time.Since(i.asked) < i.Every {
		r.Findings = append(r.Findings, i.found...)
		for n := range r.Sites {
			r.Sites[n].Replaced = i.anew[r.Sites[n].Name]
		}
		return
	}
	views := make([]inspection, len(s.Spec.Sites))
	var group sync.WaitGroup
	for n, party := range s.InOrder() {
		views[n].site = party.Site.Name
		if party.Err == nil { // else the report says so already
			shards := 0
			if party.Site.Name == r.Standby {
				shards = len(s.Record.Body.Shards)
			}
			group.Go(func() { views[n].look(ctx, s.Name, party, i.Finder, shards) })
		}
	}
	group.Wait()
	before := len(r.Findings)
	var checkpoints []redisx.Checkpoint
	for _, view := range views {
		if view.site == r.Standby {
			checkpoints = view.checkpoints
		}
	}
	for _, view := range views {
		switch {
		case view.err != nil:
			r.judgeSilence(view)
		case view.inst != nil:
			r.judgeIdentity(s.Record, view, checkpoints)
			r.judgeServers(s.Record, view)
		}
	}
	i.asked, i.about, i.found = time.Now(), about, slices.Clone(r.Findings[before:])
	i.anew = map[string]string{}
	for _, site := range r.Sites {
		i.anew[site.Name] = site.Replaced
	}
}

// look asks the servers of a site, and for the checkpoints of so many shards.
func (v *inspection) look(ctx context.Context, pairName string, party *Party, finder Finder, shards int) {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer within %s", probeTimeout))
	defer cancel()
	site, err := openSite(ctx, finder, pairName, party)
	if err == nil {
		v.state, err = site.guard.Observe(ctx)
		if err == nil && shards > 0 {
			if v.checkpoints, err = site.guard.Checkpoints(ctx, shards); err != nil && ctx.Err() == nil {
				v.checkpoints, err = nil, nil // what they would tell is not known then
			}
		}
		_ = site.guard.Close() // it was only asked
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if v.err = err; err == nil {
		v.inst = site.found.Instance
		v.err = missingMasters(v.inst, v.state)
	}
}

// missingMasters says how many shards of an instance have no master that
// answers; nil when all have one.
func missingMasters(inst *topology.Instance, state guard.State) error {
	switch {
	case len(inst.Shards) == 0:
		return fmt.Errorf("%s: none of its pods answers", inst.Ref())
	case len(state.Shards) != len(inst.Shards):
		return fmt.Errorf("%s: of %d shards only %d have a master that answers", inst.Ref(), len(inst.Shards), len(state.Shards))
	}
	return nil
}

// judgeSilence says why nothing is known of a site's servers.
func (r *StatusReport) judgeSilence(v inspection) {
	switch {
	case kube.IsForbidden(v.err):
		r.finding(topology.SeverityInfo, "site "+v.site, "its servers were not asked who may write there: "+v.err.Error(),
			"with the ClusterRole redis-sync-discover as well, status can ask them")
	case fault.ExitCode(v.err) == fault.CodeNotFound:
		r.finding(topology.SeverityError, "site "+v.site, v.err.Error(), "bring the instance back, or, if it is gone for good, delete the pair with --keep-keys")
	case v.site == r.Primary:
		r.finding(topology.SeverityError, "site "+v.site, "the primary's servers were asked in vain: "+v.err.Error(), "bring them back, or fail over")
	default:
		r.finding(topology.SeverityWarning, "site "+v.site, "its servers were asked in vain: "+v.err.Error(), "")
	}
}

// judgeIdentity tells an instance that was made anew under the same name. A
// StatefulSet that was only replaced around its pods leaves a cluster's node
// ids as they were; of others the history of their data tells.
func (r *StatusReport) judgeIdentity(record *pair.Record, v inspection, checkpoints []redisx.Checkpoint) {
	why := replaced(record.Body.Sites[v.site], v.inst)
	if why == "" {
		return
	}
	object, apply := "site "+v.site, ""
	if pair.Legal(pair.VerbApply, record.Phase, record.Paused).Legal {
		apply = fmt.Sprintf("kubectl redis-sync apply %s notes the new identity", r.Pair)
	}
	if v.site == r.Primary && continues(record, v.state, checkpoints) {
		r.finding(topology.SeverityWarning, object, fmt.Sprintf("%s. Its data are the same: it goes on with the history that site %s is a copy of", why, r.Standby), apply)
		return
	}
	for i := range r.Sites {
		if r.Sites[i].Name == v.site {
			r.Sites[i].Replaced = why
		}
	}
	lacks, complete := incomplete(checkpoints, record.Epoch)
	remedy := ""
	switch {
	case v.site == r.Primary:
		why += fmt.Sprintf(". It may hold other data: it does not go on with the history that site %s is a copy of", r.Standby)
		if len(checkpoints) == 0 {
			why += ", as far as is known: that site could not be asked"
		}
		remedy = fmt.Sprintf("kubectl redis-sync failover %s --accept-data-loss makes site %s the primary, with what it was a copy of. "+
			"Only if what site %s holds now is what you want to be copied: apply notes the new identity, and makes site %s a copy of it",
			r.Pair, r.Standby, v.site, r.Standby)
	case record.Phase == pair.PhaseFailedOver:
		remedy = fmt.Sprintf("kubectl redis-sync recover %s gives it a full copy, and notes the new identity", r.Pair)
	case complete:
		why += fmt.Sprintf(". It has the checkpoints of a complete copy, of epoch %d", record.Epoch)
		remedy = apply
	case lacks != "":
		why += ". It is no complete copy any more: " + lacks
		if apply != "" {
			remedy = apply + ", and copies to it again"
		}
	default:
		why += ". Whether it has the copy still is not known"
		remedy = apply
	}
	r.finding(topology.SeverityError, object, why, remedy)
}

// replaced says how an instance differs from the one that the record knows; ""
// where it is the same, or nothing tells them apart.
func replaced(known pair.SiteState, inst *topology.Instance) string {
	if known.Kind != "" && known.Kind != inst.Kind {
		return fmt.Sprintf("%s is a %s, the record knows a %s", inst.Name, inst.Kind, known.Kind)
	}
	uids := map[string]bool{}
	for _, set := range inst.StatefulSets {
		uids[set.UID] = true
	}
	var same, anew []string
	for _, set := range known.StatefulSets {
		if uids[set.UID] {
			same = append(same, set.Name)
		} else {
			anew = append(anew, set.Name)
		}
	}
	if len(anew) == 0 || len(same) > 0 {
		return ""
	}
	nodes := map[string]bool{}
	for _, pod := range inst.Pods {
		if pod.NodeID != "" {
			nodes[pod.NodeID] = true
		}
	}
	for _, id := range known.NodeIDs {
		if nodes[id] {
			return ""
		}
	}
	if len(known.NodeIDs) > 0 && len(nodes) == 0 {
		return "" // none of its nodes answered: nobody knows
	}
	when := ""
	if !inst.MadeAt.IsZero() {
		when = ", at " + inst.MadeAt.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s was made anew since the last apply%s: StatefulSet %s is another one", inst.Ref(), when, strings.Join(anew, ", "))
}

// judgeServers compares who may write with the roles. While a switch is under
// way nothing of this is damage.
func (r *StatusReport) judgeServers(record *pair.Record, v inspection) {
	if record.Switching() != nil {
		return
	}
	if v.site == r.Primary {
		r.judgePrimary(v)
		return
	}
	invalidated := record.Body.Sites[v.site].Invalidated
	if record.Body.StandbyGuard == guardACL && !invalidated {
		r.judgeStandby(record, v)
	}
	if epoch := record.Epoch; record.Phase != pair.PhaseFailedOver && record.Phase != pair.PhasePlanned && v.state.Holder != "" && v.state.Fence != epoch {
		held := "the fence is gone"
		if v.state.Fence != 0 {
			held = fmt.Sprintf("the fence is at epoch %d", v.state.Fence)
		}
		r.finding(topology.SeverityError, "site "+v.site, fmt.Sprintf("%s, the record is at epoch %d: the replicators write nothing", held, epoch), r.mend(record))
	}
}

// mend names the verb that sets right what somebody changed by hand.
func (r *StatusReport) mend(record *pair.Record) string {
	for _, verb := range []pair.Verb{pair.VerbApply, pair.VerbRecover} {
		if pair.Legal(verb, record.Phase, record.Paused).Legal {
			return fmt.Sprintf("kubectl redis-sync %s %s", verb, r.Pair)
		}
	}
	return ""
}

// judgePrimary: applications have to be able to write there.
func (r *StatusReport) judgePrimary(v inspection) {
	var closed, guarded []string
	for _, pod := range v.state.Pods {
		switch {
		case pod.Err != nil:
		case pod.WritesClosed:
			closed = append(closed, pod.Pod)
		case pod.Protected:
			guarded = append(guarded, pod.Pod)
		case pod.Role == topology.RolePrimary && pod.LacksReplicas:
			r.finding(topology.SeverityError, "site "+v.site, fmt.Sprintf("pod %s refuses writes (NOREPLICAS): min-replicas-to-write is %s, and %d replicas are there",
				pod.Pod, pod.MinReplicas, pod.GoodReplicas), "bring the replicas back, or set min-replicas-to-write lower on that pod")
		}
	}
	mend := "kubectl redis-sync apply " + r.Pair
	if len(closed) > 0 {
		r.finding(topology.SeverityError, "site "+v.site, "the primary refuses writes (NOREPLICAS): "+pods(closed)+
			" still closed by a switch that is not under way any more", mend)
	}
	if len(guarded) > 0 {
		r.finding(topology.SeverityError, "site "+v.site, "the primary refuses writes of applications (NOPERM): "+pods(guarded)+
			" still protected as a standby", mend)
	}
}

func pods(names []string) string {
	if len(names) == 1 {
		return "pod " + names[0] + " is"
	}
	return "pods " + strings.Join(names, ", ") + " are"
}

// judgeStandby: nobody but replicators is to be able to write there.
func (r *StatusReport) judgeStandby(record *pair.Record, v inspection) {
	for _, pod := range v.state.Pods {
		if pod.Err != nil || pod.Protected || record.Phase == pair.PhaseFailedOver && pod.WritesClosed {
			continue
		}
		severity, when := topology.SeverityWarning, "when it becomes the master"
		if pod.Role == topology.RolePrimary {
			severity, when = topology.SeverityError, "now"
		}
		r.finding(severity, "site "+v.site, fmt.Sprintf("standby writable: pod %s takes writes of applications %s: %s", pod.Pod, when, pod.ProtectWhy), r.mend(record))
	}
}
