package preflight

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Facts are what the primaries of one side said, added up.
type Facts struct {
	Version      string        `json:"version"`
	Keys         int64         `json:"keys"`         // of all databases, without those of ours
	OwnKeys      int64         `json:"ownKeys"`      // that start with the prefix of ours; not counted in big databases
	UsedMemory   int64         `json:"usedMemory"`   // bytes
	DatasetBytes int64         `json:"datasetBytes"` // bytes of it that are data
	WriteRate    float64       `json:"writeRate"`    // bytes per second of the replication stream
	Databases    map[int]int64 `json:"databases"`    // keys by database
	Nodes        []NodeFacts   `json:"-"`            // one per shard
}

// NodeFacts are what one primary said.
type NodeFacts struct {
	Pod            string
	Version        redisVersion
	RunID, ReplID  string
	Rate           float64
	UsedMemory     int64
	DatasetBytes   int64
	Keys           map[int]int64
	OwnKeys        int64
	Modules        []string
	MinReplicas    int64 // min-replicas-to-write
	GoodReplicas   int64
	ConfigRefused  string // why the configuration could not be read
	MaxMemory      int64
	Policy         string
	DatabasesLimit int64
	Backlog        int64
	Output         outputLimit
	Writers        []string // pairs whose replicators are connected (target only)
	Denied         []string // commands that the user may not run
	Unread         []string // keys of ours that it may not read
	User           string
}

// outputLimit is client-output-buffer-limit of replicas; 0 = unlimited.
type outputLimit struct{ Hard, Soft, Seconds int64 }

// rateInterval is the time between two looks at the replication offset.
const rateInterval = time.Second

// countOwnBelow is the size up to which a node's keys are walked through to
// tell ours from the user's: beyond it the answer "not empty" stands anyway.
const countOwnBelow = 20000

// gather asks the primaries of one side. Without known primaries there is
// nothing to ask; the findings of the instance say why.
func gather(ctx context.Context, side Side, as part) (Facts, error) {
	var facts Facts
	if len(side.Instance.Shards) == 0 {
		return facts, nil
	}
	session := discovery.Open(side.Client, side.Instance, side.Credentials)
	defer session.Close()
	nodes := make([]NodeFacts, 0, len(side.Instance.Shards))
	for _, pod := range side.Instance.PrimaryPods() {
		if pod != "" {
			nodes = append(nodes, NodeFacts{Pod: pod})
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	for n := range nodes {
		group.Go(func() error {
			client, err := session.Pod(gctx, nodes[n].Pod)
			if err != nil {
				return err
			}
			return nodes[n].ask(gctx, client, as, side.Reads)
		})
	}
	if err := group.Wait(); err != nil {
		return facts, fmt.Errorf("ask the primaries of %s of site %s: %w", side.Instance.Ref(), side.Site, err)
	}
	facts.Nodes, facts.Databases = nodes, map[int]int64{}
	for _, n := range nodes {
		if facts.Version == "" {
			facts.Version = n.Version.text
		}
		for db, keys := range n.Keys {
			facts.Databases[db] += keys
			facts.Keys += keys
		}
		facts.Keys -= n.OwnKeys
		facts.OwnKeys += n.OwnKeys
		facts.UsedMemory += n.UsedMemory
		facts.DatasetBytes += n.DatasetBytes
		facts.WriteRate += n.Rate
	}
	return facts, nil
}

func (n *NodeFacts) ask(ctx context.Context, client *redisx.Client, as part, reads []string) error {
	first, err := client.Info(ctx, "replication")
	if err != nil {
		return err
	}
	began := time.Now()
	info, err := client.Info(ctx, "server", "memory", "keyspace")
	if err != nil {
		return err
	}
	n.Version = parseVersion(info.Version())
	n.RunID, n.ReplID = info["run_id"], first["master_replid"]
	n.UsedMemory, n.DatasetBytes = info.Int("used_memory"), info.Int("used_memory_dataset")
	n.Keys = info.Keys()
	n.GoodReplicas = first.Int("min_slaves_good_slaves")
	if total := n.Keys[0]; total > 0 && total <= countOwnBelow {
		if n.OwnKeys, err = client.OwnKeys(ctx); err != nil {
			return err
		}
	}
	if err := n.askModules(ctx, client); err != nil {
		return err
	}
	if as == partTarget {
		if n.Writers, err = client.WritingPairs(ctx); err != nil && !redisx.IsPermission(err) {
			return err
		}
	}
	if err := n.askConfig(ctx, client); err != nil {
		return err
	}
	if err := n.askPermissions(ctx, client, as, reads); err != nil {
		return err
	}
	select {
	case <-time.After(rateInterval - time.Since(began)):
	case <-ctx.Done():
		return ctx.Err()
	}
	second, err := client.Info(ctx, "replication")
	if err != nil {
		return err
	}
	if second["master_replid"] == n.ReplID {
		moved := second.Int("master_repl_offset") - first.Int("master_repl_offset")
		n.Rate = max(0, float64(moved)/time.Since(began).Seconds())
	}
	return nil
}

func (n *NodeFacts) askModules(ctx context.Context, client *redisx.Client) error {
	modules, err := client.Modules(ctx)
	if redisx.IsPermission(err) || redisx.IsUnknownCommand(err) {
		return nil // nothing to say then: the replicator names the first value of a module it meets
	}
	n.Modules = modules
	return err
}

func (n *NodeFacts) askConfig(ctx context.Context, client *redisx.Client) error {
	values, err := client.ConfigGet(ctx, "maxmemory", "maxmemory-policy", "databases", "repl-backlog-size",
		"client-output-buffer-limit", "min-replicas-to-write")
	if redisx.IsPermission(err) || redisx.IsUnknownCommand(err) {
		n.ConfigRefused = "the user may not run CONFIG GET, or the command is renamed"
		return nil
	}
	if err != nil {
		return err
	}
	config := redisx.Info(values)
	n.MaxMemory, n.Policy = config.Int("maxmemory"), config["maxmemory-policy"]
	n.DatabasesLimit, n.Backlog = config.Int("databases"), config.Int("repl-backlog-size")
	n.MinReplicas = config.Int("min-replicas-to-write")
	n.Output = parseOutputLimit(config["client-output-buffer-limit"])
	return nil
}

// parseOutputLimit reads "normal 0 0 0 slave 268435456 67108864 60 pubsub ...".
func parseOutputLimit(text string) outputLimit {
	words := strings.Fields(text)
	at := slices.IndexFunc(words, func(w string) bool { return w == "slave" || w == "replica" })
	if at < 0 || at+3 >= len(words) {
		return outputLimit{}
	}
	var numbers [3]int64
	for i := range numbers {
		n, err := strconv.ParseInt(words[at+1+i], 10, 64)
		if err != nil {
			return outputLimit{}
		}
		numbers[i] = n
	}
	return outputLimit{Hard: numbers[0], Soft: numbers[1], Seconds: numbers[2]}
}

// Commands that a replicator runs on the source and on the target.
var (
	sourceCommands = [][]string{{"PSYNC", "?", "-1"}, {"REPLCONF", "capa", "eof"}, {"INFO"}, {"ROLE"}}
	targetCommands = [][]string{
		{"RESTORE", "redis-sync:probe", "0", "x"},
		{"SET", "redis-sync:probe", "x"},
		{"DEL", "redis-sync:probe"},
		{"SCAN", "0"},
		{"CLIENT", "LIST"},
		{"ROLE"},
	}
)

// askPermissions asks the ACL, without running anything (7.0 and later).
func (n *NodeFacts) askPermissions(ctx context.Context, client *redisx.Client, as part, reads []string) error {
	user, err := client.WhoAmI(ctx)
	if redisx.IsPermission(err) {
		return nil
	}
	if err != nil {
		return err
	}
	n.User = user
	commands := sourceCommands
	if as == partTarget {
		commands = targetCommands
	}
	for _, command := range commands {
		allowed, known, err := client.MayRun(ctx, user, command...)
		if err != nil {
			return err
		}
		if !known {
			return nil
		}
		if !allowed && as == partTarget {
			// On a protected standby one user alone may write: the replicators'.
			allowed, _, err = client.MayRun(ctx, wire.SyncUser, command...)
			if err != nil {
				return err
			}
		}
		if !allowed {
			n.Denied = append(n.Denied, strings.ToLower(command[0]))
		}
	}
	for _, key := range reads {
		allowed, known, err := client.MayRun(ctx, user, "GET", key)
		if err != nil {
			return err
		}
		if known && !allowed {
			n.Unread = append(n.Unread, key)
		}
	}
	return nil
}
