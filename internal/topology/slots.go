package topology

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// SlotCount is the number of hash slots of a Redis Cluster.
const SlotCount = 16384

// SlotRange is a closed range of slots.
type SlotRange struct{ From, To int }

// SlotSet is a sorted list of disjoint, non-adjacent ranges.
type SlotSet []SlotRange

// AllSlots is every slot.
func AllSlots() SlotSet { return SlotSet{{0, SlotCount - 1}} }

// Normalize returns the same slots as sorted, disjoint, non-adjacent ranges.
func (s SlotSet) Normalize() SlotSet {
	in := append(SlotSet(nil), s...)
	sort.Slice(in, func(i, j int) bool { return in[i].From < in[j].From })
	var out SlotSet
	for _, r := range in {
		if n := len(out); n > 0 && r.From <= out[n-1].To+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Count is the number of slots in the set.
func (s SlotSet) Count() int {
	n := 0
	for _, r := range s {
		n += r.To - r.From + 1
	}
	return n
}

// Contains reports whether slot is in the set.
func (s SlotSet) Contains(slot int) bool {
	for _, r := range s {
		if slot >= r.From && slot <= r.To {
			return true
		}
	}
	return false
}

// String is the form of sync.toml and of the record: "0-5460,6000".
func (s SlotSet) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(r.From))
		if r.To != r.From {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(r.To))
		}
	}
	return b.String()
}

// ParseSlots reads what String writes.
func ParseSlots(text string) (SlotSet, error) {
	var s SlotSet
	if text == "" {
		return nil, nil
	}
	for _, part := range strings.Split(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a < 0 || b >= SlotCount || a > b {
			return nil, fmt.Errorf("slots %q: %q is not a slot or a range of slots between 0 and %d", text, part, SlotCount-1)
		}
		s = append(s, SlotRange{a, b})
	}
	return s.Normalize(), nil
}

// MarshalText writes the set as String does.
func (s SlotSet) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *SlotSet) UnmarshalText(text []byte) error {
	parsed, err := ParseSlots(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
