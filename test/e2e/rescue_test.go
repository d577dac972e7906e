package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

const (
	onlyOldKey   = "e2e:only \x1b[31m old"
	onlyOldValue = "a value that nobody prints"
)

// homeWithRescue is home, after which a server loads from the rescue file what
// only the old primary had: the last steps of its applications, and a key.
func (d *disasters) homeWithRescue(t *testing.T, counted []string) {
	t.Helper()
	value := fmt.Sprintf("%s %d", onlyOldValue, time.Now().UnixNano()) // an earlier run may have left the key
	d.onSource(t, "SET", onlyOldKey, value)
	old, now := counters(t, d.source, counted), counters(t, d.target, counted)
	path := filepath.Join(t.TempDir(), "lost.rdb")
	dry := d.plugin(t, 0, d.pair.Later("recover", "--dry-run", "--discard-divergence", "--verify", "full", "-o", "json")...)
	var said struct {
		Divergence struct{ OnlyOld, Different, Compared int64 }
	}
	if err := json.Unmarshal([]byte(dry.Stdout), &said); err != nil {
		t.Fatal(err)
	}
	differing := int64(0)
	for key := range old {
		if old[key] != now[key] {
			differing++
		}
	}
	if said.Divergence.OnlyOld+said.Divergence.Different < differing+1 || said.Divergence.Compared < 2000 {
		t.Errorf("%d counters differ, and one key is on the old primary only; the dry run found %+v", differing, said.Divergence)
	}
	d.homeBy(t, "--rescue-file", path)

	shown := d.plugin(t, 0, "rescue", "show", path, "--limit", "0")
	contains(t, shown.Stdout, "pair "+d.pair.Name+",", "checksum right", strconv.Quote(onlyOldKey), d.pair.Source.Instance)
	if strings.Contains(shown.Stdout+shown.Stderr, onlyOldValue) {
		t.Error("rescue show prints a value")
	}
	loaded := testredis.Start(t, "--dir", filepath.Dir(path), "--dbfilename", filepath.Base(path), "--save", "")
	if got := loaded.Do(t, "GET", onlyOldKey); got != value {
		t.Errorf("the file has %v of the key that only the old primary had", got)
	}
	for key, n := range old {
		if got := fmt.Sprint(loaded.Do(t, "GET", key)); n != now[key] && got != fmt.Sprint(n) {
			t.Errorf("counter %s was %d on the old primary and %d on the new one; the file has %s", key, n, now[key], got)
		}
	}
	t.Logf("the rescue file holds %v keys", loaded.Do(t, "DBSIZE"))
	d.noJobs(t)
}
