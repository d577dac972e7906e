package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	comparing "github.com/redis-sync/kubectl-redis-sync/sidecar/compare"
)

// TestRescue makes the file of what an old primary has and the new one lacks,
// or has otherwise, and lets a server load it.
func TestRescue(t *testing.T) {
	for _, from := range []string{"cluster", "standalone"} {
		t.Run("from a "+from, func(t *testing.T) {
			old, new := clusterSide(t), standaloneSide(t)
			if from == "standalone" {
				old, new = new, old
			}
			const library = "#!lua name=lib\nredis.register_function('f', function() return 7 end)"
			for _, m := range old.masters {
				m.Do(t, "FUNCTION", "LOAD", library)
				m.Do(t, "CONFIG", "SET", "rdbcompression", "no") // DUMP is compared with DUMP
			}
			deadline := strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
			for i := range 2000 {
				for _, s := range []side{old, new} {
					s.Do(t, "SET", "same:"+strconv.Itoa(i), "value")
				}
			}
			lost := [][]string{
				{"SET", "of the old one", "lost"},
				{"SET", "name \xff\x00\n", "lost"},
				{"SET", "longer", strings.Repeat("of the old one", 100_000)},
				{"HSET", "hash", "f", "old", "g", "v"},
				{"RPUSH", "list", "1", "2"},
				{"ZADD", "zset", "1", "m"},
				{"XADD", "stream", "1-1", "f", "v"},
				{"SET", "deadline", "v", "PXAT", deadline},
			}
			for _, command := range lost {
				old.Do(t, command...)
			}
			for i := range 3000 { // more than are read together
				old.Do(t, "SET", "many:"+strconv.Itoa(i), strconv.Itoa(i))
			}
			// Larger than a comparison holds in memory.
			big := strings.Repeat("0123456789abcdef", 1<<20)
			old.Do(t, "SET", "{big}", big)
			old.Do(t, "APPEND", "{big}", big)
			old.Do(t, "SET", "redis-sync:p:epoch", "1")
			for _, command := range [][]string{
				{"HSET", "hash", "f", "new", "g", "v"},
				{"SET", "deadline", "v"},
				{"SET", "of the new one", "stays"},
				{"LPUSH", "zset", "of another type"},
			} {
				new.Do(t, command...)
			}

			l := old.links(new.target)[0]
			h := rescue.Header{Pair: "p", Epoch: 2, Operation: "op", Time: time.Now(), From: rescue.Site{Name: "old"}, To: rescue.Site{Name: "new"}}
			found, err := comparing.FindDivergence(t.Context(), l.config(t), comparing.Options{Source: "old"}, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer found.Close()
			r := found.Result
			// Of the keys in lost, three exist on the new one: two are other values.
			if r.Missing != int64(len(lost))-3+3000+1 || r.Different != 2 || r.TTLDiffers != 1 || r.Extra != 1 || !r.Exact || !r.Apart || len(r.Functions.Missing) != 1 {
				t.Errorf("found %+v", r)
			}
			// Deleted before it is read: no error, and counted.
			old.Do(t, "DEL", "many:7")
			var file bytes.Buffer
			if err := found.WriteFile(t.Context(), h, &failing{left: 100_000}); !errors.Is(err, os.ErrClosed) {
				t.Errorf("who reads goes away: %v", err)
			}
			if err := found.WriteFile(t.Context(), h, &file); err != nil {
				t.Fatal(err)
			}
			var names []string
			summary, err := rescue.Check(bytes.NewReader(file.Bytes()), func(k *rescue.Key, _ int64) error {
				names = append(names, k.Name)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if summary.Keys != int64(len(lost))+3000 || summary.Gone != 1 || summary.Functions != 1 || summary.Header.Pair != "p" {
				t.Errorf("the file holds %+v", summary)
			}
			slices.Sort(names)
			if len(slices.Compact(names)) != int(summary.Keys) {
				t.Error("a key is in the file twice: no server loads it")
			}

			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "rescue.rdb"), file.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			loaded := testredis.Start(t, "--dir", dir, "--dbfilename", "rescue.rdb", "--save", "", "--rdbcompression", "no")
			if n := loaded.Do(t, "DBSIZE"); fmt.Sprint(n) != strconv.FormatInt(summary.Keys, 10) {
				t.Errorf("a server loads %v keys of %d", n, summary.Keys)
			}
			for _, name := range names {
				if loaded.Do(t, "DUMP", name) != old.Do(t, "DUMP", name) {
					t.Errorf("%.30q is not what it was", name)
				}
			}
			if at := loaded.Do(t, "PEXPIRETIME", "deadline"); fmt.Sprint(at) != deadline {
				t.Errorf("the deadline is %v, expected %s", at, deadline)
			}
			if answer := loaded.Do(t, "FCALL", "f", "0"); fmt.Sprint(answer) != "7" {
				t.Errorf("the function answers %v", answer)
			}
		})
	}
}

// failing takes some bytes and then goes away.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, os.ErrClosed
	}
	return len(p), nil
}

// TestRescueInterrupted: nothing waits for a server when it is called off.
func TestRescueInterrupted(t *testing.T) {
	old, new := standaloneSide(t), standaloneSide(t)
	old.Do(t, "SET", "k", "v")
	l := old.links(new.target)[0]
	found, err := comparing.FindDivergence(t.Context(), l.config(t), comparing.Options{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(os.ErrProcessDone)
	if err := found.WriteFile(ctx, rescue.Header{}, &bytes.Buffer{}); !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}
