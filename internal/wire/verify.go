package wire

import "time"

// VerifyResultSchemaVersion is the value of VerifyResult.SchemaVersion.
const VerifyResultSchemaVersion = 1

// Defaults of a comparison, for both programs.
const (
	DefaultVerifySample       = 10_000 // keys of each side
	DefaultVerifyRounds       = 8
	DefaultVerifyNames        = 20 // keys named of every kind
	DefaultVerifyTTLTolerance = time.Second
	DefaultVerifyTimeout      = 30 * time.Minute
)

// VerifyLine is one line that `redis-sync-sidecar verify` prints: JSON, with
// one of these set. Other lines are for people. The last line is the result
// or the error.
type VerifyLine struct {
	Progress *VerifyProgress `json:"progress,omitempty"`
	Result   *VerifyResult   `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
	TimedOut bool            `json:"timedOut,omitempty"` // with Error: the time that was given is over
}

// Where `redis-sync-sidecar rescue` gives the file away: over HTTP, on the
// loopback interface of its pod only, so that a port-forward is the only way
// to it.
const (
	RescuePort = 9311
	RescuePath = "/rescue.rdb"
)

// VerifyProgress of a running comparison.
type VerifyProgress struct {
	Round    int   `json:"round"`
	Done     int64 `json:"done"`     // keys read in this round
	Total    int64 `json:"total"`    // keys to read in this round; in the first one an estimate
	Suspects int   `json:"suspects"` // keys that differ so far
}

// VerifyKind is the kind of a difference.
type VerifyKind string

// The kinds.
const (
	VerifyMissing   VerifyKind = "missing"   // on the source only
	VerifyExtra     VerifyKind = "extra"     // on the target only
	VerifyDifferent VerifyKind = "different" // another type or value
	VerifyTTL       VerifyKind = "ttl"       // same value, another deadline
	VerifyUnsettled VerifyKind = "unsettled" // kept changing until the last round: no verdict
)

// VerifyKinds are all of them, in the order of printing.
var VerifyKinds = []VerifyKind{VerifyMissing, VerifyExtra, VerifyDifferent, VerifyTTL, VerifyUnsettled}

// VerifyMode says how much is compared.
type VerifyMode string

// The modes.
const (
	VerifyFull   VerifyMode = "full"   // every key
	VerifySample VerifyMode = "sample" // keys of both sides, chosen at random
)

// VerifyResult of a comparison.
type VerifyResult struct {
	SchemaVersion int              `json:"schemaVersion"`
	Mode          VerifyMode       `json:"mode"`
	Source        VerifySideResult `json:"source"`
	Target        VerifySideResult `json:"target"`

	// Compared counts the source's keys that were read on both sides.
	Compared   int64 `json:"compared"`
	EqualKeys  int64 `json:"equal"`
	Missing    int64 `json:"missing"`
	Extra      int64 `json:"extra"`
	Different  int64 `json:"different"`
	TTLDiffers int64 `json:"ttlDiffers"`
	Unsettled  int64 `json:"unsettled"`

	ByType    map[string]*VerifyTypeResult `json:"byType"`
	Functions VerifyFunctions              `json:"functions"`
	// Samples are the first keys of every kind, by database and name.
	Samples []VerifySampleKey `json:"samples,omitempty"`

	// TTLToleranceMS is by how many milliseconds deadlines may differ and
	// still count as the same.
	TTLToleranceMS int64 `json:"ttlToleranceMs"`
	// Exact: nothing was written to the source, and the target had applied
	// everything, from the beginning of the comparison to its end. With Apart:
	// nothing was written to the source.
	Exact bool `json:"exact"`
	// Apart: nothing is copied from the source to the target. Nothing is late
	// then, and every key was read once.
	Apart bool `json:"apart,omitempty"`
	// Positions: differences were confirmed at equal positions, each read on
	// the target after it had applied what the source had written until then.
	// PositionsWhy says why not.
	Positions    bool   `json:"positions"`
	PositionsWhy string `json:"positionsWhy,omitempty"`

	// Rounds that were run; the first one reads everything, the others the
	// keys that differed.
	Rounds int `json:"rounds"`
	// Suspects counts the keys that differed in the first round.
	Suspects int64 `json:"suspects"`
	// NotRechecked counts suspects beyond the bound of memory: they are
	// counted as they were in the first round.
	NotRechecked int64 `json:"notRechecked,omitempty"`

	StartedAt  time.Time `json:"startedAt"`
	DurationMS int64     `json:"durationMs"`
}

// VerifySideResult says what one side holds.
type VerifySideResult struct {
	Name      string   `json:"name"`
	Servers   []string `json:"servers"`
	Databases []int    `json:"databases"` // that hold keys
	Keys      int64    `json:"keys"`      // that were read, without our own
	OwnKeys   int64    `json:"ownKeys"`   // that start with KeyPrefix; left out
}

// VerifyTypeResult counts the keys of one type.
type VerifyTypeResult struct {
	Compared int64 `json:"compared"`
	Differ   int64 `json:"differ"` // of any kind, unsettled ones included
}

// VerifySampleKey is one key that differs.
type VerifySampleKey struct {
	Kind   VerifyKind `json:"kind"`
	DB     int        `json:"db"`
	Key    string     `json:"key"` // quoted, with escapes; a long one is cut
	Type   string     `json:"type,omitempty"`
	Detail string     `json:"detail,omitempty"`
}

// VerifyFunctions compares function libraries by name and code.
type VerifyFunctions struct {
	Compared  int      `json:"compared"`
	Missing   []string `json:"missing,omitempty"`
	Extra     []string `json:"extra,omitempty"`
	Different []string `json:"different,omitempty"`
}

// Equal reports whether the libraries are the same.
func (f VerifyFunctions) Equal() bool {
	return f.Differences() == 0
}

// Differences counts the libraries that are not the same.
func (f VerifyFunctions) Differences() int { return len(f.Missing) + len(f.Extra) + len(f.Different) }

// Differences counts the keys and libraries that were found to differ; keys
// without a verdict are not among them.
func (r *VerifyResult) Differences() int64 {
	return r.Missing + r.Extra + r.Different + r.TTLDiffers + int64(r.Functions.Differences())
}

// Equal reports whether both sides hold the same. A key without a verdict is
// not equal.
func (r *VerifyResult) Equal() bool {
	return r.Differences() == 0 && r.Unsettled == 0
}
