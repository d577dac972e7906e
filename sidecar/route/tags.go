package route

import "sync"

// SlotTag is a hash tag that leads to a slot: a key with {SlotTag(n)} in it is
// in slot n.
func SlotTag(slot int) string { return slotTags()[slot] }

var slotTags = sync.OnceValue(func() *[SlotCount]string {
	var tags [SlotCount]string
	var tag [4]byte
	for i, missing := 0, SlotCount; missing > 0; i++ {
		for k := range tag {
			tag[k] = "0123456789abcdefghijklmnopqrstuv"[i>>(5*k)&31]
		}
		if slot := Slot(tag[:]); tags[slot] == "" {
			tags[slot] = string(tag[:])
			missing--
		}
	}
	return &tags
})
