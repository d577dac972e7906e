package verify

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// The result is a format that travels from the job to the plugin.
type (
	// Result of a comparison.
	Result = wire.VerifyResult
	// Progress of a running comparison.
	Progress = wire.VerifyProgress
	// Kind of a difference.
	Kind = wire.VerifyKind
	// Sample is one key that differs.
	Sample = wire.VerifySampleKey
)

// The kinds, under short names.
const (
	Missing   = wire.VerifyMissing
	Extra     = wire.VerifyExtra
	Different = wire.VerifyDifferent
	TTL       = wire.VerifyTTL
	Unsettled = wire.VerifyUnsettled
)

// counter gives the counter of a kind.
func counter(r *Result, k Kind) *int64 {
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

func typeResult(r *Result, typ string) *wire.VerifyTypeResult {
	if r.ByType[typ] == nil {
		r.ByType[typ] = &wire.VerifyTypeResult{}
	}
	return r.ByType[typ]
}

// WriteText prints a result for people.
func WriteText(w io.Writer, r *Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "source %s: %d keys, target %s: %d keys (%d of our own left out)\n",
		r.Source.Name, r.Source.Keys, r.Target.Name, r.Target.Keys, r.Source.OwnKeys+r.Target.OwnKeys)
	what := ""
	if r.Mode == wire.VerifySample {
		what = " chosen at random"
	}
	fmt.Fprintf(&b, "compared %d keys%s in %d rounds, %.1f s: %d equal, %d missing, %d extra, %d different, %d with another TTL, %d unsettled\n",
		r.Compared, what, r.Rounds, float64(r.DurationMS)/1000, r.EqualKeys, r.Missing, r.Extra, r.Different, r.TTLDiffers, r.Unsettled)
	b.WriteString(conditions(r))
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
	switch {
	case !r.Equal():
		b.WriteString("the sides differ\n")
	case r.Mode == wire.VerifySample:
		b.WriteString("no difference among the keys that were looked at\n")
	default:
		b.WriteString("both sides hold the same\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the comparison: %w", err)
	}
	return nil
}

// conditions says under which the result holds.
func conditions(r *Result) string {
	text := fmt.Sprintf("deadlines within %v of each other count as the same", time.Duration(r.TTLToleranceMS)*time.Millisecond)
	switch {
	case r.Apart && r.Exact:
		text += "; nothing was written to site " + r.Source.Name + " meanwhile"
	case r.Apart:
		text += "; site " + r.Source.Name + " was written to meanwhile"
	case r.Exact:
		text += "; exact: nothing was written meanwhile"
	case r.Positions && r.Suspects > 0:
		text += "; differences were confirmed at equal positions"
	case r.PositionsWhy != "" && r.Suspects > 0:
		text += "; differences were not confirmed at equal positions (" + r.PositionsWhy + "), only by reading again"
	}
	return text + "\n"
}
