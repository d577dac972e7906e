//go:build clusters

package network

import (
	"os"
	"strings"
	"testing"
)

// TestRemoveLinkThatVanishes races with the kernel, which removes a link some
// time after "ip netns del" of its other end's namespace has returned.
func TestRemoveLinkThatVanishes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	const ns, link = "rst-test-link", "rst-test0"
	t.Cleanup(func() {
		_ = deleteNetns(ns) // both are gone unless the test has failed
		_ = removeLink(link)
	})
	for range 200 {
		if err := ipAll(
			[]string{"netns", "add", ns},
			[]string{"link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", ns},
		); err != nil {
			t.Fatal(err)
		}
		if err := deleteNetns(ns); err != nil {
			t.Fatal(err)
		}
		if err := removeLink(link); err != nil {
			t.Fatal(err)
		}
		if out, err := ip("link", "show", "dev", link); err == nil {
			t.Fatalf("the link is there: %s", out)
		} else if !strings.Contains(err.Error(), "does not exist") {
			t.Fatal(err)
		}
	}
}
