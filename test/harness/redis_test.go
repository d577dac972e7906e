package harness

import (
	"reflect"
	"testing"
)

func TestOwnSlots(t *testing.T) {
	const nodes = `a1 10.0.0.1:6379@16379,host.example master - 0 1 1 connected 0-99
b2 10.0.0.2:6379@16379,host.example myself,master - 0 1 2 connected 100-200 300 [301->-a1]
c3 10.0.0.3:6379@16379 slave b2 0 1 2 connected
`
	got, err := ownSlots(nodes)
	if err != nil {
		t.Fatal(err)
	}
	if want := [][2]int{{100, 200}, {300, 300}}; !reflect.DeepEqual(got, want) {
		t.Errorf("slots %v, expected %v", got, want)
	}
	if got, err := ownSlots("c3 10.0.0.3:6379@16379 myself,slave b2 0 1 2 connected\n"); err != nil || got != nil {
		t.Errorf("a replica has slots %v, %v", got, err)
	}
}
