package rewrite

import (
	"errors"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// FuzzRewrite fits commands that no server wrote, and finds their keys. An
// argument is a word of the text.
func FuzzRewrite(f *testing.F) {
	for _, command := range []string{
		"SET k v PXAT 99 GET", "MSETEX 2 a 1 b 2 PXAT 9", "COPY a b DB 3 REPLACE", "LMOVE a b LEFT RIGHT", "LPOP l 3", "ZADD z GT 1 a 2 b",
		"ZRANGESTORE d s 1 2 BYSCORE REV LIMIT 0 5", "ZDIFFSTORE d 2 a b", "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 5 km ASC COUNT 3 STOREDIST",
		"HGETDEL h FIELDS 2 a b", "HSETEX h FXX PXAT 9 FIELDS 1 a b", "XADD x NOMKSTREAM MAXLEN = 6 7-1 f v", "XTRIM x MINID = 7-1",
		"XCLAIM x g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 2-0", "XGROUP CREATE x g 0 MKSTREAM ENTRIESREAD 5", "XSETID x 5-0 ENTRIESADDED 7 MAXDELETEDID 2-0",
		"HPEXPIREAT h 99 FIELDS 1 f", "FUNCTION DELETE lib", "SPUBLISH ch m", "SORT l BY w GET # STORE d", "EVAL return 2 a b", "XREADGROUP GROUP g c STREAMS a b 1 2",
	} {
		f.Add(command)
	}
	tables := []*Table{
		For(valkey91, redis60), For(valkey91, redis60, redis70), For(redis84, valkey80), For(redis80, redis62), For(redis70, redis70),
	}
	f.Fuzz(func(t *testing.T, text string) {
		args := words(text)
		if len(args) == 0 {
			return
		}
		for i, table := range tables {
			out, err := table.Rewrite(args, 3)
			if err != nil {
				var unsupported *UnsupportedError
				if len(out) > 0 || err.Error() == "" || errors.As(err, &unsupported) && unsupported.Command == "" {
					t.Errorf("table %d: %q: %v and %v", i, text, out, err)
				}
				continue
			}
			for _, c := range out {
				if len(c) == 0 || len(c[0]) == 0 {
					t.Errorf("table %d: %q: an empty command in %q", i, text, out)
				}
			}
		}
		keys, err := route.Keys(nil, args)
		for _, k := range keys {
			if err == nil && (k < 1 || k >= len(args)) {
				t.Errorf("%q: key at %d of %d arguments", text, k, len(args))
			}
		}
		_ = route.ClassOf(args[0])
	})
}
