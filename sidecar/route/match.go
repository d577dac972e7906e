package route

import "sort"

// Match says which master of a source each shard goes with after slots have
// moved: the two that have most slots in common first, then the next two, and
// at last the shards and masters that share none, in their order. held is by
// shard, masters have no slot in common. A shard without a master is not in
// the result.
//
// Every shard works this out for itself, while others have already let go of
// what they lost and taken what they won. That only makes the chosen two share
// more and all others share less, so all come to the same result.
func Match(held map[int]SlotSet, masters []SlotSet) map[int]int {
	type couple struct{ shard, master, common, first int }
	var all []couple
	for shard, h := range held {
		for m, slots := range masters {
			all = append(all, couple{shard, m, h.And(slots).Count(), slots.First()})
		}
	}
	sort.Slice(all, func(i, k int) bool {
		a, b := all[i], all[k]
		switch {
		case a.common != b.common:
			return a.common > b.common
		case a.shard != b.shard:
			return a.shard < b.shard
		}
		return a.first < b.first
	})
	result, taken := map[int]int{}, map[int]bool{}
	for _, c := range all {
		if _, ok := result[c.shard]; ok || taken[c.master] {
			continue
		}
		result[c.shard], taken[c.master] = c.master, true
	}
	return result
}

// First is the lowest slot of the set, SlotCount when there is none.
func (s SlotSet) First() int {
	for slot := range SlotCount {
		if s.Has(slot) {
			return slot
		}
	}
	return SlotCount
}
