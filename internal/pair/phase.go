package pair

// Phase says where a pair is in its life. The phase in the record is the
// result of the last verb; the live state is asked from the replicators.
type Phase string

// The phases, in the order of a pair's life.
const (
	// PhasePlanned: the record exists, no object of the link does.
	PhasePlanned Phase = "Planned"
	// PhaseSyncing: the replicators were created; the standby is not known to
	// be a complete copy.
	PhaseSyncing Phase = "Syncing"
	// PhaseInSync: every replicator was in sync when the last verb ended.
	PhaseInSync Phase = "InSync"
	// PhaseLagging: complete, but behind by more than a second. Live only.
	PhaseLagging Phase = "Lagging"
	// PhaseStalled: complete, but nothing has been applied for a while. Live
	// only.
	PhaseStalled Phase = "Stalled"
	// PhaseFailingOver: a switch to the standby is under way.
	PhaseFailingOver Phase = "FailingOver"
	// PhaseFailedOver: the standby was promoted; nothing copies back yet.
	PhaseFailedOver Phase = "FailedOver"
	// PhaseRecovering: copying from the new primary back to the old one.
	PhaseRecovering Phase = "Recovering"
	// PhaseRecoverInSync: the old primary is a complete copy again.
	PhaseRecoverInSync Phase = "RecoverInSync"
	// PhaseFailingBack: a switch to the preferred primary is under way.
	PhaseFailingBack Phase = "FailingBack"
	// PhaseFailed: a verb stopped at an error that waiting cannot mend; the
	// record says at which step.
	PhaseFailed Phase = "Failed"
	// PhasePaused: the replicators are scaled to 0. Live only; the record has
	// a flag of its own.
	PhasePaused Phase = "Paused"
	// PhaseUnknown: the site of the replicators does not answer. Live only.
	PhaseUnknown Phase = "Unknown"
	// PhaseDeleting: delete has begun.
	PhaseDeleting Phase = "Deleting"
)

// Phases are all phases that a record can hold.
var Phases = []Phase{
	PhasePlanned, PhaseSyncing, PhaseInSync, PhaseFailingOver, PhaseFailedOver,
	PhaseRecovering, PhaseRecoverInSync, PhaseFailingBack, PhaseFailed, PhaseDeleting,
}

// Verb is what a user can ask for.
type Verb string

// The verbs whose legality depends on the phase.
const (
	VerbPlan     Verb = "plan"
	VerbApply    Verb = "apply"
	VerbStatus   Verb = "status"
	VerbVerify   Verb = "verify"
	VerbPause    Verb = "pause"
	VerbStart    Verb = "start"
	VerbFailover Verb = "failover"
	VerbRecover  Verb = "recover"
	VerbFailback Verb = "failback"
	VerbResume   Verb = "resume"
	VerbCancel   Verb = "cancel"
	VerbDelete   Verb = "delete"
)

// Verbs are all of them, in the order of a help text.
var Verbs = []Verb{
	VerbPlan, VerbApply, VerbStatus, VerbVerify, VerbPause, VerbStart,
	VerbFailover, VerbRecover, VerbFailback, VerbResume, VerbCancel, VerbDelete,
}

// Reasons why a verb is not legal.
const (
	whyNoCopy    = "the standby is not known to hold a complete copy"
	whySwitching = "a switch is under way: resume or cancel it first"
	whySwitched  = "the standby was promoted: recover copies back first"
	whyNoSwitch  = "no interrupted operation"
	whyNothing   = "nothing was copied yet: apply first"
	whyPreferred = "the preferred primary is the primary"
	whyReverse   = "the old primary is not a complete copy yet"
	whyDeleting  = "the pair is being deleted: finish delete first"
	whyCopying   = "a copy back is under way or done"
	whyNotPaused = "the pair is not paused"
	whyPaused    = "the pair is paused already"
	whyStart     = "the pair is paused: start it first"
)

// refusals says why a verb is illegal in a phase. What is not listed is legal
// as far as the phase goes; whether the standby holds a complete copy is
// observed. A verb that was interrupted goes on when it is run again.
var refusals = map[Phase]map[Verb]string{
	PhasePlanned: {
		VerbVerify: whyNothing, VerbPause: whyNothing, VerbFailover: whyNoCopy,
		VerbRecover: whyNothing, VerbFailback: whyPreferred, VerbResume: whyNoSwitch, VerbCancel: whyNoSwitch,
	},
	PhaseSyncing: {
		VerbRecover: "the primary is where it was", VerbFailback: whyPreferred,
		VerbResume: whyNoSwitch, VerbCancel: whyNoSwitch,
	},
	PhaseInSync: {
		VerbRecover: "the primary is where it was", VerbFailback: whyPreferred,
		VerbResume: whyNoSwitch, VerbCancel: whyNoSwitch,
	},
	PhaseFailingOver: {
		VerbApply: whySwitching, VerbPause: whySwitching, VerbStart: whySwitching,
		VerbRecover: whySwitching, VerbFailback: whySwitching, VerbDelete: whySwitching, VerbVerify: whySwitching,
	},
	PhaseFailedOver: {
		VerbApply: whySwitched, VerbPause: whySwitched, VerbStart: whySwitched, VerbFailover: whyReverse,
		VerbFailback: whyReverse, VerbVerify: whyReverse, VerbResume: whyNoSwitch, VerbCancel: whyNoSwitch,
	},
	PhaseRecovering: {
		VerbRecover: whyCopying, VerbResume: whyNoSwitch, VerbCancel: whyNoSwitch,
	},
	PhaseRecoverInSync: {
		VerbRecover: whyCopying, VerbResume: whyNoSwitch, VerbCancel: whyNoSwitch,
	},
	PhaseFailingBack: {
		VerbApply: whySwitching, VerbPause: whySwitching, VerbStart: whySwitching, VerbFailover: whySwitching,
		VerbRecover: whySwitching, VerbDelete: whySwitching, VerbVerify: whySwitching,
	},
	PhaseFailed: {
		VerbRecover: "apply again first",
		VerbResume:  whyNoSwitch, VerbCancel: whyNoSwitch,
	},
	PhaseDeleting: {
		VerbPlan: whyDeleting, VerbApply: whyDeleting, VerbVerify: whyDeleting, VerbPause: whyDeleting,
		VerbStart: whyDeleting, VerbFailover: whyDeleting, VerbRecover: whyDeleting, VerbFailback: whyDeleting,
		VerbResume: whyDeleting, VerbCancel: whyDeleting,
	},
}

// Legality says whether a verb may run now and, if not, why.
type Legality struct {
	Verb  Verb   `json:"verb"`
	Legal bool   `json:"legal"`
	Why   string `json:"why,omitempty"`
}

// Legal says whether a verb may run in a phase of the record.
func Legal(verb Verb, phase Phase, paused bool) Legality {
	if verb == VerbStart && !paused && refusals[phase][verb] == "" {
		return Legality{Verb: verb, Why: whyNotPaused}
	}
	if verb == VerbPause && paused && refusals[phase][verb] == "" {
		return Legality{Verb: verb, Why: whyPaused}
	}
	why := refusals[phase][verb]
	return Legality{Verb: verb, Legal: why == "", Why: why}
}

// LegalNow is Legal with what is known of the pair beside the phase: who the
// primary is, and whether the standby holds a complete copy.
func LegalNow(verb Verb, r *Record, complete bool) Legality {
	legality := Legal(verb, r.Phase, r.Paused)
	if !legality.Legal || r.Phase == PhaseFailingOver || r.Phase == PhaseFailingBack {
		return legality
	}
	switch {
	case verb == VerbFailback && r.Primary == r.Body.Spec.PreferredPrimary:
		return Legality{Verb: verb, Why: whyPreferred}
	case (verb == VerbFailover || verb == VerbFailback) && !complete:
		return Legality{Verb: verb, Why: whyNoCopy}
	case verb == VerbFailback && r.Paused:
		return Legality{Verb: verb, Why: whyStart}
	}
	return legality
}
