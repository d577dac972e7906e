package execute

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// StatusReport is the live state of a pair beside what the record says.
type StatusReport struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // PairStatus

	Pair       string     `json:"pair"`
	Phase      pair.Phase `json:"phase"` // of the record: the result of the last verb
	Live       pair.Phase `json:"live"`  // as the replicators say now
	Paused     bool       `json:"paused"`
	FailedStep string     `json:"failedStep,omitempty"`
	Epoch      int64      `json:"epoch"`
	Primary    string     `json:"primary"`
	Standby    string     `json:"standby"`
	Preferred  string     `json:"preferredPrimary"`

	Sites         []SiteReport       `json:"sites"`
	Shards        []ReplicatorState  `json:"shards"`
	LagSeconds    float64            `json:"lagSeconds"` // the largest of the shards
	LagBytes      int64              `json:"lagBytes"`   // the sum
	LastOperation pair.Operation     `json:"lastOperation"`
	Verbs         []pair.Legality    `json:"verbs"`
	Findings      []topology.Finding `json:"findings,omitempty"`
}

// SiteReport is one site of a StatusReport.
type SiteReport struct {
	Name      string        `json:"name"`
	Role      pair.Role     `json:"role"`
	Context   string        `json:"context"`
	Server    string        `json:"server,omitempty"`
	Namespace string        `json:"namespace"`
	Kind      string        `json:"kind"`
	Instance  string        `json:"instance"`
	Mode      topology.Mode `json:"mode"`
	Reachable bool          `json:"reachable"`
	Error     string        `json:"error,omitempty"`
	// Replaced is how the instance is another one than the record knows; "" where
	// it goes on with the same data.
	Replaced string `json:"replaced,omitempty"`
}

// Status reads the state of a pair. A site that does not answer is part of
// the report. verbs are those that this program has. The servers of both sites
// are asked where an inspector is given.
func Status(ctx context.Context, s *Session, verbs []pair.Verb, inspector *Inspector) (*StatusReport, error) {
	record := s.Record
	report := &StatusReport{
		APIVersion: pair.APIVersion, Kind: "PairStatus",
		Pair: s.Name, Phase: record.Phase, Paused: record.Paused, FailedStep: record.FailedStep, Epoch: record.Epoch,
		Primary: record.Primary, Standby: record.Standby(), Preferred: record.Body.Spec.PreferredPrimary,
		LastOperation: record.Body.LastOperation,
	}
	for _, party := range s.InOrder() {
		report.Sites = append(report.Sites, siteReport(record, party))
	}
	standby := s.Standby()
	if standby.Err != nil {
		report.Live = pair.PhaseUnknown
		report.finding(topology.SeverityError, "the replicators' state is not known", standby.Err.Error(), fault.Remedy(standby.Err))
	} else {
		shards, err := Replicators(ctx, standby.Cluster, standby.Site.Namespace, s.Name, standby.Site.Name, record.Body.Shards)
		if err != nil {
			return nil, err
		}
		if record.Phase == pair.PhaseFailedOver {
			shards = present(shards) // nothing is to copy back before recover
		}
		report.Shards = shards
		report.Live = livePhase(record, shards)
		report.judge()
	}
	if primary := s.Primary(); primary.Err != nil {
		report.finding(topology.SeverityError, "the primary's site does not answer", primary.Err.Error(), fault.Remedy(primary.Err))
	}
	if s.Unreachable() == nil && !s.Records.Complete() {
		report.judgeRecords(s.Records)
	}
	if record.Body.Sites[record.Standby()].Invalidated {
		report.judgeInvalidated(record)
	} else {
		report.judgeProtection(record)
	}
	report.judgeSwitch(record)
	if inspector != nil {
		inspector.inspect(ctx, report, s)
	}
	for _, verb := range verbs {
		report.Verbs = append(report.Verbs, report.unlessReplaced(pair.LegalNow(verb, record, report.complete())))
	}
	return report, nil
}

// unlessReplaced: no planned switch begins while an instance is not the one
// that the record knows. The one that gives up a primary may.
func (r *StatusReport) unlessReplaced(l pair.Legality) pair.Legality {
	begins := l.Verb == pair.VerbFailover && r.Phase != pair.PhaseFailingOver || l.Verb == pair.VerbFailback && r.Phase != pair.PhaseFailingBack
	for _, site := range r.Sites {
		if l.Verb == pair.VerbFailover && site.Name == r.Primary {
			continue
		}
		if l.Legal && begins && site.Replaced != "" {
			return pair.Legality{Verb: l.Verb, Why: "site " + site.Name + " was made anew: apply notes the new one"}
		}
	}
	return l
}

func (r *StatusReport) finding(severity topology.Severity, object, message, remedy string) {
	r.Findings = append(r.Findings, topology.Finding{Severity: severity, Object: object, Message: message, Remedy: remedy})
}

// judgeRecords says how the copies of the record differ.
func (r *StatusReport) judgeRecords(records *Records) {
	severity, remedy := topology.SeverityWarning, "apply writes both again"
	if !pair.Legal(pair.VerbApply, r.Phase, r.Paused).Legal {
		remedy = "the next verb that is possible writes both again"
	}
	if records.Edited() {
		severity = topology.SeverityError
		remedy = "delete the ConfigMap that is wrong, or correct it; the next apply writes both again"
	}
	r.finding(severity, "record", records.Difference(), remedy)
}

// judgeSwitch names the switch that is under way, or was left behind.
func (r *StatusReport) judgeSwitch(record *pair.Record) {
	s := record.Switching()
	if s == nil {
		return
	}
	text := fmt.Sprintf("a %s from site %s to site %s (operation %s) is under way, or was interrupted", s.Verb, s.From, s.To, s.ID)
	if lines := record.Journal; len(lines) > 0 {
		last := lines[len(lines)-1]
		text += fmt.Sprintf("; last at %s by %s: %s", last.At.UTC().Format(time.RFC3339), last.By, last.Text)
	}
	if len(s.Window) > 0 && !s.Opening {
		text += "; nobody can write until it goes on"
	}
	r.finding(topology.SeverityWarning, "switch", text, fmt.Sprintf("if nobody is at it: kubectl redis-sync resume %s, or cancel", r.Pair))
}

// judgeInvalidated: the roles were changed without the old primary, and nothing
// has been decided yet about what only that one holds.
func (r *StatusReport) judgeInvalidated(record *pair.Record) {
	r.finding(topology.SeverityError, "site "+r.Standby, fmt.Sprintf(
		"was the primary until site %s took over at epoch %d without it: it may hold writes that site %s never had, nothing copies from it any more, "+
			"and applications that still write there lose what they write", r.Primary, record.Epoch, r.Primary),
		"stop the applications that write there, look at what only that site has, then kubectl redis-sync recover "+r.Pair)
}

// present leaves out the replicators that do not exist.
func present(shards []ReplicatorState) []ReplicatorState {
	return slices.DeleteFunc(shards, func(s ReplicatorState) bool { return !s.Exists })
}

func siteReport(record *pair.Record, party *Party) SiteReport {
	state := record.Body.Sites[party.Site.Name]
	report := SiteReport{
		Name: party.Site.Name, Role: record.Role(party.Site.Name), Context: party.Site.Context, Server: state.Server,
		Namespace: state.Namespace, Kind: state.Kind, Instance: state.Instance, Mode: state.Mode, Reachable: party.Err == nil,
	}
	if party.Err != nil {
		report.Error = party.Err.Error()
	}
	if party.Cluster != nil {
		report.Server = party.Cluster.Server()
	}
	return report
}

// complete tells whether every replicator says that the standby holds a
// complete copy of its shard; where none of them answers, what the last verb
// left counts.
func (r *StatusReport) complete() bool {
	said := false
	for _, shard := range r.Shards {
		if shard.Status == nil {
			continue
		}
		if said = true; !shard.Status.Complete {
			return false
		}
	}
	return said || r.Phase == pair.PhaseInSync || r.Phase == pair.PhaseRecoverInSync
}

// judge adds up the shards and says what is wrong with them.
func (r *StatusReport) judge() {
	for _, shard := range r.Shards {
		object := "replicator " + shard.Deployment
		if shard.Problem != "" && !(r.Paused && shard.Replicas == 0) {
			severity := topology.SeverityWarning
			if shard.Fatal || !shard.Exists {
				severity = topology.SeverityError
			}
			r.finding(severity, object, shard.Problem, "")
		}
		status := shard.Status
		if status == nil {
			continue
		}
		r.LagSeconds = max(r.LagSeconds, status.LagSeconds)
		r.LagBytes += status.LagBytes
		if status.Error != "" && status.Error != shard.Problem {
			r.finding(topology.SeverityWarning, object, status.Error, "")
		}
		for _, text := range status.Findings {
			r.finding(topology.SeverityWarning, object, text, "")
		}
		if status.Epoch != r.Epoch {
			r.finding(topology.SeverityError, object,
				fmt.Sprintf("runs with epoch %d, the record is at epoch %d", status.Epoch, r.Epoch), "apply again")
		}
	}
}

// livePhase is what the replicators together say.
func livePhase(record *pair.Record, shards []ReplicatorState) pair.Phase {
	if record.Paused {
		return pair.PhasePaused
	}
	if len(shards) == 0 && record.Phase == pair.PhaseFailedOver {
		return pair.PhaseFailedOver
	}
	if len(shards) == 0 {
		return pair.PhasePlanned
	}
	forward := record.Primary == record.Body.Spec.PreferredPrimary
	inSync, syncing, stalled := 0, false, false
	for _, shard := range shards {
		switch {
		case shard.Fatal:
			return pair.PhaseFailed
		case shard.InSync():
			inSync++
		case shard.Status == nil:
			stalled = true
		case shard.Status.Complete && shard.Status.Phase == wire.PhaseConnecting, shard.Status.Phase == wire.PhaseFenced:
			stalled = true
		case !shard.Status.Complete:
			syncing = true
		}
	}
	switch {
	case inSync == len(shards) && forward:
		return pair.PhaseInSync
	case inSync == len(shards):
		return pair.PhaseRecoverInSync
	case syncing && forward:
		return pair.PhaseSyncing
	case syncing:
		return pair.PhaseRecovering
	case stalled:
		return pair.PhaseStalled
	default:
		return pair.PhaseLagging
	}
}
