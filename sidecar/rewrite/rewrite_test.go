package rewrite

import (
	"errors"
	"strings"
	"testing"
)

func server(product, version string) Server {
	return ParseServer(map[string]string{strings.ToLower(product) + "_version": version})
}

var (
	redis60  = server("Redis", "6.0.16")
	redis62  = server("Redis", "6.2.7")
	redis70  = server("Redis", "7.0.15")
	redis74  = server("Redis", "7.4.1")
	redis80  = server("Redis", "8.0.2")
	redis84  = server("Redis", "8.4.0")
	valkey80 = server("Valkey", "8.0.1")
	valkey81 = server("Valkey", "8.1.1")
	valkey91 = server("Valkey", "9.1.2")
)

func words(text string) Command {
	var c Command
	for w := range strings.FieldsSeq(text) {
		c = append(c, []byte(w))
	}
	return c
}

// text writes commands as the tables below do: scripts by their name, payloads
// as such.
func text(out []Command) string {
	names := map[string]string{
		copyScript: "copyScript", lmoveScript: "lmoveScript", zaddScript: "zaddScript", zrangestoreScript: "zrangestoreScript",
		zdiffstoreScript: "zdiffstoreScript", minIDScript: "minIDScript", consumerScript: "consumerScript", xclaimScript: "xclaimScript",
	}
	var all []string
	for _, c := range out {
		var w []string
		for i, a := range c {
			s := string(a)
			if n, ok := names[s]; ok {
				s = n
			} else if i == 3 && string(c[0]) == "RESTORE" {
				s = "<payload>"
			}
			w = append(w, s)
		}
		all = append(all, strings.Join(w, " "))
	}
	return strings.Join(all, "; ")
}

const same = "as it is"

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		from, to      Server
		command, want string
	}{
		{redis70, redis60, "SET k v", same},
		{redis70, redis60, "SET k v KEEPTTL", same},
		{redis70, redis60, "SET k v XX", same},
		{redis70, redis60, "set k v pxat 4102444800000", "RESTORE k 4102444800000 <payload> REPLACE ABSTTL"},
		{redis62, redis60, "SET k v GET", "SET k v"},
		{redis60, redis60, "SET k v EX 100", same},
		{redis70, redis70, "SET k v PXAT 4102444800000", same},
		{valkey81, redis80, "SET k v IFEQ old", "SET k v"},
		{valkey81, redis80, "SET k v IFEQ old KEEPTTL", "SET k v KEEPTTL"},
		{valkey81, valkey91, "SET k v IFEQ old", same},
		{valkey91, redis84, "SET k v IFEQ old", "SET k v"},
		{valkey91, valkey80, "SET k v PXAT 5", same},
		{redis70, redis60, "COPY a b REPLACE", "EVAL copyScript 2 a b"},
		{redis70, redis60, "COPY a b DB 3", "EVAL copyScript 2 a b 3"},
		{redis70, redis62, "COPY a b DB 3", same},
		{redis70, redis60, "LMOVE a b RIGHT LEFT", "RPOPLPUSH a b"},
		{redis70, redis60, "LMOVE a b LEFT RIGHT", "EVAL lmoveScript 2 a b LPOP RPUSH"},
		{redis70, redis60, "LPOP l", same},
		{redis70, redis60, "LPOP l 2", "LTRIM l 2 -1"},
		{redis70, redis60, "RPOP l 2", "LTRIM l 0 -3"},
		{redis70, redis60, "RPOP l 9223372036854775807", "DEL l"},
		{redis70, redis60, "ZADD z NX CH 1 a 2 b", same},
		{redis70, redis60, "ZADD z GT 5 a", "ZADD z 5 a"},
		{redis70, redis60, "ZADD z XX GT CH INCR 5 a", "ZADD z XX CH INCR 5 a"},
		{redis70, redis60, "ZADD z XX LT 5 a 6 b", "EVAL zaddScript 1 z lt 1 5 a 6 b"},
		{redis70, redis60, "ZRANGESTORE d s 1 5 BYSCORE REV LIMIT 0 2", "EVAL zrangestoreScript 2 d s scores ZREVRANGEBYSCORE 1 5 WITHSCORES LIMIT 0 2"},
		{redis70, redis60, "ZRANGESTORE d s 0 2", "EVAL zrangestoreScript 2 d s scores ZRANGE 0 2 WITHSCORES"},
		{redis70, redis60, "ZRANGESTORE d s - + BYLEX", "EVAL zrangestoreScript 2 d s lex ZRANGEBYLEX - +"},
		{redis70, redis60, "ZDIFFSTORE d 2 a b", "EVAL zdiffstoreScript 3 d a b"},
		{redis70, redis60, "GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 2 km ASC COUNT 3 STOREDIST", "GEORADIUS s 15 37 2 km ASC COUNT 3 STOREDIST d"},
		{redis70, redis60, "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 2 km", "GEORADIUSBYMEMBER s m 2 km STORE d"},
		{redis70, redis60, "GEOSEARCHSTORE d s FROMMEMBER m BYBOX 2 3 km", "refused: knows no BYBOX"},
		{redis70, redis60, "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 2 km COUNT 3 ANY", "refused: knows no ANY"},
		{redis80, redis70, "HGETDEL h FIELDS 2 a b", "HDEL h a b"},
		{valkey91, redis80, "HGETDEL h FIELDS 2 a b", same},
		{redis80, redis70, "HSETEX h FXX FIELDS 1 a 1", "HSET h a 1"},
		{redis80, redis70, "HSETEX h KEEPTTL FIELDS 1 a 1", "HSET h a 1"},
		{redis80, redis70, "HSETEX h PXAT 5 FIELDS 1 a 1", "refused: cannot expire"},
		{redis80, redis74, "HSETEX h FNX PXAT 5 FIELDS 2 a 1 b 2", "HSET h a 1 b 2; HPEXPIREAT h 5 FIELDS 2 a b"},
		{redis80, redis74, "HSETEX h KEEPTTL FIELDS 1 a 1", "refused: takes the deadline"},
		{redis80, valkey91, "HSETEX h FNX PXAT 5 FIELDS 1 a 1", same},
		{redis80, redis70, "HPEXPIREAT h 5 FIELDS 1 a", "refused: cannot expire"},
		{redis80, valkey81, "HPERSIST h FIELDS 1 a", "refused: cannot expire"},
		{redis80, valkey91, "HPERSIST h FIELDS 1 a", same},
		{valkey91, redis80, "MSETEX 2 a 1 b 2 NX", "MSET a 1 b 2"},
		{valkey91, redis80, "MSETEX 2 a 1 b 2 PXAT 5", "SET a 1 PXAT 5; SET b 2 PXAT 5"},
		{valkey91, redis80, "MSETEX 2 a 1 b 2 XX KEEPTTL", "SET a 1 KEEPTTL; SET b 2 KEEPTTL"},
		{valkey91, redis60, "MSETEX 1 a 1 PXAT 5", "RESTORE a 5 <payload> REPLACE ABSTTL"},
		{redis80, valkey91, "VADD v VALUES 2 1 2 e", "refused: vectorset"},
		{redis80, redis80, "VADD v VALUES 2 1 2 e", same},
		{redis70, redis70, "XADD x 1-1 f v", same},
		{redis70, redis70, "XADD x MINID = 1-1 2-1 f v", same},
		{redis70, redis70, "XADD x MAXLEN = 6 LIMIT 10 1-1 f v", "XADD x MAXLEN = 6 1-1 f v"},
		{redis70, redis70, "XTRIM x MINID = 6-0 LIMIT 10", "XTRIM x MINID = 6-0"},
		{redis70, redis60, "XADD x NOMKSTREAM MAXLEN = 6 LIMIT 10 1-1 f v", "XADD x MAXLEN = 6 1-1 f v"},
		{redis70, redis60, "XADD x MINID = 6 LIMIT 10 7-1 f v", "EVAL minIDScript 1 x 6 0 7-1 f v"},
		{redis70, redis60, "XTRIM x MINID 6-7", "EVAL minIDScript 1 x 6 7"},
		{redis70, redis60, "XTRIM x MAXLEN 6", same},
		{redis70, redis60, "XGROUP CREATE x g 0 MKSTREAM ENTRIESREAD 5", "XGROUP CREATE x g 0 MKSTREAM"},
		{redis70, redis62, "XGROUP SETID x g 1-1 ENTRIESREAD 5", "XGROUP SETID x g 1-1"},
		{redis70, redis60, "XGROUP SETID x ENTRIESREAD 1-1", same},
		{redis62, redis60, "XGROUP CREATECONSUMER x g c", "EVAL consumerScript 1 x g c"},
		{redis70, redis62, "XGROUP CREATECONSUMER x g c", same},
		{redis70, redis60, "XSETID x 1-1 ENTRIESADDED 5 MAXDELETEDID 1-0", "XSETID x 1-1"},
		{redis70, redis60, "XCLAIM x g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1", "EVAL xclaimScript 1 x g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1"},
		{redis60, redis60, "XCLAIM x g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1", same},
		{redis70, redis60, "SPUBLISH c m", ""},
		{redis70, redis60, "FUNCTION FLUSH", ""},
		{redis70, redis60, "FUNCTION LOAD code", "refused: no functions"},
	} {
		out, err := For(c.from, c.to).Rewrite(words(c.command), 0)
		got := text(out)
		var refused *UnsupportedError
		switch {
		case errors.As(err, &refused):
			got = "refused: " + err.Error()
			if rest, ok := strings.CutPrefix(c.want, "refused: "); ok && strings.Contains(got, rest) && strings.Contains(got, c.to.String()) {
				continue
			}
		case err != nil:
			t.Errorf("%s to %s: %s: %v", c.from, c.to, c.command, err)
			continue
		case out == nil:
			got = same
		}
		if got != c.want {
			t.Errorf("%s to %s: %s\n got %s\nwant %s", c.from, c.to, c.command, got, c.want)
		}
	}
}

// TestMixedVersions: while a cluster is upgraded, its oldest node decides.
func TestMixedVersions(t *testing.T) {
	if out, err := For(redis80, redis80, redis70).Rewrite(words("HGETDEL h FIELDS 1 a"), 0); err != nil || text(out) != "HDEL h a" {
		t.Errorf("%s, %v", text(out), err)
	}
}

func TestRefusalNamesKeyAndDatabase(t *testing.T) {
	_, err := For(redis80, redis70).Rewrite(words("HPEXPIREAT the-hash 5 FIELDS 1 a"), 7)
	if err == nil || !strings.Contains(err.Error(), `HPEXPIREAT of key "the-hash" in database 7`) {
		t.Errorf("error: %v", err)
	}
}

// TestMalformed: what no release writes is refused, and nothing panics.
func TestMalformed(t *testing.T) {
	old := For(valkey91, redis60)
	for _, command := range []string{
		"SET k", "SET k v PXAT x", "SET k v PXAT -1", "MSETEX 5 a 1", "MSETEX -1 a 1", "MSETEX 1 a 1 NOSUCH",
		"COPY a", "COPY a b DB", "COPY a b NOSUCH", "LMOVE a b", "LPOP l 0", "LPOP l x", "ZADD z GT", "ZADD z GT 1 a 2",
		"ZRANGESTORE d", "ZRANGESTORE d s 1 2 LIMIT 1", "ZDIFFSTORE d 3 a", "GEOSEARCHSTORE d", "GEOSEARCHSTORE d s FROMMEMBER",
		"HGETDEL h", "HGETDEL h FIELDS 2 a", "HSETEX h", "HSETEX h FIELDS 1 a", "HSETEX h NOSUCH 1 FIELDS 1 a b",
		"XADD x", "XADD x MAXLEN", "XADD x MAXLEN = 6", "XADD x MINID x 7-1 f v", "XADD x MAXLEN ~ 6 LIMIT 5 1-1 f v",
		"XTRIM x MINID 1-x", "XCLAIM x g",
	} {
		if out, err := old.Rewrite(words(command), 0); err == nil {
			t.Errorf("%s: rewritten to %q", command, text(out))
		}
	}
	for _, command := range []string{"SET", "XADD", "LPOP", "XSETID", "XGROUP", "XTRIM", "XTRIM x", "FUNCTION DELETE", "HPEXPIREAT", strings.Repeat("x", 64), "\xff\xff\xff\xff"} {
		_, _ = old.Rewrite(words(command), 0) // the target decides; it must not panic
	}
	if out, err := old.Rewrite(Command{nil}, 0); out != nil || err != nil {
		t.Errorf("a command without a name: %v, %v", out, err)
	}
}

func BenchmarkSameVersion(b *testing.B) {
	table, c := For(redis70, redis70), words("SET key value")
	for b.Loop() {
		if out, err := table.Rewrite(c, 0); out != nil || err != nil {
			b.Fatal(out, err)
		}
	}
}
