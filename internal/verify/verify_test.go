package verify

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// quick has rounds so short that a test of differences takes no seconds.
var quick = Options{Interval: 10 * time.Millisecond}

func compare(t *testing.T, source, target Side, opts Options) *Result {
	t.Helper()
	result, err := Run(t.Context(), source, target, opts)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// want checks the counters of a result.
func want(t *testing.T, r *Result, missing, extra, different, ttl int64) {
	t.Helper()
	got := []int64{r.Missing, r.Extra, r.Different, r.TTLDiffers, r.Unsettled}
	if fmt.Sprint(got) != fmt.Sprint([]int64{missing, extra, different, ttl, 0}) {
		var text bytes.Buffer
		if err := WriteText(&text, r); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("missing, extra, different, ttl, unsettled = %v, want %d %d %d %d 0\n%s", got, missing, extra, different, ttl, &text)
	}
	if equal := missing+extra+different+ttl == 0 && r.Functions.Equal(); r.Equal() != equal {
		t.Errorf("Equal() = %v, want %v", r.Equal(), equal)
	}
	if r.EqualKeys != r.Compared-missing-different-ttl {
		t.Errorf("%d equal of %d compared, with %d missing, %d different, %d of another TTL", r.EqualKeys, r.Compared, missing, different, ttl)
	}
}

// TestDifferences makes one difference at a time between two equal servers,
// and takes it back.
func TestDifferences(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	load(t, a)
	load(t, b)
	source, target := single("redis-a", a), single("redis-b", b)

	result := compare(t, source, target, quick)
	want(t, result, 0, 0, 0, 0)
	if n := a.Do(t, "DBSIZE").(int64); result.Compared != n || result.Source.Keys != n || result.Target.Keys != n {
		t.Fatalf("compared %d keys, source %d, target %d; DBSIZE says %d", result.Compared, result.Source.Keys, result.Target.Keys, n)
	}
	if result.Suspects != 0 || result.Rounds != 1 {
		t.Errorf("%d suspects in %d rounds between equal sides", result.Suspects, result.Rounds)
	}
	if got := result.ByType["hash"].Compared; got != 301 {
		t.Errorf("%d hashes compared, want 301", got)
	}

	for _, c := range []struct {
		name   string
		do     string // on the target; "|" separates commands
		undo   string
		counts [4]int64 // missing, extra, different, ttl
		key    string
		detail string
	}{
		{"missing key", "DEL list:7", "RPUSH list:7 1 7 3", [4]int64{1, 0, 0, 0}, "list:7", ""},
		{"extra key", "SET nobody 1", "DEL nobody", [4]int64{0, 1, 0, 0}, "nobody", ""},
		{"string byte", "APPEND string:9 x", "SET string:9 value\u00a09", [4]int64{0, 0, 1, 0}, "string:9", "value"},
		{"byte of a big string", "SETRANGE big 2000000 x", "SETRANGE big 2000000 \x00", [4]int64{0, 0, 1, 0}, "big", "value"},
		{"hash field's value", "HSET hash:5 a 6", "HSET hash:5 a 5", [4]int64{0, 0, 1, 0}, "hash:5", "elements"},
		{"hash field's name", "HDEL bighash field77|HSET bighash field_77 value77", "HDEL bighash field_77|HSET bighash field77 value77", [4]int64{0, 0, 1, 0}, "bighash", "elements"},
		{"hash with one field more", "HSET hash:5 c 1", "HDEL hash:5 c", [4]int64{0, 0, 1, 0}, "hash:5", "elements"},
		{"set member", "SREM bigset member1|SADD bigset member_1", "SREM bigset member_1|SADD bigset member1", [4]int64{0, 0, 1, 0}, "bigset", "elements"},
		{"list order", "LSET biglist 10 element11|LSET biglist 11 element10", "LSET biglist 10 element10|LSET biglist 11 element11", [4]int64{0, 0, 1, 0}, "biglist", "elements"},
		{"score bit", "ZADD bigzset 5.500000000000001 member5", "ZADD bigzset 5.5 member5", [4]int64{0, 0, 1, 0}, "bigzset", "elements"},
		{"type", "DEL set:3|RPUSH set:3 3 2 three", "DEL set:3|SADD set:3 3 2 three", [4]int64{0, 0, 1, 0}, "set:3", "type set, on the target list"},
		{"TTL off by an hour", "PEXPIREAT string:1 4102448400123", "PEXPIREAT string:1 4102444800123", [4]int64{0, 0, 0, 1}, "string:1", "expires 1h0m0s later on the target"},
		{"TTL gone", "PERSIST hash:1", "PEXPIREAT hash:1 4102444800123", [4]int64{0, 0, 0, 1}, "hash:1", "no TTL on the target"},
		{"TTL within the tolerance", "PEXPIREAT string:1 4102444800500", "PEXPIREAT string:1 4102444800123", [4]int64{}, "", ""},
		{"pending entry", "XACK stream g 4-1", "XCLAIM stream g busy 0 4-1 FORCE JUSTID", [4]int64{0, 0, 1, 0}, "stream", "pending entries"},
		{"owner of a pending entry", "XCLAIM stream g idle 0 5-1 JUSTID", "XCLAIM stream g busy 0 5-1 JUSTID", [4]int64{0, 0, 1, 0}, "stream", "pending entries"},
		{"consumer", "XGROUP DELCONSUMER stream g idle", "XGROUP CREATECONSUMER stream g idle", [4]int64{0, 0, 1, 0}, "stream", "consumers"},
		{"group's position", "XGROUP SETID stream g 1499-1", "XGROUP SETID stream g 1501-1", [4]int64{0, 0, 1, 0}, "stream", "groups"},
		{"group", "XGROUP CREATE stream h $", "XGROUP DESTROY stream h", [4]int64{0, 0, 1, 0}, "stream", "groups"},
		{"last id", "XSETID stream 5000-1", "XSETID stream 3000-1", [4]int64{0, 0, 1, 0}, "stream", "last-generated-id"},
		{"entries added", "XSETID stream 3000-1 ENTRIESADDED 4000 MAXDELETEDID 7-1", "XSETID stream 3000-1 ENTRIESADDED 3000 MAXDELETEDID 7-1", [4]int64{0, 0, 1, 0}, "stream", "entries-added"},
		{"greatest deleted id", "XSETID stream 3000-1 ENTRIESADDED 3000 MAXDELETEDID 8-1", "XSETID stream 3000-1 ENTRIESADDED 3000 MAXDELETEDID 7-1", [4]int64{0, 0, 1, 0}, "stream", "max-deleted-entry-id"},
		{"key without a name", "DEL \u2205", "SET \u2205 the\u00a0key\u00a0without\u00a0a\u00a0name", [4]int64{1, 0, 0, 0}, "", ""},
		{"key of ours", "SET redis-sync:{p}:epoch 3", "DEL redis-sync:{p}:epoch", [4]int64{}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			runLine(t, b, c.do)
			result := compare(t, source, target, quick)
			want(t, result, c.counts[0], c.counts[1], c.counts[2], c.counts[3])
			if c.counts != [4]int64{} {
				if len(result.Samples) != 1 || result.Samples[0].Key != strconv.Quote(c.key) || result.Samples[0].Detail != c.detail {
					t.Errorf("samples %+v, want key %q with detail %q", result.Samples, c.key, c.detail)
				}
			}
			runLine(t, b, c.undo)
		})
	}
	want(t, compare(t, source, target, quick), 0, 0, 0, 0)
}

// runLine runs commands separated by "|". A no-break space stands for a space
// within an argument, and ∅ for the empty argument.
func runLine(t *testing.T, d doer, line string) {
	t.Helper()
	for command := range strings.SplitSeq(line, "|") {
		args := strings.Fields(strings.ReplaceAll(command, "\u00a0", "\x01"))
		for i := range args {
			args[i] = strings.ReplaceAll(strings.TrimSuffix(args[i], "\u2205"), "\x01", " ")
		}
		d.Do(t, args...)
	}
}

// TestEncodings compares the same values in other encodings: payloads differ,
// contents do not.
func TestEncodings(t *testing.T) {
	a := testredis.Start(t)
	b := testredis.Start(t, "--hash-max-listpack-entries", "0", "--set-max-intset-entries", "0",
		"--zset-max-listpack-entries", "0", "--list-max-listpack-size", "1", "--stream-node-max-entries", "7", "--rdbcompression", "no")
	load(t, a)
	load(t, b)
	if a.Do(t, "DUMP", "hash:1") == b.Do(t, "DUMP", "hash:1") {
		t.Fatal("the payloads are equal, so this test tests nothing")
	}
	want(t, compare(t, single("a", a), single("b", b), quick), 0, 0, 0, 0)
	b.Do(t, "HSET", "hash:299", "a", "0")
	want(t, compare(t, single("a", a), single("b", b), quick), 0, 0, 1, 0)
}

// TestRanges reads every value element by element.
func TestRanges(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	load(t, a)
	load(t, b)
	opts := quick
	opts.MaxDumpBytes = 1
	want(t, compare(t, single("a", a), single("b", b), opts), 0, 0, 0, 0)
	b.Do(t, "SETRANGE", "big", "3145727", "x") // its last byte
	b.Do(t, "LSET", "biglist", "-1", "x")
	b.Do(t, "ZADD", "bigzset", "0", "member2999")
	b.Do(t, "XDEL", "stream", "3000-1")
	b.Do(t, "SETBIT", "bits", "100000", "0")
	want(t, compare(t, single("a", a), single("b", b), opts), 0, 0, 5, 0)
}

func TestClusterAndStandalone(t *testing.T) {
	c := testredis.StartCluster(t, 3, 0)
	s := testredis.Start(t)
	load(t, c)
	load(t, s)
	forward := compare(t, clusterSide(t, "redis-a", c), single("redis-b", s), quick)
	want(t, forward, 0, 0, 0, 0)
	if n := s.Do(t, "DBSIZE").(int64); forward.Compared != n || len(forward.Source.Servers) != 3 {
		t.Errorf("compared %d of %d keys, on %v", forward.Compared, n, forward.Source.Servers)
	}
	want(t, compare(t, single("redis-b", s), clusterSide(t, "redis-a", c), quick), 0, 0, 0, 0)

	c.Do(t, "HSET", "hash:1", "a", "x")
	s.Do(t, "SET", "extra", "1")
	s.Do(t, "SELECT", "3")
	s.Do(t, "SET", "in db 3", "1")
	want(t, compare(t, clusterSide(t, "redis-a", c), single("redis-b", s), quick), 0, 2, 1, 0)
	want(t, compare(t, single("redis-b", s), clusterSide(t, "redis-a", c), quick), 2, 0, 1, 0)
}

func TestDatabases(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	for _, s := range []*testredis.Server{a, b} {
		for _, db := range []string{"0", "5", "15"} {
			s.Do(t, "SELECT", db)
			s.Do(t, "SET", "k", "in "+db)
		}
	}
	result := compare(t, single("a", a), single("b", b), quick)
	want(t, result, 0, 0, 0, 0)
	if result.Compared != 3 || fmt.Sprint(result.Source.Databases) != "[0 5 15]" {
		t.Errorf("compared %d keys in %v", result.Compared, result.Source.Databases)
	}
	b.Do(t, "SELECT", "5")
	b.Do(t, "SET", "k", "other")
	b.Do(t, "SELECT", "7")
	b.Do(t, "SET", "k", "extra")
	result = compare(t, single("a", a), single("b", b), quick)
	want(t, result, 0, 1, 1, 0)
	if result.Samples[0].DB != 7 || result.Samples[1].DB != 5 {
		t.Errorf("samples %+v, want the extra key of db 7, then the other one of db 5", result.Samples)
	}
}

func TestFunctions(t *testing.T) {
	c := testredis.StartCluster(t, 2, 0)
	s := testredis.Start(t)
	for _, m := range c.Masters() {
		m.Do(t, "FUNCTION", "LOAD", functionCode)
	}
	cluster, standalone := clusterSide(t, "a", c), single("b", s)
	if r := compare(t, cluster, standalone, quick); strings.Join(r.Functions.Missing, " ") != "lib" || r.Equal() {
		t.Errorf("functions %+v, want lib missing", r.Functions)
	}
	s.Do(t, "FUNCTION", "LOAD", functionCode)
	if r := compare(t, cluster, standalone, quick); !r.Equal() || r.Functions.Compared != 1 {
		t.Errorf("functions %+v, want one that is equal", r.Functions)
	}
	c.Masters()[1].Do(t, "FUNCTION", "FLUSH")
	if r := compare(t, standalone, cluster, quick); strings.Join(r.Functions.Missing, " ") != "lib" {
		t.Errorf("functions %+v, want lib missing on one server", r.Functions)
	}
	s.Do(t, "FUNCTION", "LOAD", "REPLACE", strings.Replace(functionCode, "return 1", "return 2", 1))
	s.Do(t, "FUNCTION", "LOAD", strings.Replace(strings.Replace(functionCode, "lib", "more", 1), "'f'", "'g'", 1))
	r := compare(t, cluster, standalone, quick)
	if strings.Join(r.Functions.Different, " ") != "lib" || strings.Join(r.Functions.Extra, " ") != "more" {
		t.Errorf("functions %+v, want lib different and more extra", r.Functions)
	}
}

// TestWhileWritesGoOn lets the target lag behind the source: keys that become
// equal are cleared, one that always changes is unsettled, and a real
// difference is found among them.
func TestWhileWritesGoOn(t *testing.T) {
	a := testredis.Start(t)
	load(t, a)
	b := testredis.StartReplica(t, a)
	b.Do(t, "REPLICAOF", "NO", "ONE")
	b.Do(t, "HSET", "hash:8", "a", "wrong")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- writeBoth(ctx, a, b) }()
	result := compare(t, single("a", a), single("b", b), Options{Interval: 500 * time.Millisecond, Rounds: 5})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if result.Missing != 0 || result.Extra != 0 || result.TTLDiffers != 0 || result.Different != 1 || result.Unsettled > 1 {
		t.Errorf("%+v, want the one difference, and at most the counter unsettled", result)
	}
	if len(result.Samples) == 0 || result.Samples[0].Key != `"hash:8"` {
		t.Errorf("samples %+v, want hash:8 first", result.Samples)
	}
	b.Do(t, "HSET", "hash:8", "a", "8")
	want(t, compare(t, single("a", a), single("b", b), quick), 0, 0, 0, 0)
}

// writeBoth writes the same to both servers, to the second one later.
func writeBoth(ctx context.Context, a, b *testredis.Server) error {
	var late [][]string
	apply := func(upTo int) error {
		for len(late) > upTo {
			if _, err := b.TryDo(late[0]...); err != nil {
				return err
			}
			late = late[1:]
		}
		return nil
	}
	for i := 0; ctx.Err() == nil; i++ {
		n := strconv.Itoa(i % 300)
		for _, command := range [][]string{
			{"INCR", "counter"}, {"HSET", "hash:" + n, "c", strconv.Itoa(i)}, {"DEL", "list:" + n}, {"RPUSH", "list:" + n, "again"},
		} {
			if n == "8" {
				continue
			}
			if _, err := a.TryDo(command...); err != nil {
				return err
			}
			late = append(late, command)
		}
		if err := apply(20); err != nil {
			return err
		}
		time.Sleep(3 * time.Millisecond)
	}
	return apply(0)
}

func TestUnsettled(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	a.Do(t, "SET", "k", "0")
	opts := quick
	opts.Progress = func(Progress) { a.Do(t, "INCR", "k") }
	result := compare(t, single("a", a), single("b", b), opts)
	if result.Missing != 1 || result.Unsettled != 0 {
		t.Errorf("%+v: a key that is missing all the time has a verdict", result)
	}
	b.Do(t, "SET", "k", "-1")
	result = compare(t, single("a", a), single("b", b), opts)
	if result.Unsettled != 1 || result.Rounds != 6 || result.Equal() {
		t.Errorf("%+v: want k unsettled after six rounds", result)
	}
}

// TestFieldDeadlines needs Redis 7.4 or Valkey 9, see TEST_REDIS_SERVER.
func TestFieldDeadlines(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	a.Do(t, "HSET", "h", "f", "v", "g", "v")
	b.Do(t, "HSET", "h", "f", "v", "g", "v")
	const deadline = "4102444800123"
	if _, err := a.TryDo("HPEXPIREAT", "h", deadline, "FIELDS", "1", "f"); err != nil {
		t.Skipf("NOT RUN: the server has no deadlines of hash fields: %v", err)
	}
	opts := quick
	opts.MaxDumpBytes = 1 // so that payloads alone do not decide
	result := compare(t, single("a", a), single("b", b), opts)
	want(t, result, 0, 0, 1, 0)
	b.Do(t, "HPEXPIREAT", "h", deadline, "FIELDS", "1", "f")
	want(t, compare(t, single("a", a), single("b", b), opts), 0, 0, 0, 0)
	b.Do(t, "HPEXPIREAT", "h", "4102448400123", "FIELDS", "1", "f")
	want(t, compare(t, single("a", a), single("b", b), opts), 0, 0, 1, 0)
}
