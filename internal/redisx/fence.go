package redisx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// HigherEpochError says that a target is fenced for a later epoch than the
// one that was to be set.
type HigherEpochError struct {
	Server      string
	Want, Found int64
}

func (e *HigherEpochError) Error() string {
	return fmt.Sprintf("%s: the fence is at epoch %d, which is later than %d", e.Server, e.Found, e.Want)
}

// ExitCode is that of a refusal.
func (e *HigherEpochError) ExitCode() int { return 3 }

// waitReplicas bounds how long a write waits for the replicas of its server.
const waitReplicas = 2 * time.Second

// errUnsafe says that no replica confirmed a write that must not be lost.
var errUnsafe = errors.New("no replica confirmed the write within 2 s: a failover now would lose it")

// RaiseFence sets the fence key to the epoch, never to a lower one, and waits
// until a replica has it, where there are any. acked of replicas have
// confirmed it.
func (c *Client) RaiseFence(ctx context.Context, pair string, epoch int64) (acked, replicas int64, err error) {
	key := wire.FenceKey(pair)
	err = c.rdb.Watch(ctx, func(tx *redis.Tx) error {
		text, err := tx.Get(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if err == nil {
			found, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("%s holds no epoch", key)
			}
			if found > epoch {
				return &HigherEpochError{c.name, epoch, found}
			}
		}
		// Also when it is there: the server's replicas may not have it yet.
		if _, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, key, strconv.FormatInt(epoch, 10), 0)
			return nil
		}); err != nil {
			return err
		}
		acked, replicas, err = confirmed(ctx, tx)
		return err
	}, key)
	var higher *HigherEpochError
	if errors.As(err, &higher) {
		return 0, 0, err
	}
	return acked, replicas, c.wrap("SET of the fence key", err)
}

// confirmed waits for the replicas of a server to have what the connection
// wrote. One is enough: a failover promotes the one that has the most.
func confirmed(ctx context.Context, tx *redis.Tx) (acked, replicas int64, err error) {
	info, err := tx.Info(ctx, "replication").Result()
	if err != nil {
		return 0, 0, err
	}
	replicas = Info(fields(info)).Int("connected_slaves")
	if replicas == 0 {
		return 0, 0, nil
	}
	acked, err = tx.Wait(ctx, int(replicas), waitReplicas).Result()
	if err == nil && acked == 0 {
		err = errUnsafe
	}
	return acked, replicas, err
}

// SnapshotSoon lets a server that keeps its data in snapshots alone (`save`, no
// AOF) begin one. One that is being written already may lack the last writes: it
// waits for its end, as long as ctx does.
func (c *Client) SnapshotSoon(ctx context.Context) error {
	config, err := c.ConfigGet(ctx, "save", "appendonly")
	if err != nil || config["save"] == "" || config["appendonly"] == "yes" {
		return err
	}
	for {
		// SCHEDULE, since 3.2.2: after the rewriting of an AOF, if there is one.
		err := c.rdb.Do(ctx, "BGSAVE", "SCHEDULE").Err()
		var reply redis.Error
		if !errors.As(err, &reply) || !strings.Contains(reply.Error(), "save already in progress") {
			return c.wrap("BGSAVE", err)
		}
		select {
		case <-ctx.Done():
			return c.wrap("BGSAVE", err)
		case <-time.After(snapshotInterval):
		}
	}
}

// snapshotInterval is how often a server is asked whether it can begin another
// snapshot.
const snapshotInterval = 200 * time.Millisecond

// KillOlder ends the connections of replicators of a pair with a lower epoch
// than this one, and gives how many there were.
func (c *Client) KillOlder(ctx context.Context, pair string, epoch int64) (int, error) {
	text, err := c.rdb.ClientList(ctx).Result()
	if err != nil {
		return 0, c.wrap("CLIENT LIST", err)
	}
	killed := 0
	for line := range strings.Lines(text) {
		var id, name string
		for word := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(word, "id="); ok {
				id = v
			} else if v, ok := strings.CutPrefix(word, "name="); ok {
				name = v
			}
		}
		if _, of, ok := wire.ConnOfPair(name, pair); !ok || of >= epoch {
			continue
		}
		n, err := c.rdb.ClientKillByFilter(ctx, "ID", id).Result() // it may have gone by itself
		if err != nil {
			return killed, c.wrap("CLIENT KILL", err)
		}
		killed += int(n)
	}
	return killed, nil
}

// NewCheckpoint is where a link is to go on.
type NewCheckpoint struct {
	ReplID string
	Offset int64 // applied: PSYNC asks for the byte after it
	DB     int
	Slots  string // of the shard, as sync.toml spells them
}

// WriteCheckpoints makes the shards 0.. of a link go on from these positions
// under an epoch, which must be that of the fence. A shard that has a
// checkpoint of this epoch already is left alone: its replicator may run. It
// waits until a replica has them, where there are any.
func (c *Client) WriteCheckpoints(ctx context.Context, pair string, epoch int64, list []NewCheckpoint) error {
	return c.underFence(ctx, pair, epoch, len(list), func(shard int, old map[string]string, p redis.Pipeliner) error {
		if old[wire.CkptEpoch] == strconv.FormatInt(epoch, 10) {
			return nil
		}
		n := list[shard]
		key := wire.CheckpointKey(pair, shard)
		p.Del(ctx, key, wire.IncarnationKey(pair, shard))
		p.HSet(ctx, key, wire.CkptEpoch, epoch, wire.CkptSlots, n.Slots, wire.CkptReplID, n.ReplID, wire.CkptOffset, n.Offset,
			wire.CkptDB, n.DB, wire.CkptState, wire.CkptStateStream, wire.CkptHeld, "0",
			wire.CkptSourceOffset, n.Offset, wire.CkptSourceTime, time.Now().UnixMilli())
		return nil
	})
}

// CarryCheckpoints moves complete checkpoints of the epoch from to the epoch
// to, which must be that of the fence. One that is there already is left
// alone; any other is an error.
func (c *Client) CarryCheckpoints(ctx context.Context, pair string, shards int, from, to int64) error {
	return c.underFence(ctx, pair, to, shards, func(shard int, old map[string]string, p redis.Pipeliner) error {
		switch {
		case old[wire.CkptEpoch] == strconv.FormatInt(to, 10):
			return nil
		case old[wire.CkptEpoch] != strconv.FormatInt(from, 10), old[wire.CkptState] != wire.CkptStateStream:
			return fmt.Errorf("the checkpoint of shard %d is not a complete one of epoch %d", shard, from)
		}
		generation, err := carryGeneration(old[wire.CkptGeneration], from)
		if err != nil {
			return fmt.Errorf("the checkpoint of shard %d: %w", shard, err)
		}
		p.HSet(ctx, wire.CheckpointKey(pair, shard), wire.CkptEpoch, to)
		if generation != "" {
			p.HSet(ctx, wire.CheckpointKey(pair, shard), wire.CkptGeneration, generation)
		}
		return nil
	})
}

// carryGeneration notes in the generation of a cluster target under which
// epoch its frontiers are named: they stay where they are.
func carryGeneration(text string, epoch int64) (string, error) {
	if text == "" {
		return "", nil
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return "", fmt.Errorf("generation: %w", err)
	}
	if _, named := fields["epoch"]; !named {
		fields["epoch"] = json.RawMessage(strconv.FormatInt(epoch, 10))
	}
	out, err := json.Marshal(fields)
	return string(out), err
}

// underFence changes checkpoints in one transaction, if the fence holds the
// epoch and nobody changes them meanwhile.
func (c *Client) underFence(ctx context.Context, pair string, epoch int64, shards int, change func(int, map[string]string, redis.Pipeliner) error) error {
	keys := []string{wire.FenceKey(pair)}
	for shard := range shards {
		keys = append(keys, wire.CheckpointKey(pair, shard))
	}
	err := c.rdb.Watch(ctx, func(tx *redis.Tx) error {
		text, err := tx.Get(ctx, keys[0]).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if text != strconv.FormatInt(epoch, 10) {
			return fmt.Errorf("the fence does not hold epoch %d", epoch)
		}
		old := make([]map[string]string, shards)
		for shard := range shards {
			if old[shard], err = tx.HGetAll(ctx, keys[shard+1]).Result(); err != nil {
				return err
			}
		}
		if _, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			for shard := range shards {
				if err := change(shard, old[shard], p); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		_, _, err = confirmed(ctx, tx)
		return err
	}, keys...)
	return c.wrap("writing the checkpoints", err)
}

// StreamPosition is the end of a server's replication stream.
type StreamPosition struct {
	ReplID string
	Offset int64
	DB     int // selected in the stream
}

// ErrNoBacklog says that no link can go on from a position of this server: it
// keeps no backlog, since it never had a replica.
var ErrNoBacklog = errors.New("the server keeps no replication backlog")

// positionTries bounds how often SettlePosition writes.
const positionTries = 5

// SettlePosition finds the end of a server's stream with the database that is
// selected there: who goes on from it is not told. A key of ours is written
// to database 0 twice; when the stream has grown by exactly the bytes of the
// second write, no SELECT came before it, so that 0 was selected.
func (c *Client) SettlePosition(ctx context.Context, pair string) (StreamPosition, error) {
	key := wire.PositionKey(pair)
	const value = "settled"
	bare := int64(len(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)))
	for range positionTries {
		pipe := c.rdb.Pipeline()
		pipe.Do(ctx, "SET", key, value)
		before := pipe.Info(ctx, "replication")
		pipe.Do(ctx, "SET", key, value)
		after := pipe.Info(ctx, "replication")
		if _, err := pipe.Exec(ctx); err != nil {
			return StreamPosition{}, c.wrap("SET of the position key", err)
		}
		one, two := Info(fields(before.Val())), Info(fields(after.Val()))
		if two["role"] != "master" {
			return StreamPosition{}, c.wrap("INFO", errors.New("the server is no master any more"))
		}
		if two["repl_backlog_active"] != "1" {
			return StreamPosition{}, c.wrap("INFO", ErrNoBacklog)
		}
		if one["master_replid"] == two["master_replid"] && two.Int("master_repl_offset")-one.Int("master_repl_offset") == bare {
			return StreamPosition{ReplID: two["master_replid"], Offset: two.Int("master_repl_offset")}, nil
		}
	}
	return StreamPosition{}, c.wrap("SET of the position key", errors.New("others write at the same time: the end of the stream cannot be told"))
}
