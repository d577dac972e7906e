package matrix

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// feature is a kind of data, or of commands.
type feature struct {
	name  string
	needs func(e *end) bool // the source can; nil: always
	holds func(e *end) bool // the target can hold the result; nil: always
	dbs   bool              // uses several databases
	write func(w *writer)   // new keys
	touch func(w *writer)   // changes what write made; only in the stream
	live  bool              // write is for the stream only: it tests commands
}

// writer writes one feature's keys to a source.
type writer struct {
	t      testing.TB
	e      *end
	db     int
	prefix string
	stream bool
}

// do runs a command; a key must come from w.key.
func (w *writer) do(args ...any) any {
	w.t.Helper()
	reply, err := w.e.client(w.db).Do(w.t.Context(), args...).Result()
	if err != nil && err.Error() != "redis: nil" {
		w.t.Fatalf("%s: %.200q: %v", w.e.name, fmt.Sprint(args...), err)
	}
	return reply
}

func (w *writer) key(name string) string { return w.prefix + name }

// in returns a writer for another database.
func (w *writer) in(db int) *writer {
	o := *w
	o.db = db
	return &o
}

// far is a deadline that does not pass during a test, another one for each n.
func far(n int) int64 { return 4102444800000 + int64(n)*1001 }

// noise has no repetition that LZF could use.
func noise(n int, seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return string(b)
}

func redisFrom(major, minor int) func(*end) bool {
	return func(e *end) bool { return e.valkey() || e.atLeast(major, minor) }
}

// fieldExpiry says whether the server has hash fields that expire.
func fieldExpiry(e *end) bool { return e.has("HPEXPIREAT") }

// accessFeature is the kind of data that has an access time or a counter.
const accessFeature = "idle times"

func vectors(e *end) bool { return e.has("VADD") }

// data lists what a snapshot can hold, each encoding of each release.
var data = []feature{
	{name: "strings", write: func(w *writer) {
		for i, s := range []string{"", "0", "-1", "127", "-129", "32768", "-2147483648", "2147483648", "9223372036854775807", "00", "1.5", " 1", "\x00\x01\xfe\r\n", strings.Repeat("e", 44), strings.Repeat("r", 45)} {
			w.do("SET", w.key(fmt.Sprint("string", i)), s)
		}
		w.do("SET", w.key("lzf"), strings.Repeat("abcabc", 500))
		w.do("SET", w.key("lzf long run"), strings.Repeat("a", 70000))
		w.do("SET", w.key("14 bit length"), noise(300, 1))
		w.do("SET", w.key("32 bit length"), noise(1<<20, 2))
		w.do("SETBIT", w.key("bits"), 70001, 1)
	}, touch: func(w *writer) {
		w.do("APPEND", w.key("string0"), "x")
		w.do("INCR", w.key("string3"))
		w.do("SETRANGE", w.key("lzf"), 5000, "end")
		w.do("SETBIT", w.key("bits"), 3, 1)
	}},
	{name: "keys", write: func(w *writer) {
		names := []string{"", "12", "-129", "70000", "2147483647"}
		if w.stream {
			names = []string{"13", "-130", "70001", "-2147483648"}
		}
		for _, k := range names {
			w.do("SET", k, "value of "+k)
		}
		w.do("SET", w.key("bin\x00\r\n\xff"), "v")
		w.do("SET", w.key(strings.Repeat("long", 5000)), "a key that LZF packs")
		w.do("SET", w.key(noise(20000, 3)), "a long key that it does not")
	}},
	{name: "expiries", write: func(w *writer) {
		for i := range 20 {
			w.do("SET", w.key(fmt.Sprint(i)), "v")
			w.do("PEXPIREAT", w.key(fmt.Sprint(i)), far(i))
		}
		w.do("RPUSH", w.key("list"), "v")
		w.do("PEXPIREAT", w.key("list"), far(100))
	}, touch: func(w *writer) {
		w.do("PERSIST", w.key("1"))
		w.do("PEXPIREAT", w.key("2"), far(200))
		w.do("EXPIRE", w.key("3"), 100000)
	}},
	{name: "near expiries", write: func(w *writer) {
		for i, ms := range []int{600_000, 3_600_000, 20_000_000} {
			w.do("SET", w.key(fmt.Sprint(i)), "v", "PX", ms)
			w.do("RPUSH", w.key(fmt.Sprint("{list}", i)), "v")
			w.do("PEXPIRE", w.key(fmt.Sprint("{list}", i)), ms)
		}
	}, touch: func(w *writer) {
		w.do("PERSIST", w.key("0"))
		w.do("PEXPIRE", w.key("1"), 7_200_000)
		w.do("RENAME", w.key("{list}2"), w.key("renamed {list}"))
	}},
	{name: "databases", dbs: true, write: func(w *writer) {
		for db := range databases {
			w.in(db).do("SET", w.key("same"), db)
			w.in(db).do("RPUSH", w.key("list"), db)
		}
	}, touch: func(w *writer) {
		for db := range databases {
			w.in(db).do("APPEND", w.key("same"), "x")
		}
	}},
	{name: "small lists", write: func(w *writer) {
		w.do("RPUSH", w.key("list"), "a", 1, "", -300, 70000, 1<<40, noise(50, 4))
	}, touch: touchList},
	{name: "large lists", write: func(w *writer) {
		for i := range 400 {
			w.do("RPUSH", w.key("list"), i, noise(100, uint64(i)))
		}
		w.do("RPUSH", w.key("lzf nodes"), strings.Repeat("p", 5000), strings.Repeat("q", 5000), strings.Repeat("r", 5000))
		w.do("RPUSH", w.key("large elements"), noise(9000, 5), "small", strings.Repeat("p", 70000))
	}, touch: touchList},
	{name: "compressed lists", write: func(w *writer) {
		w.do("CONFIG", "SET", "list-compress-depth", 1)
		w.do("CONFIG", "SET", "list-max-ziplist-size", 16)
		for i := range 200 {
			w.do("RPUSH", w.key("list"), strings.Repeat("abc", 100), i)
		}
		w.do("CONFIG", "SET", "list-compress-depth", 0)
		w.do("CONFIG", "SET", "list-max-ziplist-size", -2)
	}, touch: touchList},
	{name: "plain list nodes", needs: func(e *end) bool { return e.atLeast(7, 0) }, write: func(w *writer) {
		w.do("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "100b")
		w.do("RPUSH", w.key("list"), noise(200, 6), "small", noise(300, 7), strings.Repeat("z", 500))
		w.do("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0b")
	}, touch: touchList},
	{name: "integer sets", write: func(w *writer) {
		w.do("SADD", w.key("16"), 1, -2, 300)
		w.do("SADD", w.key("32"), 1, 70000)
		w.do("SADD", w.key("64"), 1, 1<<40)
	}, touch: func(w *writer) { w.do("SADD", w.key("16"), 1<<50, "word") }},
	{name: "small sets", write: func(w *writer) {
		w.do("SADD", w.key("set"), "a", "", "1", noise(30, 8))
	}, touch: func(w *writer) {
		w.do("SREM", w.key("set"), "a")
		w.do("SADD", w.key("set"), "c")
	}},
	{name: "large sets", write: func(w *writer) {
		for i := range 300 {
			w.do("SADD", w.key("set"), fmt.Sprint("m", i))
		}
		w.do("SADD", w.key("long member"), noise(500, 9))
	}, touch: func(w *writer) { w.do("SPOP", w.key("set"), 10) }},
	{name: "small sorted sets", write: func(w *writer) {
		w.do("ZADD", w.key("zset"), "inf", "a", "-inf", "b", "0.1", "c", "-0", "d", "1e300", "e", 3, "f", 4, "")
	}, touch: touchZSet},
	{name: "large sorted sets", write: func(w *writer) {
		w.do("ZADD", w.key("zset"), "inf", "a", "-inf", "b", "0.1", "c", "-0", "d", "1e-300", "e", 3, strings.Repeat("f", 200))
		for i := range 200 {
			w.do("ZADD", w.key("zset"), fmt.Sprintf("%d.3", i), fmt.Sprint("m", i))
		}
		w.do("GEOADD", w.key("geo"), "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania")
	}, touch: touchZSet},
	{name: "small hashes", write: func(w *writer) {
		w.do("HSET", w.key("hash"), "a", 1, "b", "", "", "empty field", "c", "1.5", "n", 10)
	}, touch: touchHash},
	{name: "large hashes", write: func(w *writer) {
		for i := range 600 {
			w.do("HSET", w.key("hash"), fmt.Sprint("f", i), i, "n", 10)
		}
		w.do("HSET", w.key("long value"), "f", strings.Repeat("v", 300), "n", 1)
	}, touch: touchHash},
	{name: "field expiries, small", needs: fieldExpiry, holds: fieldExpiry, write: func(w *writer) {
		w.do("HSET", w.key("hash"), "a", 1, "b", 2, "n", 10, "", "x")
		w.do("HPEXPIREAT", w.key("hash"), far(1), "FIELDS", 2, "a", "")
		w.do("HSET", w.key("all"), "a", 1)
		w.do("HPEXPIREAT", w.key("all"), far(2), "FIELDS", 1, "a")
		w.do("PEXPIREAT", w.key("all"), far(3))
	}, touch: touchFields},
	{name: "field expiries, large", needs: fieldExpiry, holds: fieldExpiry, write: func(w *writer) {
		for i := range 600 {
			w.do("HSET", w.key("hash"), fmt.Sprint("f", i), i)
			if i%3 == 0 {
				w.do("HPEXPIREAT", w.key("hash"), far(i), "FIELDS", 1, fmt.Sprint("f", i))
			}
		}
		w.do("HSET", w.key("hash"), "n", 1)
		w.do("HPEXPIREAT", w.key("hash"), far(1000), "FIELDS", 1, "n")
	}, touch: touchFields},
	{name: "field expiries, near", needs: fieldExpiry, holds: fieldExpiry, write: func(w *writer) {
		w.do("HSET", w.key("hash"), "a", 1, "b", 2, "n", 3)
		w.do("HPEXPIRE", w.key("hash"), 600_000, "FIELDS", 2, "a", "n")
		w.do("HPEXPIRE", w.key("hash"), 3_600_000, "FIELDS", 1, "b")
		w.do("PEXPIRE", w.key("hash"), 7_200_000)
	}, touch: touchFields},
	{name: "streams", write: writeStreams, touch: touchStreams},
	{name: "groups", write: writeGroups, touch: touchGroups},
	{name: "stream offsets", needs: redisFrom(7, 0), holds: redisFrom(7, 0), write: func(w *writer) {
		w.do("XADD", w.key("stream"), "5-5", "f", "v")
		w.do("XSETID", w.key("stream"), "9-9", "ENTRIESADDED", 100, "MAXDELETEDID", "7-7")
		w.do("XGROUP", "CREATE", w.key("stream"), "g", "5-5", "ENTRIESREAD", 50)
	}},
	{name: "HyperLogLog", write: func(w *writer) {
		w.do("PFADD", w.key("sparse"), "a", "b")
		for i := range 3000 {
			w.do("PFADD", w.key("dense"), i)
		}
	}, touch: func(w *writer) { w.do("PFADD", w.key("sparse"), "c"); w.do("PFADD", w.key("dense"), "c") }},
	{name: accessFeature, write: func(w *writer) {
		// A value that nobody read for an hour, or that was read often.
		w.do("SET", w.key("tmp"), "v")
		payload := w.do("DUMP", w.key("tmp"))
		w.do("DEL", w.key("tmp"))
		policy := w.do("CONFIG", "GET", "maxmemory-policy").([]any)[1].(string)
		if strings.Contains(policy, "lfu") {
			w.do("RESTORE", w.key("often"), 0, payload, "FREQ", 200)
		} else {
			w.do("RESTORE", w.key("long ago"), 0, payload, "IDLETIME", 3600)
		}
	}},
	{name: "functions", needs: redisFrom(7, 0), holds: redisFrom(7, 0), write: func(w *writer) {
		lib := "snap"
		if w.stream {
			lib = "live"
		}
		w.do("FUNCTION", "LOAD", fmt.Sprintf("#!lua name=%s\nredis.register_function('%s', function(k, a) return redis.call('SET', k[1], a[1]) end)\n-- %s", lib, lib, strings.Repeat("long enough for LZF ", 20)))
		w.do("FCALL", lib, 1, w.key("by function"), "v")
	}},
	{name: "vector sets", needs: vectors, holds: vectors, write: func(w *writer) {
		for i := range 20 {
			w.do("VADD", w.key("v"), "VALUES", 3, i, 1, -0.5, fmt.Sprint("e", i), "SETATTR", fmt.Sprintf(`{"n":%d}`, i))
		}
	}, touch: func(w *writer) { w.do("VREM", w.key("v"), "e3") }},
}

func touchList(w *writer) {
	w.do("RPUSH", w.key("list"), "pushed", noise(150, 10))
	w.do("LPOP", w.key("list"))
	w.do("LSET", w.key("list"), 1, "set")
	w.do("LINSERT", w.key("list"), "BEFORE", "set", "inserted")
}

func touchZSet(w *writer) {
	w.do("ZINCRBY", w.key("zset"), "0.2", "c")
	w.do("ZREM", w.key("zset"), "a")
	w.do("ZPOPMIN", w.key("zset"))
}

func touchHash(w *writer) {
	w.do("HINCRBY", w.key("hash"), "n", 3)
	w.do("HINCRBYFLOAT", w.key("hash"), "n", "0.1")
	w.do("HSET", w.key("hash"), "new", noise(100, 11))
}

func touchFields(w *writer) {
	touchHash(w)
	w.do("HPERSIST", w.key("hash"), "FIELDS", 1, "n")
	w.do("HPEXPIREAT", w.key("hash"), far(2000), "FIELDS", 1, "new")
}
