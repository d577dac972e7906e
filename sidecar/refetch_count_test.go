package sidecar

import "testing"

// TestFetchRoundsCount: rounds that bring no value neither count as too old nor
// end a run of those that do.
func TestFetchRoundsCount(t *testing.T) {
	f := &fetcher{out: true}
	for i, round := range []struct {
		values, written int
		holds           bool
	}{
		{2, 1, false},
		{0, 0, false}, // all of its keys are unsure, or the source refused
		{1, 0, false},
		{0, 0, false},
		{128, 127, true},
		{0, 0, true},
		{1, 1, false},
		{1, 0, false},
	} {
		if f.count(round.values, round.written); f.holds() != round.holds {
			t.Errorf("after round %d the stream is to stand still: %v", i, f.holds())
		}
	}
}
