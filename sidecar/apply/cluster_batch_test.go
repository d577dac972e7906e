package apply

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
)

// TestBatchOfRuns: whatever commands follow one another, in the packed list or
// beside it, each before one that is refused runs once, none after it does, and
// the frontier is at the last one, of however many digits its offset has.
func TestBatchOfRuns(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	s.Do(t, "RPUSH", "list", "x")
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	const farthest = 1<<63 - 1_000_000
	for trial, from := range []int64{200, 999_999_700, 1_000_000_300, 1 << 32, 1<<53 + 1, 1_000_000_000_000_000_001, farthest} {
		end := from
		want := map[string]string{}
		var appended strings.Builder
		counted, summed := 0, 0
		key := func(kind string) string { return fmt.Sprintf("%s:%d", kind, trial) }
		before := rnd.IntN(60)
		missing := 0
		for range before {
			end += 1 + rnd.Int64N(200)
			switch rnd.IntN(7) {
			case 0:
				counted++
				write(t, w, end, "INCR", key("counted"))
			case 1:
				counted++
				write(t, w, end, "incr", key("counted"))
			case 2:
				summed++
				write(t, w, end, "HINCRBY", key("summed"), "a field", "1")
			case 3:
				text := strings.Repeat("x", rnd.IntN(packUpTo))
				appended.WriteString(text)
				write(t, w, end, "APPEND", key("appended"), text)
			case 4:
				text := strings.Repeat("y", packUpTo+rnd.IntN(300))
				appended.WriteString(text)
				write(t, w, end, "APPEND", key("appended"), text)
			case 5:
				missing = 1
				write(t, w, end, "PEXPIREAT", key("no such key"), "1900000000000")
			default:
				appended.WriteString("\x00\r\n$5")
				write(t, w, end, "APPEND", key("appended"), "\x00\r\n$5")
			}
		}
		last := end
		write(t, w, end+10, "INCR", "list")
		write(t, w, end+20, "INCR", key("counted"))
		write(t, w, end+30, "APPEND", key("appended"), strings.Repeat("after", packUpTo))
		var data *DataError
		if err := w.Flush(t.Context(), true); !errors.As(err, &data) || data.Key != "list" {
			t.Fatalf("seed %d, %d: the batch ended with %v", seed, from, err)
		}
		want[key("counted")], want[key("appended")] = strconv.Itoa(counted), appended.String()
		for k, v := range want {
			if got, _ := s.Do(t, "GET", k).(string); got != v && !(got == "" && v == "0") {
				t.Errorf("seed %d, %d: %s is %.60q, want %.60q", seed, from, k, got, v)
			}
		}
		if got, _ := s.Do(t, "HGET", key("summed"), "a field").(string); got != strconv.Itoa(summed) && summed > 0 {
			t.Errorf("seed %d, %d: the sum is %s, want %d", seed, from, got, summed)
		}
		if got := s.Do(t, "SISMEMBER", w.pendingKey(w.nodes[0].tag), key("no such key")); got != int64(missing) {
			t.Errorf("seed %d, %d: noted as missing: %v, want %d", seed, from, got, missing)
		}
		frontier := s.Do(t, "HGET", w.frontierKey(w.nodes[0].tag), frontierOffset)
		if before > 0 && frontier != strconv.FormatInt(last, 10) {
			t.Errorf("seed %d, %d: the frontier is at %v, want %d", seed, from, frontier, last)
		}
		w = NewCluster(w.o) // the copy is void
		copied(t, w)
	}
}

// TestBatchOfOneRun: a transaction of the source may have any number of like
// commands.
func TestBatchOfOneRun(t *testing.T) {
	t.Parallel()
	s, w := oneNode(t)
	c, end, sum := command(t, "INCR", "n"), int64(100), 0
	for _, n := range []int{127, 128, 255, 256, 1<<16 - 1, 1 << 16, 1<<16 + 1, 100_000} {
		w.Save()
		for range n {
			end += 10
			must(t, w.Write(t.Context(), c, 0, at(end)))
		}
		w.Pass(at(end))
		must(t, w.Flush(t.Context(), true))
		sum += n
		wantValue(t, s, "n", strconv.Itoa(sum))
		if got := s.Do(t, "HGET", w.frontierKey(w.nodes[0].tag), frontierOffset); got != strconv.FormatInt(end, 10) {
			t.Errorf("%d commands: the frontier is at %v, want %d", n, got, end)
		}
		if size := len(w.packed); size > BatchBytes {
			t.Errorf("%d commands: %d bytes are packed", n, size)
		}
	}
}

// TestArgumentsOfARun: commands that are too wide to be told from one another
// are counted by what they have.
func TestArgumentsOfARun(t *testing.T) {
	t.Parallel()
	cmds := []nodeCommand{{argc: 20_000, kind: noted}, {argc: 17_000, kind: noted}, {argc: 2, kind: settled}}
	if _, args := appendRuns(nil, cmds, nil); args != 20_001+17_001+3 {
		t.Errorf("%d arguments are announced", args)
	}
}

// TestTokensAreNotPacked: bytes of a file are put in the place of an argument,
// not inside of one.
func TestTokensAreNotPacked(t *testing.T) {
	t.Parallel()
	store := bulk.New(t.TempDir(), 0)
	token, err := store.Keep(5, func(int) ([]byte, error) { return []byte("large"), nil })
	must(t, err)
	c := command(t, "SET", "", string(token))
	cmds := []nodeCommand{framed(c.Raw, 3, forwarded, 0, 0, 0)}
	if pack(cmds); cmds[0].packed {
		t.Errorf("a command of %d bytes with a token is packed", cmds[0].to-cmds[0].body)
	}
}
