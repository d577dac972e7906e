package switchover

import (
	"fmt"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Divergence is what a comparison of an old primary with the new one found,
// before the old one gets a full copy.
type Divergence struct {
	OldPrimary string          `json:"oldPrimary"`
	Primary    string          `json:"primary"`
	Mode       wire.VerifyMode `json:"mode"`
	Compared   int64           `json:"compared"` // keys of the old primary that were read on both
	// These the old primary has: keys that the new one lacks, that have another
	// value there, or the same with another deadline; and function libraries
	// that it lacks or has otherwise. A full copy removes or replaces them.
	OnlyOld      int64 `json:"onlyOld"`
	Different    int64 `json:"different"`
	DifferentTTL int64 `json:"differentTTL"`
	Libraries    int   `json:"libraries"`
	// OnlyNew are keys that only the new primary has.
	OnlyNew int64 `json:"onlyNew"`
	// Exact: nothing was written to the old primary meanwhile.
	Exact bool `json:"exact"`
	// Found is the comparison itself.
	Found *wire.VerifyResult `json:"-"`
}

// DivergenceOf reads a comparison whose source is the old primary.
func DivergenceOf(r *wire.VerifyResult) *Divergence {
	return &Divergence{
		OldPrimary: r.Source.Name, Primary: r.Target.Name, Mode: r.Mode, Compared: r.Compared,
		// Without a verdict is not equal.
		OnlyOld: r.Missing, Different: r.Different + r.Unsettled, DifferentTTL: r.TTLDiffers,
		Libraries: len(r.Functions.Missing) + len(r.Functions.Different),
		OnlyNew:   r.Extra, Exact: r.Exact, Found: r,
	}
}

// Lost counts the keys and libraries that a full copy removes or replaces.
func (d *Divergence) Lost() int64 {
	return d.OnlyOld + d.Different + d.DifferentTTL + int64(d.Libraries)
}

// String says it for people, in one line.
func (d *Divergence) String() string {
	var b strings.Builder
	what := "all"
	if d.Mode == wire.VerifySample {
		what = "a sample"
	}
	fmt.Fprintf(&b, "site %s, of whose keys %d were compared (%s), has %d that site %s lacks, %d that differ there and %d with another TTL; ",
		d.OldPrimary, d.Compared, what, d.OnlyOld, d.Primary, d.Different, d.DifferentTTL)
	if d.Libraries > 0 {
		fmt.Fprintf(&b, "%d function libraries that it lacks or has otherwise; ", d.Libraries)
	}
	fmt.Fprintf(&b, "only site %s has %d", d.Primary, d.OnlyNew)
	if !d.Exact {
		fmt.Fprintf(&b, " (site %s was written to meanwhile)", d.OldPrimary)
	}
	return b.String()
}
