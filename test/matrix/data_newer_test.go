package matrix

import "fmt"

// newer lists commands and options that came after Redis 6.0, in the forms
// that reach a stream. An older target gets something with the same effect.
var newer = []feature{
	{name: "COPY", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		w.do("RPUSH", w.key("a"), 1, 2, 3)
		w.do("COPY", w.key("a"), w.key("b"))
		w.do("PEXPIREAT", w.key("a"), far(5))
		w.do("COPY", w.key("a"), w.key("with deadline"))
		w.do("HSET", w.key("h"), "f", "v")
		w.do("COPY", w.key("h"), w.key("b"), "REPLACE")
		w.do("COPY", w.key("h"), w.key("h")+" kept", "REPLACE")
		w.do("COPY", w.key("b"), w.key("a")) // is there already: nothing happens
	}},
	{name: "COPY to another database", live: true, dbs: true, needs: redisFrom(6, 2), write: func(w *writer) {
		w.do("SET", w.key("a"), "v", "PX", 100000000)
		w.do("PEXPIREAT", w.key("a"), far(6))
		w.do("COPY", w.key("a"), w.key("a"), "DB", 3)
		w.do("SET", w.key("a"), "w")
		w.do("COPY", w.key("a"), w.key("b"), "DB", 2)
		w.do("COPY", w.key("a"), w.key("a"), "DB", 3, "REPLACE")
	}},
	{name: "lists from both ends", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		for _, k := range []string{"a", "b", "c"} {
			for i := range 12 {
				w.do("RPUSH", w.key(k), fmt.Sprint(k, i))
			}
		}
		for _, from := range []string{"LEFT", "RIGHT"} {
			for _, to := range []string{"LEFT", "RIGHT"} {
				w.do("LMOVE", w.key("a"), w.key("b"), from, to)
				w.do("BLMOVE", w.key("c"), w.key("c"), from, to, 1)
				w.do("LMOVE", w.key("nothing"), w.key("b"), from, to)
			}
		}
		w.do("LPOP", w.key("a"), 2)
		w.do("RPOP", w.key("a"), 3)
		w.do("LPOP", w.key("b"), 1)
		w.do("RPUSH", w.key("emptied"), 1, 2)
		w.do("RPOP", w.key("emptied"), 5)
		w.do("RPUSH", w.key("emptied from the left"), 1, 2)
		w.do("LPOP", w.key("emptied from the left"), 2)
	}},
	{name: "ZADD GT, LT", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		k := w.key("z")
		w.do("ZADD", k, 1, "a", 2, "b", "inf", "c", "-inf", "d", "0.1", "e")
		w.do("ZADD", k, "GT", "0.5", "a", "2.5", "b", "5", "c", "5", "d", "7", "new")
		w.do("ZADD", k, "LT", "CH", "0.5", "a", "3", "b", "4", "c", "-5", "d", "7", "newer")
		w.do("ZADD", k, "XX", "GT", "inf", "a", "1", "not there", "0.1000000000000000055", "e")
		w.do("ZADD", k, "GT", "INCR", "1.5", "b")
		w.do("ZADD", k, "XX", "LT", "INCR", "-1.5", "b")
		w.do("ZADD", k, "GT", "100", "e")
		w.do("ZADD", k, "GT", "1", "e") // nothing happens
	}},
	{name: "ZRANGESTORE", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		for i := range 1500 {
			w.do("ZADD", w.key("a"), fmt.Sprintf("%d.7", i%700), fmt.Sprint("m", i))
		}
		for i := range 20 {
			w.do("ZADD", w.key("same"), 3, fmt.Sprint("m", i))
		}
		for i, args := range [][]any{
			{0, -1},
			{2, 5, "REV"},
			{"(3", "5.7", "BYSCORE"},
			{"+inf", "(600", "BYSCORE", "REV", "LIMIT", 3, 20},
			{"900", "1000", "BYSCORE"},
		} {
			w.do(append([]any{"ZRANGESTORE", w.key(fmt.Sprint("r", i)), w.key("a")}, args...)...)
		}
		w.do("ZRANGESTORE", w.key("by lex"), w.key("same"), "[m1", "(m5", "BYLEX")
		w.do("ZRANGESTORE", w.key("by lex backwards"), w.key("same"), "+", "-", "BYLEX", "REV", "LIMIT", 1, -1)
		w.do("ZRANGESTORE", w.key("same"), w.key("same"), 0, 4)
		w.do("SET", w.key("overwritten"), "v")
		w.do("ZRANGESTORE", w.key("overwritten"), w.key("same"), 0, 1)
		w.do("ZRANGESTORE", w.key("same"), w.key("nothing"), 0, 1)
	}},
	{name: "ZDIFFSTORE", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		w.do("ZADD", w.key("a"), 1, "a", "2.25", "b", 3, "c", "inf", "d")
		w.do("ZADD", w.key("b"), 7, "b")
		w.do("SADD", w.key("s"), "c", "x")
		w.do("ZDIFFSTORE", w.key("d"), 3, w.key("a"), w.key("b"), w.key("s"))
		w.do("ZDIFFSTORE", w.key("of a set"), 2, w.key("s"), w.key("a"))
		w.do("ZDIFFSTORE", w.key("a"), 2, w.key("a"), w.key("b"))
		w.do("ZDIFFSTORE", w.key("b"), 2, w.key("b"), w.key("b"))
	}},
	{name: "GEOSEARCHSTORE", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		w.do("GEOADD", w.key("g"), "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania")
		w.do("GEOADD", w.key("g"), "NX", "CH", "12.5", "37.9", "Trapani")
		w.do("GEOSEARCHSTORE", w.key("a"), w.key("g"), "FROMLONLAT", 15, 37, "BYRADIUS", 200, "km", "ASC")
		w.do("GEOSEARCHSTORE", w.key("b"), w.key("g"), "FROMMEMBER", "Palermo", "BYRADIUS", 100, "mi", "COUNT", 2)
		w.do("GEOSEARCHSTORE", w.key("c"), w.key("g"), "FROMLONLAT", 15, 37, "BYRADIUS", 1, "m")
	}},
	{name: "GEOSEARCHSTORE BYBOX", live: true, needs: redisFrom(6, 2), holds: redisFrom(6, 2), write: func(w *writer) {
		w.do("GEOADD", w.key("g"), "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania")
		w.do("GEOSEARCHSTORE", w.key("a"), w.key("g"), "FROMLONLAT", 15, 37, "BYBOX", 400, 400, "km")
	}},
	{name: "trimmed streams", live: true, needs: redisFrom(6, 2), write: func(w *writer) {
		k := w.key("x")
		for i := range 600 {
			w.do("XADD", k, fmt.Sprintf("%d-%d", 18446744073709000000+uint64(i/3), i%3), "f", i)
		}
		w.do("XADD", k, "MAXLEN", "~", 300, "LIMIT", 100, "18446744073709100000-1", "f", "v")
		w.do("XTRIM", k, "MAXLEN", "~", 200, "LIMIT", 100)
		w.do("XADD", k, "NOMKSTREAM", "MINID", "18446744073709000150-2", "18446744073709100000-2", "f", "v")
		w.do("XTRIM", k, "MINID", "18446744073709000151")
		w.do("XADD", w.key("few"), "9-9", "f", "v")
		w.do("XADD", w.key("few"), "10-1", "f", "v")
		w.do("XADD", w.key("few"), "MINID", "=", "10", "11-1", "f", "v")
		w.do("XTRIM", w.key("few"), "MINID", "99")
		w.do("XADD", w.key("few"), "100-*", "f", "v")
		w.do("XADD", w.key("none"), "NOMKSTREAM", "1-1", "f", "v")
	}},
	{name: "consumers", live: true, needs: redisFrom(7, 0), write: func(w *writer) {
		k := w.key("x")
		for i := range 9 {
			w.do("XADD", k, fmt.Sprint(i+1, "-1"), "f", i)
		}
		w.do("XGROUP", "CREATE", k, "g", "0", "ENTRIESREAD", 1)
		w.do("XGROUP", "CREATE", w.key("made"), "g", "$", "MKSTREAM", "ENTRIESREAD", 3)
		w.do("XGROUP", "CREATECONSUMER", k, "g", "idle")
		w.do("XREADGROUP", "GROUP", "g", "a", "COUNT", 5, "STREAMS", k, ">")
		w.do("XGROUP", "CREATECONSUMER", k, "g", "idle too")
		w.do("XREADGROUP", "GROUP", "g", "b", "NOACK", "COUNT", 1, "STREAMS", k, ">")
		w.do("XDEL", k, "2-1", "3-1")
		w.do("XAUTOCLAIM", k, "g", "b", 0, "0") // drops the deleted ones
		w.do("XCLAIM", k, "g", "a", 0, "4-1", "JUSTID")
		w.do("XGROUP", "SETID", k, "g", "7-1", "ENTRIESREAD", 6)
		w.do("XSETID", k, "20-1", "ENTRIESADDED", 40, "MAXDELETEDID", "3-1")
	}},
	{name: "MSETEX with options", live: true, needs: func(e *end) bool { return e.has("MSETEX") }, write: func(w *writer) {
		w.do("MSETEX", 2, w.key("a"), 1, w.key("b"), 2, "NX", "PXAT", far(3))
		w.do("MSETEX", 2, w.key("a"), 3, w.key("b"), 4, "XX", "KEEPTTL")
		w.do("MSETEX", 2, w.key("a"), 5, w.key("c"), 6, "NX") // nothing happens
		w.do("MSETEX", 1, w.key("d"), 7, "NX")
	}},
	{name: "SET IFEQ with options", live: true, needs: func(e *end) bool { return e.valkey() && e.atLeast(8, 1) }, write: func(w *writer) {
		w.do("SET", w.key("k"), "a", "PXAT", far(4))
		w.do("SET", w.key("k"), "b", "IFEQ", "a", "KEEPTTL")
		w.do("SET", w.key("l"), "a")
		w.do("SET", w.key("l"), "b", "IFEQ", "a", "PXAT", far(5))
		w.do("SET", w.key("m"), "a")
		w.do("SET", w.key("m"), "b", "IFEQ", "a", "GET")
	}},
	{name: "HSETEX without deadlines", live: true, needs: func(e *end) bool { return e.has("HSETEX") }, write: func(w *writer) {
		w.do("HSET", w.key("h"), "a", 1, "b", 2)
		w.do("HSETEX", w.key("h"), "FIELDS", 2, "a", 3, "c", 4)
		w.do("HSETEX", w.key("h"), "FXX", "KEEPTTL", "FIELDS", 1, "b", 5)
	}},
	{name: "no functions", live: true, needs: redisFrom(7, 0), write: func(w *writer) {
		w.do("FUNCTION", "FLUSH")
		w.do("SPUBLISH", "channel", "message")
		w.do("SET", w.key("a"), "v")
	}},
	{name: "values of all lengths with a deadline", live: true, write: func(w *writer) {
		for i, n := range []int{0, 1, 63, 64, 300, 16383, 16384, 70000} {
			w.do("SETEX", w.key(fmt.Sprint(i)), 100000, noise(n, uint64(n)))
			w.do("PEXPIREAT", w.key(fmt.Sprint(i)), far(i))
		}
		w.do("SETEX", w.key("number"), 100000, "-123456")
		w.do("PEXPIREAT", w.key("number"), far(9))
	}},
}
