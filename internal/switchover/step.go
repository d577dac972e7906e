package switchover

import "fmt"

// Op is what a step does.
type Op string

// The steps.
const (
	// OpVerify compares both sites while writes go on; after it they are known
	// to be equal as far as the user asked.
	OpVerify Op = "verify"
	// OpClose makes every data pod of the old primary refuse writes; after it
	// every pod was seen to.
	OpClose Op = "close"
	// OpDrain waits until the standby has applied what the old primary's
	// masters had when they were closed; after it every checkpoint was seen
	// there.
	OpDrain Op = "drain"
	// OpLook looks at roles, offsets, fence and window once more; after it
	// nothing had moved since the drain.
	OpLook Op = "look"
	// OpCommit writes the new epoch and the new roles into the records, the
	// one of the old primary's site first. The point of no return.
	OpCommit Op = "commit"
	// OpFence raises the fence of a site; after it no replicator of a lower
	// epoch can write there.
	OpFence Op = "fence"
	// OpPosition notes where the new primary's streams are; both sides are
	// equal there.
	OpPosition Op = "position"
	// OpOpen lets applications write to the new primary.
	OpOpen Op = "open"
	// OpStop scales the replicators that write to a site to 0.
	OpStop Op = "stop"
	// OpProtect makes a site refuse the writes of everybody but replicators.
	OpProtect Op = "protect"
	// OpRescue saves what only a site has before a full copy removes it.
	OpRescue Op = "rescue"
	// OpLift ends what OpClose began.
	OpLift Op = "lift"
	// OpCheckpoint lets the replicators that write to a site begin at the
	// positions of OpPosition. A checkpoint of this epoch is left as it is.
	OpCheckpoint Op = "checkpoint"
	// OpCarry takes the checkpoints of a site over into this epoch: nothing
	// was written there since they were made.
	OpCarry Op = "carry"
	// OpLink creates the replicators that write to a site and what they need,
	// and removes those of the other direction.
	OpLink Op = "link"
	// OpAwait waits until the replicators that write to a site are in sync.
	OpAwait Op = "await"
)

// Step is one thing to do at one site.
type Step struct {
	Op    Op     `json:"op"`
	Site  string `json:"site"`
	Epoch int64  `json:"epoch,omitempty"` // of OpCommit and OpFence
	Full  bool   `json:"full,omitempty"`  // of OpLink: the copy starts anew; of OpVerify: every key
}

// Waits tells a step that changes nothing, so that an interruption ends it.
func (s Step) Waits() bool {
	switch s.Op {
	case OpVerify, OpDrain, OpLook, OpAwait, OpRescue:
		return true
	}
	return false
}

// String is the step for people.
func (s Step) String() string {
	switch s.Op {
	case OpVerify:
		if s.Full {
			return "compare every key of both sites, while writes go on"
		}
		return "compare a sample of both sites, while writes go on"
	case OpClose:
		return fmt.Sprintf("close site %s: every data pod refuses writes (min-replicas-to-write)", s.Site)
	case OpDrain:
		return fmt.Sprintf("wait until site %s has applied everything", s.Site)
	case OpLook:
		return "look again: roles, offsets, fence"
	case OpCommit:
		return fmt.Sprintf("commit: site %s becomes the primary at epoch %d; from here on there is no way back without a new switch", s.Site, s.Epoch)
	case OpFence:
		return fmt.Sprintf("raise the fence of site %s to epoch %d: replicators of lower epochs are shut out", s.Site, s.Epoch)
	case OpPosition:
		return fmt.Sprintf("note the position of site %s, where both sites are equal", s.Site)
	case OpOpen:
		return fmt.Sprintf("open site %s for writes", s.Site)
	case OpStop:
		return fmt.Sprintf("stop the replicators that wrote to site %s", s.Site)
	case OpProtect:
		return fmt.Sprintf("protect site %s as the standby: only replicators may write", s.Site)
	case OpRescue:
		return fmt.Sprintf("save what only site %s has, or has otherwise, into the rescue file", s.Site)
	case OpLift:
		return fmt.Sprintf("end the closing of site %s (min-replicas-to-write as before)", s.Site)
	case OpCheckpoint:
		return fmt.Sprintf("let site %s be fed from the noted position", s.Site)
	case OpCarry:
		return fmt.Sprintf("take the checkpoints in site %s over into epoch %d", s.Site, s.Epoch)
	case OpLink:
		if s.Full {
			return fmt.Sprintf("start the replicators that write to site %s, with a full copy", s.Site)
		}
		return fmt.Sprintf("start the replicators that write to site %s", s.Site)
	case OpAwait:
		return fmt.Sprintf("wait until site %s is in sync", s.Site)
	}
	return string(s.Op)
}
