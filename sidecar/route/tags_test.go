package route

import "testing"

func TestSlotTag(t *testing.T) {
	for slot := range SlotCount {
		if key := "redis-sync:{" + SlotTag(slot) + "}:p:0:staging"; Slot([]byte(key)) != slot {
			t.Fatalf("%s is in slot %d, not %d", key, Slot([]byte(key)), slot)
		}
	}
}
