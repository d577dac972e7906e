package route

import (
	"strings"
	"testing"
)

// FuzzParseNodes reads CLUSTER NODES of a server that may say anything.
func FuzzParseNodes(f *testing.F) {
	f.Add("a1 10.0.0.1:6379@16379,h myself,master - 0 0 1 connected 0-5460 [5->-b2]\nb2 :0@0 slave,noaddr a1 0 0 1 disconnected\n")
	f.Add("a1 127.0.0.1:7000 myself,master - 0 0 1 connected 0-5 7 16383\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		nodes, err := ParseNodes(text, "self:1")
		if err != nil {
			return
		}
		if lines := strings.Count(text, "\n") + 1; len(nodes) > lines {
			t.Errorf("%d nodes in %d lines", len(nodes), lines)
		}
		for _, n := range nodes {
			back, err := ParseSlots(n.Slots.String())
			if err != nil || !back.Equal(n.Slots) {
				t.Errorf("slots %q do not read back: %v", n.Slots, err)
			}
			if n.Slots.Count() > 0 {
				if tag, err := TagIn(n.Slots); err != nil || !n.Slots.Has(Slot([]byte(tag))) {
					t.Errorf("the tag %q is not in the slots %s: %v", tag, n.Slots, err)
				}
			}
			_ = n.Usable()
		}
	})
}
