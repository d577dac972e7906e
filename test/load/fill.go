package load

import (
	"context"
	"fmt"
	"iter"

	"github.com/redis/go-redis/v9"
)

// Filled says what Fill wrote.
type Filled struct {
	Keys  int   `json:"keys"`
	Total int64 `json:"dbsize"` // keys that the instance holds afterwards
}

// Fill writes the corner cases and n more keys. The same n and seed write the
// same data, but for the times to live.
func Fill(ctx context.Context, client redis.UniversalClient, n int, seed uint64) (Filled, error) {
	var out Filled
	for _, part := range []iter.Seq[item]{specials(newRandom(seed)), filler(n, seed+1)} {
		written, err := pipe(ctx, client, part)
		out.Keys += written
		if err != nil {
			return out, err
		}
	}
	err := EachMaster(ctx, client, func(ctx context.Context, c *redis.Client) error {
		return c.FunctionLoadReplace(ctx, library).Err()
	})
	if err != nil {
		return out, fmt.Errorf("load functions: %w", err)
	}
	out.Total, err = client.DBSize(ctx).Result()
	if err != nil {
		return out, fmt.Errorf("count keys: %w", err)
	}
	return out, nil
}

// pipe writes items in batches of bounded length.
func pipe(ctx context.Context, client redis.UniversalClient, items iter.Seq[item]) (int, error) {
	const batch = 200
	written := 0
	p := client.Pipeline()
	flush := func() error {
		replies, err := p.Exec(ctx)
		if err == nil {
			return nil
		}
		for _, reply := range replies {
			if reply.Err() != nil {
				return fmt.Errorf("load: %s of key %.60q: %w", reply.Name(), keyOf(reply), reply.Err())
			}
		}
		return fmt.Errorf("load: %w", err)
	}
	for it := range items {
		it.do(ctx, p)
		written++
		if p.Len() >= batch {
			if err := flush(); err != nil {
				return written, err
			}
		}
	}
	return written, flush()
}

func keyOf(c redis.Cmder) string {
	if args := c.Args(); len(args) > 1 {
		return fmt.Sprint(args[1])
	}
	return ""
}

// EachMaster runs do on every master of a cluster, or on the one server.
func EachMaster(ctx context.Context, client redis.UniversalClient, do func(context.Context, *redis.Client) error) error {
	switch c := client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, c)
	default:
		return fmt.Errorf("unexpected client %T", client)
	}
}
