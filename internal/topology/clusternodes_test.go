package topology

import (
	"os"
	"testing"
)

func TestParseClusterNodes(t *testing.T) {
	for name, test := range map[string]struct {
		line  string
		check func(ClusterNode) bool
	}{
		"3.x without bus port": {"id1 127.0.0.1:7000 myself,master - 0 0 1 connected 0-5 7", func(n ClusterNode) bool {
			return n.Host == "127.0.0.1" && n.Port == 7000 && n.Slots.String() == "0-5,7" && n.Has("myself")
		}},
		"7.2 with shard id and no hostname": {"id1 10.0.0.1:6379@16379,,shard-id=ab master - 0 0 3 connected 0-1", func(n ClusterNode) bool {
			return n.Hostname == "" && n.Host == "10.0.0.1"
		}},
		"7.2 with both": {"id1 10.0.0.1:6379@16379,pod-0.svc,shard-id=ab slave id2 0 0 3 connected", func(n ClusterNode) bool {
			return n.Hostname == "pod-0.svc" && n.Master == "id2"
		}},
		"IPv6": {"id1 fd00::1:6379@16379 master - 0 0 3 connected", func(n ClusterNode) bool {
			return n.Host == "fd00::1" && n.Port == 6379
		}},
		"no address": {"id1 :0@0 master,noaddr - 1 1 3 disconnected", func(n ClusterNode) bool {
			return n.Host == "" && n.Has("noaddr") && !n.usable() && !n.LinkUp
		}},
		"moving slots": {"id1 1.2.3.4:1@2 master - 0 0 3 connected 0-1 [1->-id2] [7-<-id3]", func(n ClusterNode) bool {
			return n.Migrating[1] == "id2" && n.Importing[7] == "id3" && n.Slots.Count() == 2
		}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, err := ParseClusterNodes(test.line + "\r\n")
			if err != nil || len(nodes) != 1 || !test.check(nodes[0]) {
				t.Errorf("got %+v, %v", nodes, err)
			}
		})
	}
	for _, bad := range []string{
		"", "id1 127.0.0.1:7000 master - 0 0", "id1 127.0.0.1 master - 0 0 1 connected",
		"id1 127.0.0.1:7000 master - 0 0 x connected", "id1 127.0.0.1:7000 master - 0 0 1 connected 0-99999",
		"id1 127.0.0.1:7000 master - 0 0 1 connected [a->-b]", "id1 127.0.0.1:7000 master - 0 0 1 connected [5]",
	} {
		if nodes, err := ParseClusterNodes(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, nodes)
		}
	}
}

func FuzzParseClusterNodes(f *testing.F) {
	f.Add("a1 10.0.0.1:6379@16379,h myself,master - 0 0 1 connected 0-5460 [5->-b2]")
	for _, name := range []string{"after-failover", "healthy-v6", "healthy", "resharding"} {
		text, err := os.ReadFile("testdata/cluster-nodes-redis-a-" + name + ".txt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		nodes, err := ParseClusterNodes(text)
		if err == nil && len(nodes) == 0 {
			t.Error("no nodes and no error")
		}
		for _, n := range nodes {
			if back, err := ParseSlots(n.Slots.String()); err != nil || back.String() != n.Slots.String() {
				t.Errorf("slots %q do not read back: %q %v", n.Slots, back, err)
			}
		}
	})
}

func TestKeySlot(t *testing.T) {
	// Values of CLUSTER KEYSLOT of a server.
	for key, slot := range map[string]int{
		"": 0, "foo": 12182, "{user1000}.following": 3443, "foo{}{bar}": 8363, "foo{{bar}}zap": 4015, "123456789": 12739,
	} {
		if got := KeySlot(key); got != slot {
			t.Errorf("slot of %q: got %d, want %d", key, got, slot)
		}
	}
}
