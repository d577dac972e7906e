package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// topology is what is copied into what.
type topology struct{ source, target shape }

func (p topology) String() string { return string(p.source) + "-" + string(p.target) }

var topologies = []topology{
	{standalone, standalone},
	{cluster, sentinel},
	{sentinel, cluster},
	{cluster, cluster},
}

const (
	pairName  = "soak"
	pairEpoch = 1
)

// startTimeout bounds the forming of a side.
const startTimeout = patience

// startSide starts the servers of a side, with a proxy in front of each.
func startSide(ctx context.Context, t *testing.T, name string, s shape, logs string) *side {
	t.Helper()
	d := &side{name: name, shape: s}
	args := []string{"--logfile", "redis.log", "--repl-backlog-size", "64mb"}
	switch s {
	case standalone:
		// SIGTERM saves, with the replication id: a restart can be resumed
		// from. The append-only file, only at the target, survives SIGKILL up
		// to what a failover loses too.
		args = append(args, "--shutdown-on-sigterm", "save")
		if name == "target" {
			args = append(args, "--appendonly", "yes")
		}
		d.sets = []*set{{members: []*member{{Server: testredis.Start(t, args...)}}}}
	case sentinel:
		m := testredis.Start(t, args...)
		set := &set{members: []*member{{Server: m}}}
		for range 2 {
			set.members = append(set.members, &member{Server: testredis.StartReplica(t, m, args...)})
		}
		d.sets = append(d.sets, set)
		for range 3 {
			w := testredis.StartSentinel(t, m, masterName)
			w.Do(t, "SENTINEL", "SET", masterName, "quorum", "2", "down-after-milliseconds", "1000", "failover-timeout", "6000", "parallel-syncs", "2")
			d.sentinels = append(d.sentinels, &member{Server: w})
		}
	case cluster:
		c := testredis.StartCluster(t, 3, 1, append(args, "--cluster-node-timeout", "2000", "--cluster-allow-replica-migration", "no")...)
		for i, m := range c.Masters() {
			set := &set{members: []*member{{Server: m}}}
			for _, r := range c.Replicas(i) {
				set.members = append(set.members, &member{Server: r})
			}
			d.sets = append(d.sets, set)
		}
	}
	d.startProxies(t)
	t.Cleanup(func() { d.keepLogs(t, logs) })
	for _, set := range d.sets {
		if err := until(ctx, startTimeout, "the "+name+" is whole", func() error { return d.whole(set) }); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// startProxies puts a proxy in front of every server. Those of a target
// replace the servers' ports in what nodes and Sentinels say, because a
// replicator asks them for further addresses; of a source it uses none but
// the candidates.
func (s *side) startProxies(t *testing.T) {
	t.Helper()
	var ports map[string]string
	if s.name == "target" {
		ports = map[string]string{}
	}
	proxied := append(s.members(), s.sentinels...)
	for _, m := range proxied {
		p, err := newProxy(m.Addr, ports)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.close)
		m.proxy = p
	}
	// Filled before the first connection through any of them.
	for _, m := range proxied {
		if ports != nil {
			ports[strconv.Itoa(m.Port)] = portOf(t, m.proxy.addr)
		}
	}
}

// keepLogs copies the servers' logs out of their temporary folders.
func (s *side) keepLogs(t *testing.T, logs string) {
	for i, m := range append(s.members(), s.sentinels...) {
		text, err := os.ReadFile(filepath.Join(m.Dir, "redis.log"))
		if err != nil { // Sentinels have none
			text = []byte(m.Log())
		}
		name := filepath.Join(logs, fmt.Sprintf("%s-%d-port-%d.log", s.name, i, m.Port))
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Errorf("keeping a log: %v", err)
		}
	}
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// fence writes the epoch key into the target, as the plugin does, and waits
// for the replicas: without it nothing is written there.
func (s *side) fence(ctx context.Context, t *testing.T) {
	t.Helper()
	key := wire.FenceKey(pairName)
	for _, set := range s.sets {
		m, err := s.master(set)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.TryDo("SET", key, strconv.Itoa(pairEpoch))
		if err != nil && s.shape == cluster && strings.HasPrefix(err.Error(), "MOVED ") {
			continue
		}
		if err != nil {
			t.Fatalf("the epoch key at %s: %v", m.Addr, err)
		}
		if err := until(ctx, startTimeout, "the epoch key is replicated", func() error { return s.whole(set) }); err != nil {
			t.Fatal(err)
		}
	}
}

// slots of a set as the plugin writes them into sync.toml.
func (s *side) slots(t *testing.T, set *set) string {
	t.Helper()
	if s.shape != cluster {
		return "0-16383"
	}
	m := set.members[0]
	nodes, err := route.ParseNodes(m.Do(t, "CLUSTER", "NODES").(string), m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		if nodes[i].Is("myself") {
			return nodes[i].Slots.String()
		}
	}
	t.Fatalf("CLUSTER NODES at %s names no node as itself", m.Addr)
	return ""
}

// syncToml is the file of the replicator of one shard, as the plugin writes
// it: all pods of the source are candidates.
func syncToml(source, target *side, shard int, slots, dir string, metricsPort, pprofPort int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "type = \"sync\"\n\n[link]\npair = %q\nsite = \"target\"\nshard = %d\nepoch = %d\nslots = %q\n", pairName, shard, pairEpoch, slots)
	from := proxies(source.members())
	fmt.Fprintf(&b, "\n[source]\naddress = %s\ncandidates = [%s]\n", from[0], strings.Join(from, ", "))
	to := proxies(target.members())
	kind := "standalone"
	if target.shape == cluster {
		kind = "cluster"
	}
	fmt.Fprintf(&b, "\n[target]\ntype = %q\naddress = %s\ncandidates = [%s]\nstale_keys = \"prune\"\nstale_keys_max_share = 1.0\n", kind, to[0], strings.Join(to, ", "))
	if target.shape == sentinel {
		fmt.Fprintf(&b, "sentinels = [%s]\nmaster_name = %q\n", strings.Join(proxies(target.sentinels), ", "), masterName)
	}
	// With small batches a node of a cluster is often ahead of the others.
	batch := []int{4, 32, 1024}[rand.IntN(3)]
	fmt.Fprintf(&b, "\n[advanced]\ndir = %q\nmetrics_port = %d\npprof_port = %d\nlog_interval = 5\npipeline_count_limit = %d\n", dir, metricsPort, pprofPort, batch)
	return b.String()
}

func proxies(members []*member) []string {
	list := make([]string, len(members))
	for i, m := range members {
		list[i] = strconv.Quote(m.proxy.addr)
	}
	return list
}
