package load

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// streamKeys are streams with everything that a stream can carry: groups,
// consumers, pending and deleted entries, many nodes, no entries at all.
func streamKeys(r random) []item {
	add := func(ctx context.Context, p redis.Pipeliner, key, id string, values ...any) {
		p.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: id, Values: values})
	}
	return []item{
		{"stream:plain", func(ctx context.Context, p redis.Pipeliner) {
			p.Del(ctx, "stream:plain")
			add(ctx, p, "stream:plain", "1-1", "f", "v")
			add(ctx, p, "stream:plain", "1-2", "f", "v2", "f", "the same field again")
			add(ctx, p, "stream:plain", "18446744073709551614-18446744073709551615", "", "")
		}},
		{"stream:big", func(ctx context.Context, p redis.Pipeliner) {
			p.Del(ctx, "stream:big")
			for i := range 2000 {
				add(ctx, p, "stream:big", fmt.Sprintf("%d-%d", 1000+i/3, 1+i%3), "sensor", i%7, "value", r.text(20))
			}
			p.XTrimMaxLen(ctx, "stream:big", 1900)
			for i := 500; i < 520; i++ {
				p.XDel(ctx, "stream:big", fmt.Sprintf("%d-2", 1000+i))
			}
		}},
		{"stream:groups", func(ctx context.Context, p redis.Pipeliner) {
			const key = "stream:groups"
			p.Del(ctx, key)
			for i := range 50 {
				add(ctx, p, key, fmt.Sprintf("%d-0", i+1), "n", i)
			}
			p.XGroupCreate(ctx, key, "workers", "0")
			p.XGroupCreate(ctx, key, "late", "$")
			p.XGroupCreate(ctx, key, "half", "25-0")
			p.XGroupCreateConsumer(ctx, key, "late", "idle")
			for _, consumer := range []string{"alice", "bob"} {
				p.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "workers", Consumer: consumer, Streams: []string{key, ">"}, Count: 10, Block: -1})
			}
			p.XAck(ctx, key, "workers", "1-0", "11-0")
			p.XClaim(ctx, &redis.XClaimArgs{Stream: key, Group: "workers", Consumer: "bob", Messages: []string{"2-0", "3-0"}})
			p.XDel(ctx, key, "4-0", "5-0") // pending and deleted
		}},
		{"stream:empty", func(ctx context.Context, p redis.Pipeliner) {
			const key = "stream:empty"
			p.Del(ctx, key)
			p.XGroupCreateMkStream(ctx, key, "g", "$")
		}},
		{"stream:emptied", func(ctx context.Context, p redis.Pipeliner) {
			const key = "stream:emptied"
			p.Del(ctx, key)
			add(ctx, p, key, "7-7", "f", "v")
			p.XDel(ctx, key, "7-7")
			p.Do(ctx, "XSETID", key, "9-0", "ENTRIESADDED", 12, "MAXDELETEDID", "8-1")
		}},
	}
}

// library is a function library; every master of a cluster gets it.
const library = `#!lua name=loadlib
redis.register_function('load_set', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
redis.register_function{function_name='load_get', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}
`
