package execute

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// Conditions that have no value.
const (
	forInSync   = "in-sync"
	forComplete = "complete"
	forDelete   = "delete"
)

// ConditionWords are what ParseCondition takes, for a help text and for
// completion.
var ConditionWords = []string{forInSync, forComplete, "phase=PHASE", "live=PHASE", "primary=SITE", forDelete}

// livePhases are those that a record never holds.
var livePhases = []pair.Phase{pair.PhaseLagging, pair.PhaseStalled, pair.PhasePaused, pair.PhaseUnknown}

// Condition is something to wait for.
type Condition struct {
	name, value string
}

// String is the condition as it was given.
func (c Condition) String() string {
	if c.value == "" {
		return c.name
	}
	return c.name + "=" + c.value
}

// Deleted tells the condition that the pair is gone.
func (c Condition) Deleted() bool { return c.name == forDelete }

// ParseCondition reads one of ConditionWords. Phases are taken in any case.
func ParseCondition(text string) (Condition, error) {
	name, value, valued := strings.Cut(text, "=")
	wrong := fmt.Errorf("%q is nothing to wait for: expected %s", text, strings.Join(ConditionWords, ", "))
	switch name {
	case forInSync, forComplete, forDelete:
		if valued {
			return Condition{}, wrong
		}
		return Condition{name: name}, nil
	case "primary":
		if value == "" {
			return Condition{}, wrong
		}
		return Condition{name: name, value: value}, nil
	case "phase", "live":
		known := pair.Phases
		if name == "live" {
			known = slices.Concat(pair.Phases, livePhases)
		}
		for _, phase := range known {
			if strings.EqualFold(string(phase), value) {
				return Condition{name: name, value: string(phase)}, nil
			}
		}
		var names []string
		for _, phase := range known {
			names = append(names, string(phase))
		}
		return Condition{}, fmt.Errorf("%q: no phase %q; expected one of %s", text, value, strings.Join(names, ", "))
	}
	return Condition{}, wrong
}

// Unmet says what is missing, "" when nothing is. An error says that waiting
// is of no use.
func (c Condition) Unmet(r *StatusReport) (string, error) {
	switch c.name {
	case forInSync:
		return c.copying(r, func(s ReplicatorState) bool { return s.InSync() })
	case forComplete:
		return c.copying(r, func(s ReplicatorState) bool { return s.Status != nil && s.Status.Complete })
	case forDelete:
		return fmt.Sprintf("the record exists, in phase %s", r.Phase), nil
	case "primary":
		if c.value != r.Primary && c.value != r.Standby {
			return "", fault.New(fault.CodeError, "", "pair %s has no site %q: its sites are %s and %s", r.Pair, c.value, r.Primary, r.Standby)
		}
		if why := underWay(r); why != "" {
			return why, nil
		}
		return unlike("the primary is site "+r.Primary, r.Primary, c.value), nil
	case "live":
		return unlike("the live phase is "+string(r.Live), string(r.Live), c.value), nil
	default:
		return unlike("the phase is "+string(r.Phase), string(r.Phase), c.value), nil
	}
}

func unlike(text, is, want string) string {
	if is == want {
		return ""
	}
	return text
}

func underWay(r *StatusReport) string {
	if r.Phase == pair.PhaseFailingOver || r.Phase == pair.PhaseFailingBack {
		return "a switch is under way: phase " + string(r.Phase)
	}
	return ""
}

// copying asks every replicator.
func (c Condition) copying(r *StatusReport, met func(ReplicatorState) bool) (string, error) {
	switch {
	case underWay(r) != "":
		return underWay(r), nil
	case r.Live == pair.PhaseUnknown:
		return fmt.Sprintf("site %s does not answer", r.Standby), nil
	case r.Paused && c.name == forInSync:
		return "the pair is paused", nil
	case r.Phase == pair.PhaseFailedOver:
		return fmt.Sprintf("nothing copies to site %s before recover", r.Standby), nil
	case len(r.Shards) == 0:
		return "there are no replicators yet", nil
	}
	var waiting []string
	for _, state := range r.Shards {
		if state.Fatal {
			return "", &ReplicatorError{Site: r.Standby, Deployment: state.Deployment, Problem: state.Problem}
		}
		if !met(state) {
			waiting = append(waiting, fmt.Sprintf("shard %d: %s", state.Shard, what(state)))
		}
	}
	return strings.Join(waiting, "; "), nil
}

// what a replicator that is not in sync does.
func what(state ReplicatorState) string {
	if state.Status != nil {
		return describe(state.Status)
	}
	return state.Problem
}
