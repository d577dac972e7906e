package marks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

type dbKey struct {
	db  int
	key string
}

// TestStale compares with what a map finds: few keys and many, in several
// databases, longer than a chunk, queued once and several times.
func TestStale(t *testing.T) {
	for _, n := range []int{0, 1, 100, 300_000} {
		for _, share := range []float64{0, 0.01, 1} {
			seed := rand.Uint64()
			rnd := rand.New(rand.NewPCG(seed, 0))
			dir := t.TempDir()
			s := New(dir)
			want := map[dbKey]bool{}
			checked := int64(0)
			for i := range n {
				k := dbKey{rnd.IntN(3), fmt.Sprint("key:", i)}
				if rnd.IntN(500) == 0 {
					k.key += strings.Repeat("x", rnd.IntN(40<<10))
				}
				stale := rnd.Float64() < share
				if !stale {
					must(t, s.Add(k.db, []byte(k.key)))
				}
				for i := range rnd.IntN(3) {
					if i == 0 {
						checked++
					}
					must(t, s.Check(k.db, []byte(k.key)))
					if stale {
						want[k] = true
					}
				}
			}
			for range 2 { // it may be asked again
				got := map[dbKey]bool{}
				distinct, err := s.Stale(func(db int, key []byte) error {
					k := dbKey{db, string(key)}
					if got[k] || !want[k] {
						t.Fatalf("seed %d: %.40q in database %d is given: twice %v, stale %v", seed, key, db, got[k], want[k])
					}
					got[k] = true
					return nil
				})
				must(t, err)
				if len(got) != len(want) || distinct != checked {
					t.Fatalf("seed %d: %d of %d stale keys, %d of %d queued ones", seed, len(got), len(want), distinct, checked)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("files are left: %v, %v", left, err)
			}
			s.Close()
		}
	}
}

func TestStaleEndsWithAnError(t *testing.T) {
	s := New(t.TempDir())
	defer s.Close()
	for i := range 1000 {
		must(t, s.Check(0, fmt.Append(nil, i)))
	}
	calls := 0
	_, err := s.Stale(func(int, []byte) error { calls++; return os.ErrClosed })
	if !errors.Is(err, os.ErrClosed) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestList(t *testing.T) {
	for _, n := range []int{0, 1, 50_000} {
		l := NewList(t.TempDir())
		var want []dbKey
		for i := range n {
			k := dbKey{i % 16, strings.Repeat("y", i%100) + fmt.Sprint(i)}
			if i%9973 == 5 {
				k.key = strings.Repeat("z", 5*listInMemory)
			}
			want = append(want, k)
			must(t, l.Add(k.db, []byte(k.key)))
		}
		for range 2 {
			var got []dbKey
			must(t, l.Each(func(db int, key []byte) error {
				got = append(got, dbKey{db, string(key)})
				return nil
			}))
			if !slices.Equal(got, want) || l.Len() != int64(n) {
				t.Errorf("%d of %d keys, or other ones", len(got), n)
			}
		}
		l.Close()
	}
}

// TestLongKeysAreNotHeld: what waits in memory does not depend on how long keys
// are.
func TestLongKeysAreNotHeld(t *testing.T) {
	s := New(t.TempDir())
	defer s.Close()
	long := make([]byte, 1<<20)
	for i := range 3 * parts {
		long[0], long[1] = byte(i), byte(i>>8)
		must(t, s.Check(0, long))
	}
	held := cap(s.rec)
	for i := range s.keys.tails {
		held += cap(s.keys.tails[i].buf)
	}
	if held > 10<<20 {
		t.Errorf("%d bytes are held", held)
	}
}

// TestNoRoomForMarks: a folder that takes no file is named.
func TestNoRoomForMarks(t *testing.T) {
	s := New("/no/such/folder")
	defer s.Close()
	var err error
	for i := 0; err == nil && i < 1_000_000; i++ {
		err = s.Add(0, fmt.Append(nil, i))
	}
	if err == nil || !strings.Contains(err.Error(), "/no/such/folder") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkSweep marks keys, queues them all, and compares. What is allocated
// for a key becomes less with their number.
func BenchmarkSweep(b *testing.B) {
	for _, n := range []int{100_000, 3_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s := New(b.TempDir())
				key := []byte("key:00000000")
				for _, do := range []func(int, []byte) error{s.Add, s.Check} {
					for i := range n {
						for at, rest := len(key)-1, i; at >= len("key:"); at, rest = at-1, rest/10 {
							key[at] = '0' + byte(rest%10)
						}
						if err := do(0, key); err != nil {
							b.Fatal(err)
						}
					}
				}
				if _, err := s.Stale(func(int, []byte) error { b.Fatal("stale"); return nil }); err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/key")
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
