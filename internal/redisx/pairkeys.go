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
	// UpToMS: all that the source had then is applied, Unix milliseconds; 0
	// when that is not known.
	UpToMS int64
	// Pending is how many keys the target lacks up to Offset: their values are
	// still to be fetched from the source.
	Pending int64
}

// Checkpoint reads the checkpoint of a shard.
func (c *Client) Checkpoint(ctx context.Context, pair string, shard int) (Checkpoint, bool, error) {
	m, err := c.rdb.HGetAll(ctx, wire.CheckpointKey(pair, shard)).Result()
	if err != nil {
		return Checkpoint{}, false, c.wrap("HGETALL of a checkpoint", err)
	}
	// After it: names that are gone by now were of keys that are there, and
	// more of them make nobody believe too much.
	names, err := c.rdb.SCard(ctx, wire.PendingKey(pair, shard)).Result()
	if err != nil {
		return Checkpoint{}, false, c.wrap("SCARD of the pending keys", err)
	}
	if len(m) == 0 {
		return Checkpoint{}, false, nil
	}
	return Checkpoint{
		Epoch: number(m[wire.CkptEpoch]), ReplID: m[wire.CkptReplID], Offset: number(m[wire.CkptOffset]),
		DB: int(number(m[wire.CkptDB])), State: m[wire.CkptState],
		SourceOffset: number(m[wire.CkptSourceOffset]), SourceTimeMS: number(m[wire.CkptSourceTime]),
		UpToMS:  number(m[wire.CkptUpTo]),
		Pending: max(names, number(m[wire.CkptPending])),
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

// DropPairKeys removes every key of a pair from every database of this server
// but the fence, and gives how many there were: of replicators that were
// killed something may be left, in any database. It walks the whole keyspace;
// on a Redis Cluster every master has to be asked.
func (c *Client) DropPairKeys(ctx context.Context, pair string) (int, error) {
	info, err := c.Info(ctx, "keyspace")
	if err != nil {
		return 0, err
	}
	deleted := 0
	for _, db := range slices.Sorted(maps.Keys(info.Keys())) {
		n, err := c.dropPairKeys(ctx, pair, db)
		if deleted += n; err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

func (c *Client) dropPairKeys(ctx context.Context, pair string, db int) (deleted int, err error) {
	conn := c.rdb.Conn() // SELECT is of one connection
	defer func() { err = errors.Join(err, c.wrap("closing a connection", conn.Close())) }()
	if db != 0 {
		if err := conn.Select(ctx, db).Err(); err != nil {
			return 0, c.wrap("SELECT", err)
		}
		defer func() { err = errors.Join(err, c.wrap("SELECT", conn.Select(context.WithoutCancel(ctx), 0).Err())) }()
	}
	keys, err := c.scan(ctx, conn, escapeGlob(wire.KeyPrefix)+"*")
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		if key == wire.FenceKey(pair) || !ofPair(key, pair) {
			continue
		}
		n, err := conn.Del(ctx, key).Result() // one by one: they may lie in several slots
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
	keys, err := c.scan(ctx, c.rdb, escapeGlob(wire.KeyPrefix)+"*")
	return int64(len(keys)), err
}

// scanCount is how many keys one SCAN looks at: each answer costs a round trip
// through the API server.
const scanCount = 5000

// scan collects the keys that match, of the database that over has selected.
func (c *Client) scan(ctx context.Context, over redis.Cmdable, pattern string) ([]string, error) {
	seen := map[string]bool{}
	var out []string
	var cursor uint64
	for {
		keys, next, err := over.Scan(ctx, cursor, pattern, scanCount).Result()
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
