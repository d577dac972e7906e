package redisx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Fence reads the epoch of a pair from the server that holds the fence key.
func (c *Client) Fence(ctx context.Context, pair string) (epoch int64, exists bool, err error) {
	text, err := c.rdb.Get(ctx, wire.FenceKey(pair)).Result()
	if errors.Is(err, redis.Nil) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, c.wrap("GET of the fence key", err)
	}
	epoch, err = strconv.ParseInt(text, 10, 64)
	if err != nil || epoch < 1 {
		return 0, true, c.wrap("GET of the fence key", fmt.Errorf("%s holds no epoch", wire.FenceKey(pair)))
	}
	return epoch, true, nil
}

// CreateFence sets the fence key to the epoch if it is missing, and gives
// what the server holds then; created is false when it was there before.
func (c *Client) CreateFence(ctx context.Context, pair string, epoch int64) (held int64, created bool, err error) {
	created, err = c.rdb.SetNX(ctx, wire.FenceKey(pair), strconv.FormatInt(epoch, 10), 0).Result()
	if err != nil {
		return 0, false, c.wrap("SET of the fence key", err)
	}
	held, exists, err := c.Fence(ctx, pair)
	if err != nil {
		return 0, created, err
	}
	if !exists {
		return 0, created, c.wrap("GET of the fence key", errors.New("it is gone right after it was set: does an eviction policy or somebody else remove keys?"))
	}
	return held, created, nil
}

// Checkpoint is the position up to which a target has applied a shard.
type Checkpoint struct {
	Epoch        int64
	ReplID       string
	Offset       int64
	DB           int
	State        string // wire.CkptStateFull or wire.CkptStateStream
	SourceOffset int64
	SourceTimeMS int64
}

// Checkpoint reads the checkpoint of a shard.
func (c *Client) Checkpoint(ctx context.Context, pair string, shard int) (Checkpoint, bool, error) {
	m, err := c.rdb.HGetAll(ctx, wire.CheckpointKey(pair, shard)).Result()
	if err != nil {
		return Checkpoint{}, false, c.wrap("HGETALL of a checkpoint", err)
	}
	if len(m) == 0 {
		return Checkpoint{}, false, nil
	}
	return Checkpoint{
		Epoch: number(m[wire.CkptEpoch]), ReplID: m[wire.CkptReplID], Offset: number(m[wire.CkptOffset]),
		DB: int(number(m[wire.CkptDB])), State: m[wire.CkptState],
		SourceOffset: number(m[wire.CkptSourceOffset]), SourceTimeMS: number(m[wire.CkptSourceTime]),
	}, true, nil
}

// WritingPairs are the pairs whose replicators are connected to the server
// now, by the names of their connections.
func (c *Client) WritingPairs(ctx context.Context) ([]string, error) {
	text, err := c.rdb.ClientList(ctx).Result()
	if err != nil {
		return nil, c.wrap("CLIENT LIST", err)
	}
	pairs := map[string]bool{}
	for word := range strings.FieldsSeq(text) {
		name, ok := strings.CutPrefix(word, "name="+wire.KeyPrefix)
		if !ok {
			continue
		}
		if pair, _, ok := strings.Cut(name, ":"); ok {
			pairs[pair] = true
		}
	}
	return slices.Sorted(maps.Keys(pairs)), nil
}

// DeletePairKeys removes every key of a pair from this server, fence included,
// and gives how many there were. It walks the whole keyspace of the server;
// on a Redis Cluster every master has to be asked.
func (c *Client) DeletePairKeys(ctx context.Context, pair string) (int, error) {
	keys, err := c.scan(ctx, escapeGlob(wire.KeyPrefix)+"*")
	if err != nil {
		return 0, err
	}
	deleted := 0
	for _, key := range keys {
		if !ofPair(key, pair) {
			continue
		}
		n, err := c.rdb.Del(ctx, key).Result() // one by one: they may lie in several slots
		if err != nil {
			return deleted, c.wrap("DEL of a key of the pair", err)
		}
		deleted += int(n)
	}
	return deleted, nil
}

// ofPair tells the keys of a pair: redis-sync:{pair}:..., and those that have
// to lie in a certain slot, redis-sync:{tag}:pair:....
func ofPair(key, pair string) bool {
	rest, ok := strings.CutPrefix(key, wire.KeyPrefix+"{")
	if !ok {
		return false
	}
	tag, rest, ok := strings.Cut(rest, "}:")
	return ok && (tag == pair || strings.HasPrefix(rest, pair+":"))
}

// OwnKeys counts the keys of ours, of whatever pair, in DB 0. It walks the
// whole keyspace of the server.
func (c *Client) OwnKeys(ctx context.Context) (int64, error) {
	keys, err := c.scan(ctx, escapeGlob(wire.KeyPrefix)+"*")
	return int64(len(keys)), err
}

// scanCount is how many keys one SCAN looks at: each answer costs a round trip
// through the API server.
const scanCount = 5000

// scan collects the keys of DB 0 that match.
func (c *Client) scan(ctx context.Context, pattern string) ([]string, error) {
	seen := map[string]bool{}
	var out []string
	var cursor uint64
	for {
		keys, next, err := c.rdb.Scan(ctx, cursor, pattern, scanCount).Result()
		if err != nil {
			return nil, c.wrap("SCAN", err)
		}
		for _, k := range keys { // SCAN may give a key twice
			if !seen[k] {
				seen[k] = true
				out = append(out, k)
			}
		}
		if cursor = next; cursor == 0 {
			return out, nil
		}
	}
}

func escapeGlob(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		switch s[i] {
		case '*', '?', '[', ']', '\\', '^', '-':
			out = append(out, '\\')
		}
		out = append(out, s[i])
	}
	return string(out)
}
