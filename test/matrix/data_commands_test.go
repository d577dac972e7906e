package matrix

import (
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// commands lists what only a stream can carry: each command in the forms that
// a release writes into it.
var commands = []feature{
	{name: "string commands", live: true, write: func(w *writer) {
		k := w.key("s")
		w.do("SETEX", w.key("setex"), 100000, "v")
		w.do("PSETEX", w.key("psetex"), 100000000, "v")
		w.do("SET", w.key("px"), "v", "PX", 100000000)
		w.do("SET", w.key("px"), "w", "KEEPTTL")
		w.do("SETNX", k, 1)
		w.do("INCRBYFLOAT", k, "0.25")
		w.do("GETSET", k, "new")
		w.do("MSET", w.key("m1"), 1, w.key("m2"), 2)
		w.do("MSETNX", w.key("m3"), 1, w.key("m4"), 2)
		w.do("BITFIELD", w.key("bits"), "SET", "u8", 3, 200, "INCRBY", "i5", 100, 1)
		w.do("BITOP", "XOR", w.key("bitop"), w.key("bits"), w.key("m1"))
		w.do("RENAME", w.key("m1"), w.key("renamed"))
		w.do("DEL", w.key("m2"), w.key("m3"))
		w.do("UNLINK", w.key("m4"))
	}},
	{name: "string commands of 6.2", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		w.do("SET", w.key("exat"), "v", "EXAT", far(0)/1000)
		w.do("SET", w.key("pxat"), "v", "PXAT", far(1))
		w.do("SET", w.key("pxat"), "w", "GET")
		w.do("SET", w.key("a"), "v")
		w.do("GETEX", w.key("a"), "PXAT", far(2))
		w.do("GETEX", w.key("a"), "PERSIST")
		w.do("SET", w.key("b"), "v")
		w.do("GETDEL", w.key("b"))
		w.do("COPY", w.key("a"), w.key("copy"))
	}},
	{name: "expiry commands", live: true, write: func(w *writer) {
		for i, cmd := range []string{"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "PERSIST"} {
			k := w.key(cmd)
			w.do("SET", k, "v", "PX", 90000000)
			switch i {
			case 0, 1:
				w.do(cmd, k, 100000000)
			case 2:
				w.do(cmd, k, far(0)/1000)
			case 3:
				w.do(cmd, k, far(0))
			case 4:
				w.do(cmd, k)
			}
		}
		w.do("SET", w.key("past"), "v")
		w.do("PEXPIREAT", w.key("past"), 1)
		if redisFrom(7, 0)(w.e) {
			w.do("SET", w.key("gt"), "v", "PX", 90000000)
			w.do("PEXPIREAT", w.key("gt"), far(9), "GT")
		}
	}},
	{name: "list commands", live: true, write: func(w *writer) {
		w.do("RPUSH", w.key("a"), 1, 2, 3, 4, 5, 6, 7, 8)
		w.do("RPOPLPUSH", w.key("a"), w.key("b"))
		w.do("LREM", w.key("a"), 0, 3)
		w.do("LTRIM", w.key("a"), 0, 4)
		w.do("LPUSHX", w.key("a"), "x")
		w.do("BLPOP", w.key("a"), 1)
		w.do("SORT", w.key("a"), "STORE", w.key("sorted"))
		if redisFrom(6, 2)(w.e) {
			w.do("LMOVE", w.key("a"), w.key("b"), "LEFT", "RIGHT")
			w.do("LPOP", w.key("a"), 2)
		}
		if redisFrom(7, 0)(w.e) {
			w.do("LMPOP", 2, w.key("none"), w.key("b"), "LEFT", "COUNT", 1)
		}
	}},
	{name: "set commands", live: true, write: func(w *writer) {
		w.do("SADD", w.key("a"), 1, 2, 3, "x", "y")
		w.do("SADD", w.key("b"), 3, "y", "z")
		w.do("SMOVE", w.key("a"), w.key("b"), "x")
		w.do("SPOP", w.key("a"))
		w.do("SUNIONSTORE", w.key("u"), w.key("a"), w.key("b"))
		w.do("SDIFFSTORE", w.key("d"), w.key("b"), w.key("a"))
	}},
	{name: "sorted set commands", live: true, write: func(w *writer) {
		for i := range 20 {
			w.do("ZADD", w.key("a"), i, fmt.Sprint("m", i))
		}
		w.do("ZADD", w.key("a"), "XX", "CH", "5.5", "m5")
		w.do("ZADD", w.key("a"), "INCR", "0.1", "m6")
		w.do("ZUNIONSTORE", w.key("u"), 2, w.key("a"), w.key("a"), "WEIGHTS", 2, 3)
		w.do("ZREMRANGEBYSCORE", w.key("a"), 1, 3)
		w.do("ZPOPMAX", w.key("a"), 2)
		w.do("BZPOPMIN", w.key("a"), 1)
		if redisFrom(6, 2)(w.e) {
			w.do("ZADD", w.key("a"), "GT", "100", "m6")
			w.do("ZRANGESTORE", w.key("r"), w.key("a"), 0, 3)
			w.do("ZDIFFSTORE", w.key("d"), 2, w.key("u"), w.key("a"))
		}
		if redisFrom(7, 0)(w.e) {
			w.do("ZMPOP", 1, w.key("a"), "MIN")
		}
	}},
	{name: "stream commands", live: true, write: func(w *writer) {
		k := w.key("x")
		for range 10 {
			w.do("XADD", k, "*", "f", "v")
		}
		w.do("XADD", k, "MAXLEN", 5, "*", "f", "v")
		w.do("XSETID", k, "18446744073709551000-1")
		w.do("XGROUP", "CREATE", k, "g", "0")
		w.do("XREADGROUP", "GROUP", "g", "c", "COUNT", 3, "STREAMS", k, ">")
		if redisFrom(6, 2)(w.e) {
			w.do("XAUTOCLAIM", k, "g", "d", 0, "0", "COUNT", 2)
			w.do("XADD", k, "NOMKSTREAM", "MINID", "0", "18446744073709551001-*", "f", "v")
			w.do("XTRIM", k, "MINID", "1")
		}
	}},
	{name: "field expiry commands", live: true, needs: fieldExpiry, holds: fieldExpiry, write: func(w *writer) {
		k := w.key("h")
		w.do("HSET", k, "a", 1, "b", 2, "c", 3, "d", 4)
		w.do("HEXPIRE", k, 100000, "FIELDS", 1, "a")
		w.do("HPEXPIRE", k, 100000000, "NX", "FIELDS", 2, "a", "b")
		w.do("HPEXPIREAT", k, far(0), "FIELDS", 1, "c")
		w.do("HPERSIST", k, "FIELDS", 1, "b")
		w.do("HPEXPIREAT", k, 1, "FIELDS", 1, "d")
	}},
	{name: "HSETEX, HGETEX", live: true, needs: func(e *end) bool { return e.has("HSETEX") }, holds: fieldExpiry, write: func(w *writer) {
		k := w.key("h")
		w.do("HSETEX", k, "PXAT", far(1), "FIELDS", 2, "a", 1, "b", 2)
		w.do("HSETEX", k, "FNX", "EX", 100000, "FIELDS", 1, "c", 3)
		w.do("HSETEX", k, "FXX", "KEEPTTL", "FIELDS", 1, "a", 4)
		w.do("HGETEX", k, "PERSIST", "FIELDS", 1, "b")
		w.do("HGETEX", k, "PXAT", far(2), "FIELDS", 1, "a")
	}},
	{name: "HGETDEL", live: true, needs: func(e *end) bool { return e.has("HGETDEL") }, write: func(w *writer) {
		w.do("HSET", w.key("h"), "a", 1, "b", 2)
		w.do("HGETDEL", w.key("h"), "FIELDS", 1, "a")
	}},
	{name: "SET IFEQ", live: true, needs: func(e *end) bool { return e.valkey() && e.atLeast(8, 1) }, write: func(w *writer) {
		w.do("SET", w.key("k"), "a")
		w.do("SET", w.key("k"), "b", "IFEQ", "a")
		w.do("SET", w.key("k"), "c", "IFEQ", "a")
	}},
	{name: "DELIFEQ", live: true, needs: func(e *end) bool { return e.has("DELIFEQ") }, write: func(w *writer) {
		w.do("SET", w.key("k"), "a")
		w.do("SET", w.key("kept"), "a")
		w.do("DELIFEQ", w.key("k"), "a")
		w.do("DELIFEQ", w.key("kept"), "b")
	}},
	{name: "MSETEX", live: true, needs: func(e *end) bool { return e.has("MSETEX") }, write: func(w *writer) {
		w.do("MSETEX", 2, w.key("a"), 1, w.key("b"), 2, "PXAT", far(1))
		w.do("MSETEX", 1, w.key("c"), 1)
	}},
	{name: "transactions", live: true, dbs: true, write: func(w *writer) {
		_, err := w.e.client(0).TxPipelined(w.t.Context(), func(p redis.Pipeliner) error {
			p.Set(w.t.Context(), w.key("a"), 1, 0)
			p.Do(w.t.Context(), "SELECT", 2)
			p.Incr(w.t.Context(), w.key("a"))
			p.Do(w.t.Context(), "SELECT", 0)
			p.RPush(w.t.Context(), w.key("l"), "x")
			return nil
		})
		if err != nil {
			w.t.Fatalf("%s: MULTI: %v", w.e.name, err)
		}
		w.do("MOVE", w.key("a"), 1)
	}},
	{name: "scripts", live: true, write: func(w *writer) {
		w.do("EVAL", "redis.call('SET',KEYS[1],ARGV[1]) redis.call('RPUSH',KEYS[2],ARGV[1],ARGV[2]) return redis.call('INCR',KEYS[3])", 3,
			w.key("{x}a"), w.key("{x}b"), w.key("{x}c"), "v", strings.Repeat("w", 100))
		sha := w.do("SCRIPT", "LOAD", "return redis.call('SADD',KEYS[1],ARGV[1])")
		w.do("EVALSHA", sha, 1, w.key("by hash"), "m")
	}},
}

// all is everything that is compared.
func all() []feature {
	return append(append(append([]feature(nil), data...), commands...), newer...)
}
