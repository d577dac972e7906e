package sidecar

import (
	"errors"
	"testing"
)

// TestFetchRoundsCount: rounds that bring no value neither count as too old nor
// end a run of those that do; but the stream goes on while the source refuses.
func TestFetchRoundsCount(t *testing.T) {
	f := &fetcher{out: true}
	for i, round := range []struct {
		values, written int
		refused         error
		holds           bool
	}{
		{2, 1, nil, false},
		{0, 0, nil, false}, // all of its keys are unsure
		{1, 0, nil, false},
		{0, 0, nil, false},
		{128, 127, nil, true},
		{0, 0, nil, true},
		{0, 0, errors.New("NOPERM"), false},
		{1, 0, nil, false},
		{1, 0, nil, false},
		{1, 0, nil, true},
		{1, 1, nil, false},
		{1, 0, nil, false},
	} {
		if f.count(round.refused, round.values, round.written); f.holds() != round.holds {
			t.Errorf("after round %d the stream is to stand still: %v", i, f.holds())
		}
	}
}
