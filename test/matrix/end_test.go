package matrix

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/test/servers"
)

// databases that the data uses on a server that is no cluster.
const databases = 4

// end is a source or a target.
type end struct {
	name     string // "redis-8.0", "redis-8.0 cluster"
	binary   *servers.Binary
	addrs    []string // of masters
	cluster  bool
	clients  map[int]redis.UniversalClient
	commands map[string]bool
}

// startEnd starts a cluster of so many masters, or with 0 a server alone.
func startEnd(t testing.TB, b *servers.Binary, masters int) *end {
	t.Helper()
	e := &end{name: b.Name, binary: b, cluster: masters > 0, clients: map[int]redis.UniversalClient{}, commands: map[string]bool{}}
	if e.cluster {
		e.name += " cluster"
		for _, s := range b.StartCluster(t, masters, 0, "--hz", "100").Masters() {
			e.addrs = append(e.addrs, s.Addr)
		}
	} else {
		e.addrs = []string{b.Start(t, "--hz", "100").Addr}
	}
	t.Cleanup(func() {
		for _, c := range e.clients {
			_ = c.Close()
		}
	})
	list, err := e.client(0).Do(t.Context(), "COMMAND").Slice()
	if err != nil {
		t.Fatalf("%s: COMMAND: %v", e.name, err)
	}
	for _, c := range list {
		e.commands[strings.ToUpper(fmt.Sprint(c.([]any)[0]))] = true
	}
	return e
}

// startReplica starts a replica of src, of the same release.
func startReplica(t testing.TB, src *end) *end {
	t.Helper()
	e := startEnd(t, src.binary, 0)
	e.name = "the replica of " + src.name
	e.copyAgain(t, src)
	return e
}

// copyAgain lets a replica take a new full copy of its master, so that it
// went the way that the replicator's target goes: snapshot, then stream.
func (e *end) copyAgain(t testing.TB, src *end) {
	t.Helper()
	host, port, err := net.SplitHostPort(src.addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	// As a master it takes a replication id that its old master does not know.
	e.everywhere(t, "REPLICAOF", "NO", "ONE")
	e.everywhere(t, "REPLICAOF", host, port)
	testredis.Eventually(t, patience, "the source's own replica is attached", func() bool {
		info, err := e.client(0).Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
}

// awaitOffset waits until a replica has everything up to an offset.
func (e *end) awaitOffset(t testing.TB, offset int64) {
	t.Helper()
	testredis.Eventually(t, patience, "the source's own replica has everything", func() bool { return e.offset(t) >= offset })
}

// has says whether the server knows a command.
func (e *end) has(command string) bool { return e.commands[command] }

// version compares the number: at least major.minor.
func (e *end) atLeast(major, minor int) bool {
	f := strings.Split(e.binary.Version, ".")
	a, _ := strconv.Atoi(f[0]) // servers.Get took it from \d+\.\d+\.\d+
	b, _ := strconv.Atoi(f[1])
	return a > major || a == major && b >= minor
}

func (e *end) valkey() bool { return e.binary.Valkey() }

func (e *end) kind() string {
	if e.cluster {
		return "cluster"
	}
	return "standalone"
}

func (e *end) databases() int {
	if e.cluster {
		return 1
	}
	return databases
}

func (e *end) client(db int) redis.UniversalClient {
	if c, ok := e.clients[db]; ok {
		return c
	}
	off := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	var c redis.UniversalClient
	if e.cluster {
		c = redis.NewClusterClient(&redis.ClusterOptions{Addrs: e.addrs, Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: off})
	} else {
		c = redis.NewClient(&redis.Options{Addr: e.addrs[0], DB: db, Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: off})
	}
	e.clients[db] = c
	return c
}

// shards returns a client for every server that holds keys.
func (e *end) shards(t testing.TB, c redis.UniversalClient) []*redis.Client {
	t.Helper()
	cluster, ok := c.(*redis.ClusterClient)
	if !ok {
		return []*redis.Client{c.(*redis.Client)}
	}
	found := make(chan *redis.Client, 100)
	if err := cluster.ForEachMaster(t.Context(), func(_ context.Context, c *redis.Client) error {
		found <- c
		return nil
	}); err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	close(found)
	var all []*redis.Client
	for c := range found {
		all = append(all, c)
	}
	return all
}

// everywhere runs a command on every server.
func (e *end) everywhere(t testing.TB, args ...any) {
	t.Helper()
	for _, c := range e.shards(t, e.client(0)) {
		if err := c.Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%s: %v: %v", e.name, args, err)
		}
	}
}

// clear empties the server and lets the pair write to it.
func (e *end) clear(t testing.TB) {
	t.Helper()
	e.everywhere(t, "FLUSHALL")
	e.everywhere(t, "SCRIPT", "FLUSH")
	if e.has("FUNCTION") {
		e.everywhere(t, "FUNCTION", "FLUSH")
	}
}

func (e *end) unfence(t testing.TB) {
	t.Helper()
	if err := e.client(0).Set(t.Context(), wire.FenceKey(pairName), "1", 0).Err(); err != nil {
		t.Fatalf("%s: write the fence: %v", e.name, err)
	}
}

// offset is the position of the source's stream.
func (e *end) offset(t testing.TB) int64 {
	t.Helper()
	info, err := e.client(0).Info(t.Context(), "replication").Result()
	if err != nil {
		t.Fatalf("%s: INFO: %v", e.name, err)
	}
	_, rest, _ := strings.Cut(info, "master_repl_offset:")
	text, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: INFO replication has no master_repl_offset: %v", e.name, err)
	}
	return n
}
