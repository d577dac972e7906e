package load

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// steps are what a worker chooses from; do returns how many commands it sent.
// Most of them must not be applied twice or out of order.
var steps = []struct {
	name string
	do   func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error)
}{
	{"incr", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.IncrBy(ctx, tag+"counter", int64(r.IntN(10)+1)).Err()
	}},
	{"append", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.Append(ctx, fmt.Sprintf("%sappend:%d", tag, r.IntN(5)), r.text(1+r.IntN(8))).Err()
	}},
	{"set", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.Set(ctx, fmt.Sprintf("%sstring:%d", tag, r.IntN(500)), r.bytes(r.IntN(200)), 0).Err()
	}},
	{"setex", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.Set(ctx, fmt.Sprintf("%sshort:%d", tag, r.IntN(200)), r.text(20), time.Duration(1+r.IntN(60))*time.Second).Err()
	}},
	{"list", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		key := fmt.Sprintf("%slist:%d", tag, r.IntN(3))
		switch r.IntN(5) {
		case 0, 1:
			return 1, c.LPush(ctx, key, r.text(10)).Err()
		case 2:
			return 1, c.RPush(ctx, key, r.bytes(10), "x").Err()
		case 3:
			return 1, c.LTrim(ctx, key, 0, 2000).Err()
		default:
			return 1, c.RPop(ctx, key).Err()
		}
	}},
	{"lmove", func(ctx context.Context, c redis.UniversalClient, _ random, tag string) (int, error) {
		return 1, c.LMove(ctx, tag+"list:0", tag+"list:1", "LEFT", "RIGHT").Err()
	}},
	{"xadd", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.XAdd(ctx, &redis.XAddArgs{Stream: tag + "stream", MaxLen: 1000, Approx: true, Values: []any{"f", r.text(12), "n", r.IntN(100)}}).Err()
	}},
	{"xgroup", streamGroup},
	{"zincrby", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.ZIncrBy(ctx, tag+"zset", r.NormFloat64(), fmt.Sprintf("m%d", r.IntN(300))).Err()
	}},
	{"zpopmin", func(ctx context.Context, c redis.UniversalClient, _ random, tag string) (int, error) {
		return 1, c.ZPopMin(ctx, tag+"zset", 1).Err()
	}},
	{"hincrby", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.HIncrBy(ctx, tag+"hash", fmt.Sprintf("f%d", r.IntN(700)), int64(r.IntN(9))).Err()
	}},
	{"hincrbyfloat", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.HIncrByFloat(ctx, tag+"floats", fmt.Sprintf("f%d", r.IntN(20)), r.Float64()).Err()
	}},
	{"spop", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		if err := c.SAdd(ctx, tag+"set", r.IntN(1000), r.text(5)).Err(); err != nil {
			return 0, err
		}
		return 2, c.SPop(ctx, tag+"set").Err()
	}},
	{"setrange", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.SetRange(ctx, tag+"range", int64(r.IntN(5000)), r.bytes(1+r.IntN(16))).Err()
	}},
	{"setbit", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.SetBit(ctx, tag+"bits", int64(r.IntN(20000)), r.IntN(2)).Err()
	}},
	{"pfadd", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.PFAdd(ctx, tag+"hll", r.Uint32()).Err()
	}},
	{"expire", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.Expire(ctx, fmt.Sprintf("%sstring:%d", tag, r.IntN(500)), time.Duration(1+r.IntN(7200))*time.Second).Err()
	}},
	{"persist", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.Persist(ctx, fmt.Sprintf("%sstring:%d", tag, r.IntN(500))).Err()
	}},
	{"del", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		keys := []string{fmt.Sprintf("%sstring:%d", tag, r.IntN(500)), fmt.Sprintf("%sshort:%d", tag, r.IntN(200))}
		if r.IntN(2) == 0 {
			return 1, c.Unlink(ctx, keys...).Err()
		}
		return 1, c.Del(ctx, keys...).Err()
	}},
	{"rename", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		from := fmt.Sprintf("%sstring:%d", tag, r.IntN(500))
		if err := c.Set(ctx, from, r.text(30), 0).Err(); err != nil {
			return 0, err
		}
		return 2, c.Rename(ctx, from, fmt.Sprintf("%srenamed:%d", tag, r.IntN(100))).Err()
	}},
	{"mset", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.MSet(ctx, fmt.Sprintf("%sm:%d", tag, r.IntN(50)), r.text(10), fmt.Sprintf("%sm:%d", tag, 50+r.IntN(50)), r.bytes(10)).Err()
	}},
	{"multi", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.IncrBy(ctx, tag+"tx:left", -5)
			p.IncrBy(ctx, tag+"tx:right", 5)
			p.RPush(ctx, tag+"tx:log", r.text(6))
			p.LTrim(ctx, tag+"tx:log", -500, -1)
			return nil
		})
		return 4, err
	}},
	{"eval", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		const script = `redis.call('INCRBY', KEYS[1], ARGV[1]) redis.call('SADD', KEYS[2], redis.call('TIME')[2] % 1000) return redis.call('SETEX', KEYS[3], 3600, ARGV[1])`
		return 1, c.Eval(ctx, script, []string{tag + "lua:sum", tag + "lua:set", tag + "lua:text"}, r.IntN(100)).Err()
	}},
	{"fcall", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.FCall(ctx, "load_set", []string{tag + "function"}, r.text(10)).Err()
	}},
	{"getex", func(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
		return 1, c.GetEx(ctx, fmt.Sprintf("%sshort:%d", tag, r.IntN(200)), time.Minute).Err()
	}},
}

// streamGroup creates a group once, reads with it and acknowledges some.
func streamGroup(ctx context.Context, c redis.UniversalClient, r random, tag string) (int, error) {
	key := tag + "stream"
	if err := c.XGroupCreateMkStream(ctx, key, "g", "0").Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		return 0, err
	}
	read, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: "g", Consumer: fmt.Sprintf("c%d", r.IntN(3)),
		Streams: []string{key, ">"}, Count: 5, Block: -1,
	}).Result()
	if err != nil || len(read) == 0 || r.IntN(2) == 0 {
		return 2, err
	}
	for _, m := range read[0].Messages {
		if err := c.XAck(ctx, key, "g", m.ID).Err(); err != nil {
			return 2, err
		}
	}
	return 2 + len(read[0].Messages), nil
}
