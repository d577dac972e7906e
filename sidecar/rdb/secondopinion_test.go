package rdb_test

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hdt3213/rdb/model"
	"github.com/hdt3213/rdb/parser"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// TestSecondOpinionOfLiveDump writes thousands of values of all types and
// encodings into a real server, and reads its dump with two readers: they
// must agree on keys, databases, types, deadlines and elements.
func TestSecondOpinionOfLiveDump(t *testing.T) {
	s := testredis.Start(t, "--rdbcompression", "yes")
	fillServer(t, s)
	s.Do(t, "SAVE")
	file, err := os.ReadFile(filepath.Join(s.Dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]model.RedisObject{}
	if err := parser.NewDecoder(bytes.NewReader(file)).Parse(func(o model.RedisObject) bool {
		want[strconv.Itoa(o.GetDBIndex())+" "+o.GetKey()] = o
		return true
	}); err != nil {
		t.Fatal(err)
	}
	sc, err := rdb.NewScanner(window.New(bufio.NewReader(bytes.NewReader(file)), 4096, 0))
	if err != nil {
		t.Fatal(err)
	}
	seen, elements, types := 0, 0, map[string]int{}
	for {
		var rec rdb.Record
		if err := sc.Next(&rec); err != nil {
			t.Fatal(err)
		}
		if rec.Kind == rdb.KindEnd {
			break
		}
		if rec.Kind != rdb.KindKey {
			continue
		}
		seen++
		types[rdb.TypeName(rec.Type)+" "+strconv.Itoa(int(rec.Type))]++
		o, ok := want[strconv.Itoa(rec.DB)+" "+string(rec.Key)]
		if !ok || o.GetType() != rdb.TypeName(rec.Type) {
			t.Errorf("key %q in database %d is a %s; the other reader has %v", rec.Key, rec.DB, rdb.TypeName(rec.Type), o)
			continue
		}
		if e := o.GetExpiration(); e != nil && e.UnixMilli() != rec.Expire || e == nil && rec.Expire != 0 {
			t.Errorf("key %q: deadline %d; the other reader has %v", rec.Key, rec.Expire, e)
		}
		elements += compareElements(t, &rec, o)
	}
	size := s.Do(t, "DBSIZE").(int64) + 1 // and one in database 2
	if seen != len(want) || int64(seen) != size || elements < 10_000 {
		t.Errorf("%d keys; the other reader has %d, the server %d; %d elements were compared", seen, len(want), size, elements)
	}
	t.Logf("%d keys, %d elements, %d bytes: %v", seen, elements, len(file), types)
}

// compareElements compares what the decoder finds in a value with the other
// reader's, and returns how many there are.
func compareElements(t *testing.T, rec *rdb.Record, o model.RedisObject) int {
	t.Helper()
	var names, values []string
	var scores []float64
	if rdb.TypeName(rec.Type) == "stream" {
		return 0 // it loses fields of the same name
	}
	d := rdb.NewDecoder(rec, t.TempDir())
	defer d.Close()
	err := d.Elements(func(e *rdb.Element) error {
		var name, value strings.Builder
		if _, err := e.Name.WriteTo(&name); err != nil {
			return err
		}
		if _, err := e.Value.WriteTo(&value); err != nil {
			return err
		}
		names, values, scores = append(names, name.String()), append(values, value.String()), append(scores, e.Score)
		return nil
	})
	if err != nil {
		t.Errorf("key %q: %v", rec.Key, err)
		return 0
	}
	same := false
	switch o := o.(type) {
	case *model.StringObject:
		same = len(names) == 1 && names[0] == string(o.Value)
	case *model.ListObject:
		same = len(names) == len(o.Values)
		for i := range o.Values {
			same = same && names[i] == string(o.Values[i])
		}
	case *model.SetObject:
		same = len(names) == len(o.Members)
		for i := range o.Members {
			same = same && names[i] == string(o.Members[i])
		}
	case *model.HashObject:
		same = len(names) == len(o.Hash)
		for i := range names {
			same = same && string(o.Hash[names[i]]) == values[i]
		}
	case *model.ZSetObject:
		same = len(names) == len(o.Entries)
		for i, e := range o.Entries {
			same = same && names[i] == e.Member && scores[i] == e.Score
		}
	}
	if !same {
		t.Errorf("key %q (%s, type %d): %d elements that are not those of the other reader", rec.Key, rdb.TypeName(rec.Type), rec.Type, len(names))
	}
	return len(names)
}

func fillServer(t *testing.T, s *testredis.Server) {
	t.Helper()
	c, err := testredis.Dial(s.Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var cmds [][]string
	do := func(args ...string) { cmds = append(cmds, args) }
	long := strings.Repeat("long-", 30)
	for i := range 300 {
		n := strconv.Itoa(i)
		do("SET", "s:"+n, strings.Repeat(n, i))
		do("SET", "int:"+n, strconv.Itoa(i*i*i-100))
		do("SET", "till:"+n, n, "PXAT", strconv.Itoa(4_000_000_000_000+i))
		do("SET", "bin:"+string([]byte{byte(i), 0, 0xff, byte(i >> 8)}), "\x00\r\n"+n)
		do("RPUSH", "l:"+strconv.Itoa(i%20), n, long+n, strconv.Itoa(-i*70_000), "")
		do("SADD", "set:"+strconv.Itoa(i%20), "m"+n)
		do("SADD", "ints:"+strconv.Itoa(i%7), n, strconv.Itoa(i*40_000), strconv.Itoa(i*3_000_000_000))
		do("SADD", "big set", "m"+n)
		do("HSET", "h:"+strconv.Itoa(i%20), "f"+n, n, "g"+n, "")
		do("HSET", "big hash", "f"+n, long+n)
		do("ZADD", "z:"+strconv.Itoa(i%20), n+".25", "m"+n)
		do("ZADD", "big zset", strconv.Itoa(-i), long+n)
		do("XADD", "x:"+strconv.Itoa(i%5), strconv.Itoa(i+1)+"-7", "f", n)
		do("PFADD", "hll:"+strconv.Itoa(i%3), n)
		do("SETBIT", "bits", strconv.Itoa(i*997), "1")
	}
	for i := range 6000 {
		do("RPUSH", "long list", strconv.Itoa(i))
		do("HSET", "huge hash", "f"+strconv.Itoa(i), strconv.Itoa(i))
	}
	do("ZADD", "edges", "inf", "a", "-inf", "b", "0.1", "c", "1e300", "d")
	do("RPUSH", "one large", strings.Repeat("p", 20_000), "q")
	do("SET", "", "the empty key")
	do("SELECT", "2")
	do("SET", "in two", "v")
	replies, err := c.Pipeline(cmds...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range replies {
		if e, ok := r.(testredis.ErrorReply); ok {
			t.Fatalf("%.3q: %v", cmds[i], e)
		}
	}
}
