package route

import (
	"fmt"
	"testing"
)

func set(t *testing.T, text string) SlotSet {
	t.Helper()
	s, err := ParseSlots(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMatch(t *testing.T) {
	for name, c := range map[string]struct {
		held    []string
		masters []string
		want    string
	}{
		"nothing moved":                  {[]string{"0-9", "10-19"}, []string{"10-19", "0-9"}, "map[0:1 1:0]"},
		"some moved":                     {[]string{"0-9", "10-19"}, []string{"0-4", "5-19"}, "map[0:0 1:1]"},
		"after one has let go":           {[]string{"0-4", "10-19"}, []string{"0-4", "5-19"}, "map[0:0 1:1]"},
		"a master has no slots any more": {[]string{"0-9", "10-19"}, []string{"0-19"}, "map[0:0]"},
		"it was the first":               {[]string{"0-8", "9-19"}, []string{"0-19"}, "map[1:0]"},
		"a new master":                   {[]string{"0-9", "10-19"}, []string{"0-3", "4-9", "10-19"}, "map[0:1 1:2]"},
		"most of one went to the other":  {[]string{"0-9", "10-19"}, []string{"8-9", "0-7,10-12", "13-19"}, "map[0:1 1:2]"},
		"halves are alike":               {[]string{"0-9", "10-19"}, []string{"0-4,10-14", "5-9,15-19"}, "map[0:0 1:1]"},
		"a shard that holds nothing":     {[]string{"0-19", ""}, []string{"0-9", "10-19"}, "map[0:0 1:1]"},
	} {
		held := map[int]SlotSet{}
		for i, h := range c.held {
			held[i] = set(t, h)
		}
		var masters []SlotSet
		for _, m := range c.masters {
			masters = append(masters, set(t, m))
		}
		if got := fmt.Sprint(Match(held, masters)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestMatchStaysTheSame: whichever shards have let go or taken over already,
// all come to the same result.
func TestMatchStaysTheSame(t *testing.T) {
	before := []string{"0-9", "10-19", "20-29"}
	masters := []SlotSet{set(t, "5-11,29"), set(t, "0-4,12-19,20-22"), set(t, "23-28")}
	start := map[int]SlotSet{}
	for i, h := range before {
		start[i] = set(t, h)
	}
	want := Match(start, masters)
	for state := range 27 { // of each shard: nothing done, let go, taken over
		held := map[int]SlotSet{}
		for i, s := 0, state; i < 3; i, s = i+1, s/3 {
			goal := masters[want[i]]
			switch s % 3 {
			case 0:
				held[i] = start[i]
			case 1:
				held[i] = start[i].And(goal)
			case 2:
				held[i] = goal
			}
		}
		if got := Match(held, masters); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("state %d: %v, want %v", state, got, want)
		}
	}
}

func TestSlotSetOperations(t *testing.T) {
	a, b := set(t, "0-9,100"), set(t, "5-20")
	if got := a.And(b).String(); got != "5-9" {
		t.Errorf("And: %s", got)
	}
	if got := a.Minus(b).String(); got != "0-4,100" {
		t.Errorf("Minus: %s", got)
	}
	if a.First() != 0 || b.First() != 5 || NewSlotSet().First() != SlotCount {
		t.Error("First")
	}
	if SlotSet(nil).And(a).Count() != 0 || a.Minus(nil).Count() != 11 {
		t.Error("the nil set is not the empty one")
	}
}
