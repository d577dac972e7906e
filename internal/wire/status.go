package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Phase of one replicator, in the order of a normal start.
type Phase string

const (
	// PhaseStarting: the configuration is read, nothing is connected.
	PhaseStarting Phase = "Starting"
	// PhaseConnecting: looking for a usable source pod and a writable target,
	// or waiting for one of them to come back.
	PhaseConnecting Phase = "Connecting"
	// PhaseFullSync: a snapshot of the source is being written. The target is
	// not a complete copy.
	PhaseFullSync Phase = "FullSync"
	// PhaseCatchingUp: the snapshot is applied (or a partial resync was
	// granted) and the stream is being applied, but not in sync yet.
	PhaseCatchingUp Phase = "CatchingUp"
	// PhaseStreaming: in sync, or lagging by what LagBytes and LagSeconds say.
	PhaseStreaming Phase = "Streaming"
	// PhaseDraining: SIGTERM came; what was read is being applied.
	PhaseDraining Phase = "Draining"
	// PhaseFenced: the fence key of the target is missing or carries another
	// epoch. Nothing is written.
	PhaseFenced Phase = "Fenced"
	// PhaseFailed: stopped on an error that waiting cannot mend; Error says
	// which. The process exits with a non-zero code.
	PhaseFailed Phase = "Failed"
)

// Delivery says what a crash can do to a command.
type Delivery string

const (
	// ExactlyOnce: the checkpoint moves atomically with the data.
	ExactlyOnce Delivery = "exactly-once"
)

// StatusSchemaVersion is the value of Status.SchemaVersion.
const StatusSchemaVersion = 1

// Status is the body of GET /status of a replicator.
type Status struct {
	SchemaVersion int    `json:"schemaVersion"`
	Version       string `json:"version"` // of the sidecar binary
	Pair          string `json:"pair"`
	Site          string `json:"site"` // the site that is written to
	Shard         int    `json:"shard"`
	Slots         string `json:"slots,omitempty"` // "0-5460,6000"

	Phase    Phase    `json:"phase"`
	InSync   bool     `json:"inSync"`
	Complete bool     `json:"complete"` // the target holds a complete copy (a prefix of the shard's history)
	Epoch    int64    `json:"epoch"`    // 0 without [link]: there is no fence
	Delivery Delivery `json:"delivery"`

	Source SourceStatus `json:"source"`
	Target TargetStatus `json:"target"`
	// TargetKeys are keys that the target dropped by itself.
	TargetKeys TargetKeysStatus `json:"targetKeys"`

	// AppliedOffset is the source offset up to which the target is known to
	// have applied the stream.
	AppliedOffset int64 `json:"appliedOffset"`
	// LagBytes is the offset of the shard's master less AppliedOffset.
	LagBytes int64 `json:"lagBytes"`
	// LagSeconds is the age of the oldest byte of the master's stream that is
	// not applied yet; 0 when nothing is outstanding.
	LagSeconds float64 `json:"lagSeconds"`

	FullSync FullSyncStatus `json:"fullSync"`
	Stream   StreamStatus   `json:"stream"`

	Error string `json:"error,omitempty"`
	// Findings are conditions that do not stop the replicator but that an
	// operator should know.
	Findings []string `json:"findings,omitempty"`

	StartedAt string `json:"startedAt"` // RFC 3339, UTC
}

// SourceStatus says which server the stream comes from.
type SourceStatus struct {
	Address      string `json:"address"`
	Role         string `json:"role"` // "master" or "slave", as ROLE says it
	Version      string `json:"version,omitempty"`
	ReplID       string `json:"replid"`
	Offset       int64  `json:"offset"`       // received from the source
	MasterOffset int64  `json:"masterOffset"` // the shard master's own offset, last seen
}

// TargetStatus says which server is written to.
type TargetStatus struct {
	Address string `json:"address"`
	Type    string `json:"type"` // "standalone" or "cluster"
	Version string `json:"version,omitempty"`
	// User is the ACL user that the replicator writes as: SyncUser while the
	// target is protected, else the configured one ("" is the default user).
	// Of a cluster's nodes it is that of the first one that lets others write.
	User string `json:"user,omitempty"`
}

// TargetKeysStatus counts what the servers of the target dropped since this
// replicator first connected to them, of whatever pair or shard the keys were
// (INFO stats, evicted_keys and expired_keys).
type TargetKeysStatus struct {
	Evicted int64 `json:"evicted"` // for want of memory: they are missing in the copy
	Expired int64 `json:"expired"`
}

// FullSyncStatus describes the running or the last full copy.
type FullSyncStatus struct {
	Running    bool   `json:"running"`
	Keys       int64  `json:"keys"`       // written to the target
	Bytes      int64  `json:"bytes"`      // of the snapshot, consumed
	TotalBytes int64  `json:"totalBytes"` // 0 while unknown (diskless source)
	TotalKeys  int64  `json:"totalKeys"`  // as the source's DBSIZE said; an estimate
	StaleKeys  int64  `json:"staleKeys"`  // removed by the sweep
	Count      int64  `json:"count"`      // full copies since the process started
	Partial    int64  `json:"partial"`    // partial resyncs since the process started
	Reason     string `json:"reason,omitempty"`

	// Causes counts the full copies by their cause.
	Causes map[FullSyncCause]int64 `json:"causes,omitempty"`
}

// FullSyncCause is a class of reasons for a full copy, for metrics.
type FullSyncCause string

// Causes of full copies.
const (
	CauseFirst       FullSyncCause = "first"       // no checkpoint of this link and epoch
	CauseIncomplete  FullSyncCause = "incomplete"  // the copy in the target is not complete
	CauseBrokenOff   FullSyncCause = "brokenOff"   // the copy before it broke off
	CauseNotGranted  FullSyncCause = "notGranted"  // the source refused to go on from the position
	CauseSlotsMoved  FullSyncCause = "slotsMoved"  // slots moved at the source
	CauseHistoryLost FullSyncCause = "historyLost" // the target is ahead of the source's history since a failover
	CauseExpired     FullSyncCause = "expired"     // too many keys may have expired on the target
	CauseScript      FullSyncCause = "script"      // a script came by a hash that is not known
)

// FullSyncCauses are all of them.
func FullSyncCauses() []FullSyncCause {
	return []FullSyncCause{CauseFirst, CauseIncomplete, CauseBrokenOff, CauseNotGranted, CauseSlotsMoved, CauseHistoryLost, CauseExpired, CauseScript}
}

// StreamStatus counts what was applied after the snapshot.
type StreamStatus struct {
	Commands       int64 `json:"commands"`
	Bytes          int64 `json:"bytes"`
	Reconnects     int64 `json:"reconnects"`
	SpoolBytes     int64 `json:"spoolBytes"`     // received, not yet taken by the applier
	SpoolDiskBytes int64 `json:"spoolDiskBytes"` // the part of it on disk
	PendingKeys    int64 `json:"pendingKeys"`    // their values are being fetched from the source
}

// ParseStatus reads the body of /status. Anything else that listens on the
// port is told apart by the phase, which every replicator names.
func ParseStatus(body []byte) (*Status, error) {
	s := &Status{}
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("/status is no JSON of a replicator: %w", err)
	}
	if s.Phase == "" {
		return nil, errors.New("/status is no JSON of a replicator: it names no phase")
	}
	return s, nil
}
