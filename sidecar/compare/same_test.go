package compare

import (
	"strconv"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestSameValue writes each value twice: onto a server with small encodings,
// and onto one without, where hash tables have an order of their own.
func TestSameValue(t *testing.T) {
	a := testredis.Start(t)
	b := testredis.Start(t, "--hash-max-listpack-entries", "0", "--set-max-intset-entries", "0",
		"--zset-max-listpack-entries", "0", "--list-max-listpack-size", "3", "--rdbcompression", "no")
	payload := func(s *testredis.Server, commands ...[]string) string {
		s.Do(t, "DEL", "k")
		for _, c := range commands {
			s.Do(t, c...)
		}
		text := s.Do(t, "DUMP", "k").(string)
		return text[:len(text)-payloadFooter]
	}
	list, set, sorted, hash := []string{"RPUSH", "k"}, []string{"SADD", "k"}, []string{"ZADD", "k"}, []string{"HSET", "k"}
	numbers := []string{"SADD", "k"}
	for i := range 60 {
		n := strconv.Itoa(i)
		list = append(list, "element "+n)
		set = append(set, "member "+n)
		numbers = append(numbers, n)
		sorted = append(sorted, n+".1", "member "+n)
		hash = append(hash, "field "+n, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "+n)
	}
	o := opener{dir: t.TempDir()}
	for _, c := range []struct {
		name    string
		write   []string
		changes [][]string
	}{
		{"list", list, [][]string{{"LSET", "k", "7", "x"}, {"RPUSH", "k", "x"}, {"LPOP", "k"}, {"LMOVE", "k", "k", "LEFT", "RIGHT"}}},
		{"set", set, [][]string{{"SADD", "k", "x"}, {"SREM", "k", "member 3"}}},
		{"set of numbers", numbers, [][]string{{"SADD", "k", "x"}, {"SADD", "k", "60"}, {"SREM", "k", "3"}}},
		{"sorted set", sorted, [][]string{{"ZADD", "k", "5.100000000000001", "member 5"}, {"ZADD", "k", "1", "x"}, {"ZREM", "k", "member 5"}}},
		{"hash", hash, [][]string{{"HSET", "k", "field 5", "x"}, {"HSET", "k", "x", "x"}, {"HDEL", "k", "field 5"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := payload(a, c.write)
			same := payload(b, c.write)
			if want == same {
				t.Fatal("both servers write the same, so that nothing is to be decided")
			}
			if !o.sameValue(want, same) || !o.sameValue(same, want) {
				t.Error("the same value is none")
			}
			for _, change := range c.changes {
				if o.sameValue(want, payload(b, c.write, change)) {
					t.Errorf("after %q it is the same value", change)
				}
			}
			// What cannot be read is never the same.
			if cut := same[:len(same)-1]; o.sameValue(cut, cut) {
				t.Error("half a payload is a value")
			}
		})
	}
	// A name and a value are not another name and value of the same bytes.
	if o.sameValue(payload(a, []string{"HSET", "k", "ab", "c"}), payload(a, []string{"HSET", "k", "a", "bc"})) {
		t.Error("fields and values are mixed up")
	}
	if o.sameValue(payload(a, []string{"SADD", "k", "1"}), payload(a, []string{"RPUSH", "k", "1"})) {
		t.Error("a set is a list")
	}
}
