package sidecar

import (
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// TestEmptyName: a command without a name is a matter of the target, not a
// panic.
func TestEmptyName(t *testing.T) {
	var c resp.Command
	if err := resp.ReadCommand(window.New(strings.NewReader("*3\r\n$0\r\n\r\n$1\r\na\r\n$1\r\nb\r\n"), 4096, 0), &c); err != nil {
		t.Fatal(err)
	}
	if left, err := (&Replicator{}).withoutOurs(&c); !left || err != nil {
		t.Errorf("left %v: %v", left, err)
	}
}
