package verify

import (
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// withoutTTL takes the deadlines away that load sets.
func withoutTTL(t *testing.T, d doer) {
	t.Helper()
	d.Do(t, "PERSIST", "string:1")
	d.Do(t, "PERSIST", "hash:1")
}

// TestDifferencesWithoutDeadlines: where no key has a deadline, none is asked
// for, and yet nothing is overlooked.
func TestDifferencesWithoutDeadlines(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	for _, s := range []*testredis.Server{a, b} {
		load(t, s)
		withoutTTL(t, s)
		s.Do(t, "CONFIG", "RESETSTAT")
	}
	source, target := single("redis-a", a), single("redis-b", b)
	result := compare(t, source, target, quick)
	want(t, result, 0, 0, 0, 0)
	if n := a.Do(t, "DBSIZE").(int64); result.Compared != n || result.Target.Keys != n || result.ByType["string"].Compared != 305 {
		t.Errorf("compared %d keys, %d on the target, of %d; strings: %+v", result.Compared, result.Target.Keys, n, result.ByType["string"])
	}
	// The one call asks whether the server knows the command.
	if calls := commandCalls(t, a, "pexpiretime"); calls != 1 {
		t.Errorf("PEXPIRETIME was called %d times", calls)
	}

	for _, c := range []struct {
		name   string
		do     string // on the target; "|" separates commands
		undo   string
		counts [4]int64 // missing, extra, different, ttl
		detail string
	}{
		{"missing string", "DEL string:8", "SET string:8 value\u00a08", [4]int64{1, 0, 0, 0}, ""},
		{"missing list", "DEL list:7", "RPUSH list:7 1 7 3", [4]int64{1, 0, 0, 0}, ""},
		{"missing big string", "RENAME big other|DEL other", "SETRANGE big 3145727 \x00", [4]int64{1, 0, 0, 0}, ""},
		{"extra string", "SET nobody 1", "DEL nobody", [4]int64{0, 1, 0, 0}, ""},
		{"extra set", "SADD nobody 1", "DEL nobody", [4]int64{0, 1, 0, 0}, ""},
		{"string byte", "APPEND string:9 x", "SET string:9 value\u00a09", [4]int64{0, 0, 1, 0}, "value"},
		{"byte of a big string", "SETRANGE big 2000000 x", "SETRANGE big 2000000 \x00", [4]int64{0, 0, 1, 0}, "value"},
		{"string grown beyond all bounds", "SETRANGE string:9 20000000 x", "SET string:9 value\u00a09", [4]int64{0, 0, 1, 0}, "value"},
		{"hash field", "HSET hash:5 a 6", "HSET hash:5 a 5", [4]int64{0, 0, 1, 0}, "elements"},
		{"field of a big hash", "HSET bighash field77 x", "HSET bighash field77 value77", [4]int64{0, 0, 1, 0}, "elements"},
		{"string, on the target a list", "DEL string:4|RPUSH string:4 value\u00a04", "SET string:4 value\u00a04", [4]int64{0, 0, 1, 0}, "type string, on the target list"},
		{"list, on the target a string", "SET list:4 1", "DEL list:4|RPUSH list:4 1 4 3", [4]int64{0, 0, 1, 0}, "type list, on the target string"},
		{"deadline on the target", "PEXPIREAT string:1 4102444800123", "PERSIST string:1", [4]int64{0, 0, 0, 1}, "a TTL on the target only"},
		{"pending entry", "XACK stream g 4-1", "XCLAIM stream g busy 0 4-1 FORCE JUSTID", [4]int64{0, 0, 1, 0}, "pending entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			runLine(t, b, c.do)
			result := compare(t, source, target, quick)
			want(t, result, c.counts[0], c.counts[1], c.counts[2], c.counts[3])
			if len(result.Samples) != 1 || result.Samples[0].Detail != c.detail {
				t.Errorf("samples %+v, want one with detail %q", result.Samples, c.detail)
			}
			runLine(t, b, c.undo)
		})
	}
	want(t, compare(t, source, target, quick), 0, 0, 0, 0)

	t.Run("deadline on the source", func(t *testing.T) {
		a.Do(t, "PEXPIREAT", "hash:1", "4102444800123")
		defer a.Do(t, "PERSIST", "hash:1")
		want(t, compare(t, source, target, quick), 0, 0, 0, 1)
	})
}

// TestClusterWithoutDeadlines: one command may not read the strings of two
// slots.
func TestClusterWithoutDeadlines(t *testing.T) {
	a, b := testredis.StartCluster(t, 3, 0), testredis.Start(t)
	load(t, a)
	load(t, b)
	withoutTTL(t, a)
	withoutTTL(t, b)
	result := compare(t, clusterSide(t, "a", a), single("b", b), quick)
	want(t, result, 0, 0, 0, 0)
	if n := result.ByType["string"].Compared; n != 305 || result.Suspects != 0 {
		t.Errorf("%d strings compared, %d suspects", n, result.Suspects)
	}
	b.Do(t, "SET", "string:7", "x")
	b.Do(t, "DEL", "string:9")
	b.Do(t, "HSET", "bighash", "field5", "x")
	want(t, compare(t, clusterSide(t, "a", a), single("b", b), quick), 1, 0, 2, 0)
	want(t, compare(t, single("b", b), clusterSide(t, "a", a), quick), 0, 1, 2, 0)
}

// TestDeadlinesThatComeLater: keys get deadlines after they were looked at.
func TestDeadlinesThatComeLater(t *testing.T) {
	for _, c := range []struct {
		name     string
		onTarget bool
		db       string
	}{{"on the source", false, "0"}, {"on the target", true, "0"}, {"in another database", true, "3"}} {
		t.Run(c.name, func(t *testing.T) {
			a, b := testredis.Start(t), testredis.Start(t)
			for i := range 100 {
				for _, s := range []*testredis.Server{a, b} {
					s.Do(t, "SET", "k"+strconv.Itoa(i), "v")
					inDB(t, s, c.db, []string{"SET", "other" + strconv.Itoa(i), "v"})
				}
			}
			hit := map[bool]*testredis.Server{false: a, true: b}[c.onTarget]
			opts := quick
			opts.BatchKeys, opts.Workers = 7, 1
			var once sync.Once
			opts.Progress = func(p Progress) {
				if p.Round == 1 && p.Done == p.Total {
					once.Do(func() { inDB(t, hit, c.db, []string{"PEXPIREAT", "other42", "4102444800123"}) })
				}
			}
			result := compare(t, single("a", a), single("b", b), opts)
			want(t, result, 0, 0, 0, 1)
			if len(result.Samples) != 1 || result.Samples[0].Key != `"other42"` {
				t.Errorf("samples %+v", result.Samples)
			}
		})
	}
}

func inDB(t *testing.T, s *testredis.Server, db string, command []string) {
	t.Helper()
	c, err := testredis.Dial(s.Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Pipeline([]string{"SELECT", db}, command); err != nil {
		t.Fatal(err)
	}
}

// TestStringsWithoutMGET: a user that may not use it compares nevertheless.
func TestStringsWithoutMGET(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	for _, s := range []*testredis.Server{a, b} {
		load(t, s)
		withoutTTL(t, s)
	}
	b.Do(t, "ACL", "SETUSER", "default", "-mget")
	source, target := single("a", a), single("b", b)
	want(t, compare(t, source, target, quick), 0, 0, 0, 0)
	b.Do(t, "SET", "string:3", "x")
	want(t, compare(t, source, target, quick), 0, 0, 1, 0)
	// Without MEMORY USAGE it is the deadlines that say which keys exist.
	a.Do(t, "ACL", "SETUSER", "default", "-memory|usage")
	b.Do(t, "DEL", "string:4")
	want(t, compare(t, source, target, quick), 1, 0, 1, 0)
}

// commandCalls is how often a command was called since the statistics were
// reset.
func commandCalls(t *testing.T, s *testredis.Server, command string) int {
	t.Helper()
	_, rest, found := strings.Cut(s.Do(t, "INFO", "commandstats").(string), "cmdstat_"+command+":calls=")
	if !found {
		return 0
	}
	count, _, _ := strings.Cut(rest, ",")
	calls, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

func TestKeyspace(t *testing.T) {
	got, err := parseKeyspace("# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb7:keys=5,expires=2,avg_ttl=1\r\ndb9:keys=9\r\n")
	if err != nil {
		t.Fatal(err)
	}
	for db, want := range map[int]keyCount{0: {3, false}, 7: {5, true}, 9: {9, true}} {
		if got[db] != want {
			t.Errorf("database %d: %+v, want %+v", db, got[db], want)
		}
	}
	if _, err := parseKeyspace("dbx:keys=1,expires=0"); err == nil {
		t.Error("a line of another form was taken")
	}
}
