package rdb_test

import (
	"encoding/base64"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// TestRecodeOnServer lets a server judge: a value as it came and the same in
// an older encoding must have the same digest.
func TestRecodeOnServer(t *testing.T) {
	s := testredis.Start(t, "--enable-debug-command", "yes")
	text, err := os.ReadFile("testdata/dumps.txt")
	if err != nil {
		t.Fatal(err)
	}
	s.Do(t, "SET", "k", "v")
	own, version, ok := rdb.Payload([]byte(s.Do(t, "DUMP", "k").(string)))
	if !ok || own != rdb.TypeString {
		t.Fatalf("DUMP of a string has type %d", own)
	}
	compared := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		p, err := base64.StdEncoding.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		typ, from, _ := rdb.Payload(p)
		if !rdb.Readable(typ, from, version) {
			continue
		}
		value := rdb.PayloadValue(p)
		s.Do(t, "FLUSHALL")
		s.Do(t, "RESTORE", "as it is", "0", string(rdb.AppendPayload(nil, typ, value, min(from, version))))
		for _, target := range []int{6, 9, version} {
			d := rdb.NewDecoder(&rdb.Record{Type: typ, Value: value}, t.TempDir())
			older, recoded, err := d.Recode(target, 1<<20)
			if err != nil {
				if target >= 9 {
					t.Errorf("%s %s for version %d: %v", f[0], f[1], target, err)
				}
				continue // streams came with version 9
			}
			s.Do(t, "RESTORE", "recoded", "0", string(rdb.AppendPayload(nil, older, recoded, target)), "REPLACE")
			same := func(args ...string) {
				t.Helper()
				ask := func(key string) any {
					words := slices.Clone(args)
					words[slices.Index(words, "KEY")] = key
					return s.Do(t, words...)
				}
				if a, b := ask("as it is"), ask("recoded"); !reflect.DeepEqual(a, b) {
					t.Errorf("%s %s as type %d: %v: %v and %v", f[0], f[1], older, args, a, b)
				}
			}
			if f[1] == "zset" { // of a score of -0 servers keep the sign or not
				s.Do(t, "ZREM", "as it is", "d")
				s.Do(t, "ZREM", "recoded", "d")
			}
			same("TYPE", "KEY")
			same("DEBUG", "DIGEST-VALUE", "KEY")
			if f[1] == "stream groups" {
				// Not XPENDING with a range: it says how long ago an entry was
				// delivered, which is another number a millisecond later.
				a, b := pending(s.Do(t, "XINFO", "STREAM", "as it is", "FULL")), pending(s.Do(t, "XINFO", "STREAM", "recoded", "FULL"))
				if len(a) == 0 || !reflect.DeepEqual(a, b) {
					t.Errorf("%s %s as type %d: pending entries %v and %v", f[0], f[1], older, a, b)
				}
				same("XPENDING", "KEY", "at the end")
			}
			compared++
		}
	}
	if compared < 100 {
		t.Errorf("only %d values were compared", compared)
	}
}

// pending returns the lists of pending entries in an answer to XINFO STREAM
// FULL: those of groups (pel) and of consumers (pending), with the absolute
// times of their delivery.
func pending(reply any) []any {
	list, ok := reply.([]any)
	if !ok {
		return nil
	}
	var found []any
	for i, member := range list {
		if name, ok := member.(string); ok && (name == "pel" || name == "pending") && i+1 < len(list) {
			found = append(found, list[i+1])
			continue
		}
		found = append(found, pending(member)...)
	}
	return found
}
