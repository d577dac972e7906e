package pair

import (
	"encoding/json"
	"slices"
)

// Switch is a change of roles: the one under way, or the last one. Together
// with what is observed it says what is left to do, so that a verb that was
// interrupted goes on from wherever it stopped, whoever runs it again.
type Switch struct {
	ID     string `json:"id"`   // operation that began it
	Verb   Verb   `json:"verb"` // failover, failback, recover or cancel
	From   string `json:"from"` // site that was the primary
	To     string `json:"to"`   // site that becomes it
	Epoch  int64  `json:"epoch"`
	Base   int64  `json:"base,omitempty"` // epoch of the checkpoints in To (of a cancel: in From) when it began
	Before Phase  `json:"before"`         // phase that a cancel returns to

	// Shards are the shards of To before the roles change, those of From
	// afterwards; the record has the others.
	Shards []ShardState `json:"shards,omitempty"`

	Forced    bool `json:"forced,omitempty"`    // without From: what it had not sent is lost
	NoReverse bool `json:"noReverse,omitempty"` // recover is to start the opposite link

	// Window is how From's writes were closed, and what it had been before. It
	// is opaque here.
	Window json.RawMessage `json:"window,omitempty"`
	// Positions are To's streams, by shard, at the moment when both sides held
	// the same and nobody wrote.
	Positions []PositionRecorded `json:"positions,omitempty"`
	// Opening: To may have taken writes of applications. It is saved before To
	// is opened.
	Opening bool `json:"opening,omitempty"`
	Opened  bool `json:"opened,omitempty"`
	// Kept: From refused writes from the positions on until it was protected
	// as the standby, so that it can be fed from there.
	Kept bool `json:"kept,omitempty"`
	// Rescued is the operation that saved what only From had.
	Rescued string `json:"rescued,omitempty"`
	// Ended: nothing is left to do.
	Ended bool `json:"ended,omitempty"`
}

// Committed tells whether the roles have changed: the point of no return.
func (r *Record) Committed() bool {
	return r.Body.Switch != nil && r.Epoch >= r.Body.Switch.Epoch
}

// Switching gives the switch under way; nil when there is none.
func (r *Record) Switching() *Switch {
	if r.Body.Switch == nil || r.Body.Switch.Ended {
		return nil
	}
	return r.Body.Switch
}

// descends tells whether a record is a later state of another: it has its last
// journal line.
func (r *Record) descends(older *Record) bool {
	if len(older.Journal) == 0 {
		return true
	}
	last := older.Journal[len(older.Journal)-1]
	return slices.ContainsFunc(r.Journal, func(l JournalLine) bool {
		return l.Operation == last.Operation && l.Text == last.Text && l.At.Equal(last.At)
	})
}
