package verify

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"
)

// ResultSchemaVersion is the value of Result.SchemaVersion.
const ResultSchemaVersion = 1

// Kind of a difference.
type Kind string

// The kinds.
const (
	Missing   Kind = "missing"   // on the source only
	Extra     Kind = "extra"     // on the target only
	Different Kind = "different" // another type or value
	TTL       Kind = "ttl"       // same value, another deadline
	Unsettled Kind = "unsettled" // kept changing until the last round: no verdict
)

// kinds in the order of printing.
var kinds = []Kind{Missing, Extra, Different, TTL, Unsettled}

// Result of a comparison.
type Result struct {
	SchemaVersion int        `json:"schemaVersion"`
	Source        SideResult `json:"source"`
	Target        SideResult `json:"target"`

	// Compared counts the source's keys that were read on both sides.
	Compared   int64 `json:"compared"`
	EqualKeys  int64 `json:"equal"`
	Missing    int64 `json:"missing"`
	Extra      int64 `json:"extra"`
	Different  int64 `json:"different"`
	TTLDiffers int64 `json:"ttlDiffers"`
	Unsettled  int64 `json:"unsettled"`

	ByType    map[string]*TypeResult `json:"byType"`
	Functions FunctionsResult        `json:"functions"`
	// Samples are the first keys of every kind, by database and name.
	Samples []Sample `json:"samples,omitempty"`

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

// SideResult says what one side holds.
type SideResult struct {
	Name      string   `json:"name"`
	Servers   []string `json:"servers"`
	Databases []int    `json:"databases"` // that hold keys
	Keys      int64    `json:"keys"`      // without our own
	OwnKeys   int64    `json:"ownKeys"`   // that start with wire.KeyPrefix; left out
}

// TypeResult counts the keys of one type.
type TypeResult struct {
	Compared int64 `json:"compared"`
	Differ   int64 `json:"differ"` // of any kind, unsettled ones included
}

// Sample is one key that differs.
type Sample struct {
	Kind   Kind   `json:"kind"`
	DB     int    `json:"db"`
	Key    string `json:"key"` // quoted, with escapes
	Type   string `json:"type,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// FunctionsResult compares function libraries by name and code.
type FunctionsResult struct {
	Compared  int      `json:"compared"`
	Missing   []string `json:"missing,omitempty"`
	Extra     []string `json:"extra,omitempty"`
	Different []string `json:"different,omitempty"`
}

func (f FunctionsResult) equal() bool {
	return len(f.Missing) == 0 && len(f.Extra) == 0 && len(f.Different) == 0
}

// Equal reports whether both sides hold the same. A key without a verdict is
// not equal.
func (r *Result) Equal() bool {
	return r.Missing == 0 && r.Extra == 0 && r.Different == 0 && r.TTLDiffers == 0 &&
		r.Unsettled == 0 && r.Functions.equal()
}

// count gives the counter of a kind.
func (r *Result) count(k Kind) *int64 {
	switch k {
	case Missing:
		return &r.Missing
	case Extra:
		return &r.Extra
	case Different:
		return &r.Different
	case TTL:
		return &r.TTLDiffers
	default:
		return &r.Unsettled
	}
}

func (r *Result) typeResult(typ string) *TypeResult {
	if r.ByType[typ] == nil {
		r.ByType[typ] = &TypeResult{}
	}
	return r.ByType[typ]
}

// WriteText prints the result for people.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "source %s: %d keys, target %s: %d keys (%d of our own left out)\n",
		r.Source.Name, r.Source.Keys, r.Target.Name, r.Target.Keys, r.Source.OwnKeys+r.Target.OwnKeys)
	fmt.Fprintf(&b, "compared %d keys in %d rounds, %.1f s: %d equal, %d missing, %d extra, %d different, %d with another TTL, %d unsettled\n",
		r.Compared, r.Rounds, float64(r.DurationMS)/1000, r.EqualKeys, r.Missing, r.Extra, r.Different, r.TTLDiffers, r.Unsettled)
	if r.NotRechecked > 0 {
		fmt.Fprintf(&b, "%d of them differed in the first round and were too many to look at again\n", r.NotRechecked)
	}
	types := make([]string, 0, len(r.ByType))
	for t := range r.ByType {
		types = append(types, t)
	}
	sort.Strings(types)
	for _, t := range types {
		fmt.Fprintf(&b, "  %-8s %8d compared %8d differ\n", t, r.ByType[t].Compared, r.ByType[t].Differ)
	}
	fmt.Fprintf(&b, "function libraries: %d compared\n", r.Functions.Compared)
	for _, f := range []struct {
		kind  Kind
		names []string
	}{{Missing, r.Functions.Missing}, {Extra, r.Functions.Extra}, {Different, r.Functions.Different}} {
		for _, name := range f.names {
			fmt.Fprintf(&b, "  %-10s library %s\n", f.kind, escape(name))
		}
	}
	for _, s := range r.Samples {
		fmt.Fprintf(&b, "  %-10s db %d %s %s", s.Kind, s.DB, s.Type, s.Key)
		if s.Detail != "" {
			fmt.Fprintf(&b, ": %s", s.Detail)
		}
		b.WriteByte('\n')
	}
	if r.Equal() {
		b.WriteString("both sides hold the same\n")
	} else {
		b.WriteString("the sides differ\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the comparison: %w", err)
	}
	return nil
}

// sortSamples orders by kind, database and name, so that two runs over the
// same data print the same.
func sortSamples(samples []Sample) {
	slices.SortFunc(samples, func(a, b Sample) int {
		if a.Kind != b.Kind {
			return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind)
		}
		if a.DB != b.DB {
			return a.DB - b.DB
		}
		return strings.Compare(a.Key, b.Key)
	})
}
