// Package route says where a command goes: which keys it has, which hash
// slots they are in, and what kind of command it is.
package route

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// SlotCount is the number of hash slots of a Redis Cluster.
const SlotCount = 16384

// SlotSet is a set of hash slots; nil is the empty set.
type SlotSet []uint64

// NewSlotSet is an empty set that slots can be added to.
func NewSlotSet() SlotSet { return make(SlotSet, SlotCount/64) }

// And returns the slots that are in both.
func (s SlotSet) And(o SlotSet) SlotSet {
	both := NewSlotSet()
	for i := range both {
		if s != nil && o != nil {
			both[i] = s[i] & o[i]
		}
	}
	return both
}

// Minus returns the slots that are not in o.
func (s SlotSet) Minus(o SlotSet) SlotSet {
	rest := NewSlotSet()
	for i := range rest {
		if s != nil {
			rest[i] = s[i]
		}
		if o != nil {
			rest[i] &^= o[i]
		}
	}
	return rest
}

// ParseSlots reads "0-5460,6000".
func ParseSlots(text string) (SlotSet, error) {
	s := make(SlotSet, SlotCount/64)
	if strings.TrimSpace(text) == "" {
		return s, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a < 0 || b >= SlotCount || a > b {
			return nil, fmt.Errorf("%q is not a slot or a range of slots between 0 and %d", part, SlotCount-1)
		}
		for n := a; n <= b; n++ {
			s.Add(n)
		}
	}
	return s, nil
}

// Add puts a slot into the set, which must not be nil.
func (s SlotSet) Add(slot int) { s[slot>>6] |= 1 << (slot & 63) }

// Has reports whether the slot is in the set.
func (s SlotSet) Has(slot int) bool { return s != nil && s[slot>>6]&(1<<(slot&63)) != 0 }

// Count is the number of slots.
func (s SlotSet) Count() int {
	n := 0
	for slot := range SlotCount {
		if s.Has(slot) {
			n++
		}
	}
	return n
}

// Equal reports whether both hold the same slots.
func (s SlotSet) Equal(o SlotSet) bool {
	for slot := range SlotCount {
		if s.Has(slot) != o.Has(slot) {
			return false
		}
	}
	return true
}

// Overlaps reports whether a slot is in both.
func (s SlotSet) Overlaps(o SlotSet) bool {
	for slot := range SlotCount {
		if s.Has(slot) && o.Has(slot) {
			return true
		}
	}
	return false
}

// String writes what ParseSlots reads.
func (s SlotSet) String() string {
	var b strings.Builder
	for slot := 0; slot < SlotCount; slot++ {
		if !s.Has(slot) {
			continue
		}
		from := slot
		for slot+1 < SlotCount && s.Has(slot+1) {
			slot++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(from))
		if slot > from {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(slot))
		}
	}
	return b.String()
}

// Slot is the hash slot of a key: of its hash tag, where it has one.
func Slot(key []byte) int {
	if i := bytes.IndexByte(key, '{'); i >= 0 {
		if n := bytes.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	return int(crc16(key) & (SlotCount - 1))
}
