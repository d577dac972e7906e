package load

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// item writes one key (or a few with one hash tag) of the data set.
type item struct {
	key string
	do  func(ctx context.Context, p redis.Pipeliner)
}

// random makes values that no compression shortens; the same seed gives the
// same bytes.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 0x5eed))} }

func (r random) bytes(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// text is compressible.
func (r random) text(n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of a text that repeats itself; ", r.IntN(50))
	}
	return b.String()[:n]
}

func set(key, value string) item {
	return item{key, func(ctx context.Context, p redis.Pipeliner) { p.Set(ctx, key, value, 0) }}
}

// specials are the corner cases: one key or more for every type and encoding.
func specials(r random) iter.Seq[item] {
	return func(yield func(item) bool) {
		for _, group := range [][]item{strangeNames(r), stringKeys(r), listKeys(r), setKeys(r), hashKeys(r), zsetKeys(r), otherKeys(r), ttlKeys(r)} {
			for _, it := range group {
				if !yield(it) {
					return
				}
			}
		}
	}
}

func strangeNames(r random) []item {
	return []item{
		set("", "the value of the key without a name"),
		set("\x00\x01\xff\r\n*3\r\n", "a key of protocol bytes"),
		set("key with spaces \" ' \\ and \t tabs", "x"),
		set("schlüssel-鍵-🔑", "a key of many bytes a letter"),
		set(r.bytes(1024), "a long binary key"),
		set("123456", "a key that looks like a number"),
		set("-42", "a key that looks like a negative number"),
		set("{user:1000}.following", "tag"), set("{user:1000}.followers", "the same tag"),
		set("foo{}{bar}", "an empty tag: the whole key counts"), set("foo{{bar}}zap", "the tag is {bar"),
	}
}

func stringKeys(r random) []item {
	items := []item{
		set("str:empty", ""), set("str:space", " "),
		set("str:embstr", strings.Repeat("e", 44)), set("str:raw45", r.bytes(45)),
		set("str:lzf", r.text(10_000)), set("str:random", r.bytes(10_000)),
		set("str:zeros", strings.Repeat("\x00", 5000)),
		set("str:big:random", r.bytes(3<<20)), set("str:big:text", r.text(5<<20)),
		{"str:allbytes", func(ctx context.Context, p redis.Pipeliner) {
			b := make([]byte, 256)
			for i := range b {
				b[i] = byte(i)
			}
			p.Set(ctx, "str:allbytes", b, 0)
		}},
		{"str:sparse", func(ctx context.Context, p redis.Pipeliner) { p.SetRange(ctx, "str:sparse", 100_000, "end") }},
		{"str:appended", func(ctx context.Context, p redis.Pipeliner) {
			p.Set(ctx, "str:appended", "12", 0)
			p.Append(ctx, "str:appended", "34")
		}},
	}
	for _, n := range []string{
		"0", "-1", "127", "128", "-128", "-129", "32767", "32768", "-32769", "2147483647", "2147483648",
		"-2147483649", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "007", "1.5", "+5", "1e3",
	} {
		items = append(items, set("str:int:"+n, n))
	}
	for _, n := range []int{19, 20, 21, 63, 64, 65, 16383, 16384, 16385} { // edges of length encodings and of LZF
		items = append(items, set(fmt.Sprintf("str:len:%d", n), r.text(n)))
	}
	return items
}

func listKeys(r random) []item {
	return []item{
		{"list:small", func(ctx context.Context, p redis.Pipeliner) {
			p.Del(ctx, "list:small")
			p.RPush(ctx, "list:small", "a", "", 1, -1, 4096, 70000, int64(1)<<40, math.MinInt64, r.bytes(100))
		}},
		{"list:nodes", func(ctx context.Context, p redis.Pipeliner) {
			p.Del(ctx, "list:nodes")
			for range 50 {
				batch := make([]any, 100)
				for i := range batch {
					batch[i] = r.text(1 + r.IntN(100))
				}
				p.RPush(ctx, "list:nodes", batch...)
			}
		}},
		{"list:plain", func(ctx context.Context, p redis.Pipeliner) { // elements too big for a listpack
			p.Del(ctx, "list:plain")
			p.RPush(ctx, "list:plain", r.bytes(100_000), "small", r.text(200_000))
		}},
		{"list:same", func(ctx context.Context, p redis.Pipeliner) {
			p.Del(ctx, "list:same")
			p.RPush(ctx, "list:same", "x", "x", "x")
		}},
	}
}

func setKeys(r random) []item {
	ints := func(key string, values ...any) item {
		return item{key, func(ctx context.Context, p redis.Pipeliner) { p.SAdd(ctx, key, values...) }}
	}
	return []item{
		ints("set:int16", 1, 2, -3), ints("set:int32", 1, 70000, -70000), ints("set:int64", 1, int64(1)<<40, math.MinInt64),
		ints("set:strings", "a", "", "1.5", r.bytes(70)),
		{"set:big", func(ctx context.Context, p redis.Pipeliner) {
			for i := range 20 {
				batch := make([]any, 200)
				for j := range batch {
					batch[j] = fmt.Sprintf("member-%d", i*200+j)
				}
				p.SAdd(ctx, "set:big", batch...)
			}
		}},
		{"set:manyints", func(ctx context.Context, p redis.Pipeliner) { // beyond set-max-intset-entries
			batch := make([]any, 1000)
			for j := range batch {
				batch[j] = j * 3
			}
			p.SAdd(ctx, "set:manyints", batch...)
		}},
	}
}

func hashKeys(r random) []item {
	return []item{
		{"hash:listpack", func(ctx context.Context, p redis.Pipeliner) {
			p.HSet(ctx, "hash:listpack", "f", "v", "", "empty field", "empty value", "", "n", 17, r.bytes(20), r.bytes(30))
		}},
		{"hash:longvalue", func(ctx context.Context, p redis.Pipeliner) {
			p.HSet(ctx, "hash:longvalue", "f", r.bytes(2000), "g", "1")
		}},
		{"hash:big", func(ctx context.Context, p redis.Pipeliner) {
			for i := range 20 {
				batch := make([]any, 0, 400)
				for j := range 200 {
					batch = append(batch, fmt.Sprintf("field-%d", i*200+j), r.text(30))
				}
				p.HSet(ctx, "hash:big", batch...)
			}
		}},
	}
}

func zsetKeys(r random) []item {
	scores := []float64{
		0, math.Copysign(0, -1), 1, -1, 0.1, 3.0000000000000004, 1e-300, 5e-324, math.MaxFloat64, -math.MaxFloat64,
		math.Inf(1), math.Inf(-1), 9007199254740993, 1.0 / 3,
	}
	corner := func(key string, pad int) item {
		return item{key, func(ctx context.Context, p redis.Pipeliner) {
			for i, s := range scores {
				p.ZAdd(ctx, key, redis.Z{Score: s, Member: fmt.Sprintf("m%d%s", i, strings.Repeat("x", pad))})
			}
		}}
	}
	return []item{
		corner("zset:listpack", 0), corner("zset:skiplist", 80),
		{"zset:big", func(ctx context.Context, p redis.Pipeliner) {
			for i := range 20 {
				batch := make([]redis.Z, 200)
				for j := range batch {
					batch[j] = redis.Z{Score: r.NormFloat64() * 1000, Member: fmt.Sprintf("member-%d", i*200+j)}
				}
				p.ZAdd(ctx, "zset:big", batch...)
			}
		}},
		{"zset:ties", func(ctx context.Context, p redis.Pipeliner) {
			p.ZAdd(ctx, "zset:ties", redis.Z{Score: 1, Member: "b"}, redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 1, Member: ""})
		}},
		{"geo:cities", func(ctx context.Context, p redis.Pipeliner) {
			p.GeoAdd(ctx, "geo:cities", &redis.GeoLocation{Name: "Palermo", Longitude: 13.361389, Latitude: 38.115556},
				&redis.GeoLocation{Name: "Catania", Longitude: 15.087269, Latitude: 37.502669})
		}},
	}
}

// otherKeys are HyperLogLogs, bitmaps and streams.
func otherKeys(r random) []item {
	items := []item{
		{"hll:sparse", func(ctx context.Context, p redis.Pipeliner) { p.PFAdd(ctx, "hll:sparse", "a", "b", "c") }},
		{"hll:dense", func(ctx context.Context, p redis.Pipeliner) {
			for i := range 20 {
				batch := make([]any, 500)
				for j := range batch {
					batch[j] = i*500 + j
				}
				p.PFAdd(ctx, "hll:dense", batch...)
			}
		}},
		{"bitmap", func(ctx context.Context, p redis.Pipeliner) {
			for range 200 {
				p.SetBit(ctx, "bitmap", int64(r.IntN(200_000)), 1)
			}
		}},
		{"bitfield", func(ctx context.Context, p redis.Pipeliner) {
			p.BitField(ctx, "bitfield", "SET", "i5", 100, -7, "SET", "u63", "#3", 1<<40)
		}},
	}
	return append(items, streamKeys(r)...)
}

// ttlKeys end soon, later, and never in the time of a test.
func ttlKeys(r random) []item {
	var items []item
	for i, ttl := range []time.Duration{15 * time.Second, 45 * time.Second, 2 * time.Minute, time.Hour, 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		key := fmt.Sprintf("ttl:string:%d", i)
		items = append(items, item{key, func(ctx context.Context, p redis.Pipeliner) { p.Set(ctx, key, ttl.String(), ttl) }})
		hash := fmt.Sprintf("ttl:hash:%d", i)
		items = append(items, item{hash, func(ctx context.Context, p redis.Pipeliner) {
			p.HSet(ctx, hash, "f", r.text(40))
			p.PExpire(ctx, hash, ttl+123*time.Millisecond)
		}})
	}
	return append(items, item{"ttl:at", func(ctx context.Context, p redis.Pipeliner) {
		p.RPush(ctx, "ttl:at", "x")
		p.PExpireAt(ctx, "ttl:at", time.UnixMilli(4102444799123)) // the end of 2099
	}})
}

// filler are n keys of mixed types, most of them small, as in real life.
func filler(n int, seed uint64) iter.Seq[item] {
	return func(yield func(item) bool) {
		r := newRandom(seed)
		for i := range n {
			key := fmt.Sprintf("fill:%d", i)
			size := 1 << r.IntN(9) // 1..256
			var it item
			switch i % 10 {
			case 0, 1, 2:
				it = set(key, r.text(size*2))
			case 3:
				it = set(key, fmt.Sprint(r.Int64()))
			case 4:
				it = item{key, func(ctx context.Context, p redis.Pipeliner) { p.HSet(ctx, key, pairs(r, size/8+1)...) }}
			case 5:
				it = item{key, func(ctx context.Context, p redis.Pipeliner) {
					p.Del(ctx, key)
					p.RPush(ctx, key, members(r, size/4+1)...)
				}}
			case 6:
				it = item{key, func(ctx context.Context, p redis.Pipeliner) { p.SAdd(ctx, key, members(r, size/4+1)...) }}
			case 7:
				it = item{key, func(ctx context.Context, p redis.Pipeliner) {
					for j := range size/8 + 1 {
						p.ZAdd(ctx, key, redis.Z{Score: r.Float64() * 100, Member: j})
					}
				}}
			case 8:
				it = item{key, func(ctx context.Context, p redis.Pipeliner) {
					p.Set(ctx, key, bytes.Repeat([]byte{byte(i)}, size), time.Duration(1+r.IntN(48))*time.Hour)
				}}
			default:
				it = item{key, func(ctx context.Context, p redis.Pipeliner) {
					p.Del(ctx, key)
					p.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: fmt.Sprintf("%d-1", i+1), Values: pairs(r, 2)})
				}}
			}
			if !yield(it) {
				return
			}
		}
	}
}

func pairs(r random, n int) []any {
	out := make([]any, 0, 2*n)
	for i := range n {
		out = append(out, fmt.Sprintf("f%d", i), r.text(1+r.IntN(60)))
	}
	return out
}

func members(r random, n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = fmt.Sprintf("%d-%s", i, r.text(1+r.IntN(20)))
	}
	return out
}
