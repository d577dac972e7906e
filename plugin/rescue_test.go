package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

const secretValue = "a value that nobody may print"

// rescueFile makes a file with the keys lost:0, lost:1... as the Job would.
func rescueFile(t *testing.T, keys int, h rescue.Header) []byte {
	t.Helper()
	var file bytes.Buffer
	w := rescue.NewWriter(&file, 10, h)
	for i := range keys {
		value := append([]byte{byte(len(secretValue))}, secretValue...)
		if err := w.Key(0, fmt.Sprintf("lost:%d\x1b[31m", i), int64(i%2), byte(0), int64(len(value))); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(1); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func testHeader(operation string) rescue.Header {
	return rescue.Header{
		Pair: "dr1", Epoch: 2, Operation: operation, Time: time.Unix(1_700_000_000, 0).UTC(),
		From: rescue.Site{Name: "redis-a", Namespace: "redis", Instance: "redis-a", Cluster: "uid-a"},
		To:   rescue.Site{Name: "redis-b", Namespace: "redis", Instance: "redis-b", Cluster: "uid-b"},
	}
}

// lost lets site a be lost, be switched away from, and return with a key.
func lost(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	dead := kubeconfig(t, map[string]string{"site-a": "http://127.0.0.1:1"})
	run(t, "failover", "dr1", "--context", "site-b", "--site-kubeconfig", "redis-a="+dead, "--accept-data-loss", "--yes").want(t, 0)
	s.source.Do(t, "SET", "lost", secretValue)
	return s
}

// apartResult is what a comparison of the old primary with the new one says.
var apartResult = wire.VerifyResult{
	SchemaVersion: 1, Mode: wire.VerifyFull, Apart: true, Exact: true, Rounds: 1, Compared: 9, EqualKeys: 3, Missing: 3, Different: 2, TTLDiffers: 1, Extra: 4,
	Source: wire.VerifySideResult{Name: "redis-a"}, Target: wire.VerifySideResult{Name: "redis-b"},
	Samples: []wire.VerifySampleKey{{Kind: wire.VerifyMissing, Key: `"of an order"`, Type: "hash"}, {Kind: wire.VerifyExtra, Key: `"of b"`, Type: "set"}},
}

const counted = "has 3 that site redis-b lacks, 2 that differ there and 1 with another TTL; only site redis-b has 4"

// TestRecoverCounts: before a full copy both sites are compared, and recover
// says what would be replaced wherever somebody decides about it.
func TestRecoverCounts(t *testing.T) {
	s := lost(t)
	asBefore := func(t *testing.T) {
		t.Helper()
		record := s.b.Object("/api/v1/namespaces/redis/configmaps/redis-sync-dr1")
		if phase, _, err := unstructured.NestedString(record.Object, "data", "phase"); err != nil || phase != "FailedOver" {
			t.Errorf("the record is in phase %q, %v", phase, err)
		}
		if got := s.source.Do(t, "GET", "lost"); got != secretValue {
			t.Errorf("the old primary holds %v", got)
		}
		if s.hasJob() {
			t.Error("the Job is still there")
		}
	}
	recover := func(t *testing.T, args ...string) result {
		t.Helper()
		return run(t, append([]string{"recover", "dr1", "--context", "site-b"}, args...)...)
	}
	found := line(t, wire.VerifyLine{Result: &apartResult})
	for _, c := range []struct {
		name, args, log string
		code            int
		job             string // what its arguments contain; "" when there is to be none
		texts           []string
	}{
		{"refused", "--yes", found, fault.CodeRefused, "--mode sample ", []string{"redis-a may hold writes", counted, "--rescue-file=PATH", "--discard-divergence"}},
		{"dry run", "--dry-run --discard-divergence", found, 0, "--mode sample ", []string{counted, `only on redis-a: db 0 hash "of an order"`, `only on redis-b: db 0 set "of b"`, " 1. protect site redis-a"}},
		{"dry run of a rescue", "--dry-run --verify=full --rescue-file=/tmp/none.rdb", found, 0, "--mode full ", []string{counted, "save what only site redis-a has"}},
		{"asked", "--discard-divergence", found, fault.CodeRefused, "--mode sample ", []string{counted, "--rescue-file=PATH saves it first", "--yes"}},
		{"not compared", "--dry-run --verify=none --discard-divergence", found, 0, "", []string{" 1. protect site redis-a"}},
		{"no result", "--yes --discard-divergence", "panic: something\n", fault.CodeError, "--mode sample ", []string{"counting what only site redis-a has", "ended without a result", "--verify=none"}},
		{"bad flag", "--yes --verify=some", found, fault.CodeError, "", []string{"expected full, sample or none"}},
		{"no folder", "--yes --rescue-file=/none/such/file.rdb", found, fault.CodeError, "", []string{"/none/such"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := s.jobs(t, ended, c.log)
			r := recover(t, strings.Fields(c.args)...).want(t, c.code, c.texts...)
			got := strings.Join(args(), " ")
			if c.job == "" != (got == "") || !strings.Contains(got, c.job) || got != "" && !strings.HasSuffix(got, "--source-site redis-a --apart /etc/sync/sync.toml") {
				t.Errorf("the Job runs %q", got)
			}
			if strings.Contains(r.out+r.errOut, secretValue) {
				t.Error("a value was printed")
			}
			asBefore(t)
		})
	}
	t.Run("as JSON", func(t *testing.T) {
		s.jobs(t, ended, found)
		r := recover(t, "--dry-run", "--discard-divergence", "-o", "json").want(t, 0)
		var outcome execute.SwitchResult
		if err := json.Unmarshal([]byte(r.out), &outcome); err != nil {
			t.Fatal(err)
		}
		if d := outcome.Divergence; d == nil || d.OnlyOld != 3 || d.Different != 2 || d.DifferentTTL != 1 || d.OnlyNew != 4 || !d.Exact || d.OldPrimary != "redis-a" {
			t.Errorf("the divergence is %+v", d)
		}
	})
	t.Run("without the right to make a Job", func(t *testing.T) {
		s.b.Deny("create", "jobs")
		recover(t, "--yes").want(t, fault.CodeAuth, "redis-sync-recover", "jobs.batch")
	})
}

// given is a rescue Job's pod that gives bytes away, over and over.
func (s *scene) given(t *testing.T, answer func(try int, w http.ResponseWriter)) {
	t.Helper()
	var mu sync.Mutex
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != wire.RescuePath {
			http.NotFound(w, r)
			return
		}
		tries++
		answer(tries, w)
	}))
	t.Cleanup(server.Close)
	s.serving = server.Listener.Addr().String()
}

// TestRecoverRescues: nothing is overwritten before the file is whole and on
// the disk.
func TestRecoverRescues(t *testing.T) {
	s := lost(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "lost.rdb")
	found := line(t, wire.VerifyLine{Result: &apartResult})
	recover := func(t *testing.T, path string) result {
		t.Helper()
		return run(t, "recover", "dr1", "--context", "site-b", "--yes", "--verify=none", "--timeout", "2s", "--rescue-file", path)
	}
	untouched := func(t *testing.T) {
		t.Helper()
		if s.a.Object("/apis/apps/v1/namespaces/redis/deployments/dr1-to-redis-a-0") != nil {
			t.Error("a replicator that writes to the old primary exists")
		}
		if got := s.source.Do(t, "GET", "lost"); got != secretValue {
			t.Errorf("the old primary holds %v", got)
		}
		if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file exists: %v", err)
		}
		if s.hasJob() {
			t.Error("the Job is still there")
		}
	}
	whole := rescueFile(t, 3000, testHeader("of the job"))

	t.Run("an existing file", func(t *testing.T) {
		other := filepath.Join(dir, "other.rdb")
		for name, text := range map[string][]byte{"no rescue file": []byte("mine\n"), "another operation": whole} {
			if err := os.WriteFile(other, text, 0o600); err != nil {
				t.Fatal(err)
			}
			recover(t, other).want(t, fault.CodeRefused, other, "exists", "give another name")
			if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s: it was changed: %v", name, err)
			}
			untouched(t)
		}
	})
	t.Run("the Job fails", func(t *testing.T) {
		s.jobs(t, ended, line(t, wire.VerifyLine{Error: "site redis-a: DUMP: NOPERM"}))
		recover(t, path).want(t, fault.CodePartial, "DUMP: NOPERM")
		untouched(t)
	})
	t.Run("nothing listens", func(t *testing.T) {
		s.jobs(t, running, found)
		recover(t, path).want(t, fault.CodePartial, "connection refused", "the old primary is as it was")
		untouched(t)
	})
	t.Run("the stream is cut off", func(t *testing.T) {
		s.given(t, func(_ int, w http.ResponseWriter) {
			_, _ = w.Write(whole[:len(whole)/2])
			panic(http.ErrAbortHandler)
		})
		s.jobs(t, running, found)
		recover(t, path).want(t, fault.CodePartial, "is not whole", "the old primary is as it was")
		untouched(t)
	})
	t.Run("the stream ends too early", func(t *testing.T) {
		s.given(t, func(_ int, w http.ResponseWriter) { _, _ = w.Write(whole[:len(whole)-20]) })
		s.jobs(t, running, found)
		recover(t, path).want(t, fault.CodePartial, "is not whole", "cut off")
		untouched(t)
	})
	t.Run("the disk is full", func(t *testing.T) {
		small := smallDisk(t)
		s.given(t, func(_ int, w http.ResponseWriter) { _, _ = w.Write(whole) })
		s.jobs(t, running, found)
		recover(t, filepath.Join(small, "lost.rdb")).want(t, fault.CodePartial, "no space left on device", "the old primary is as it was")
		if left, err := os.ReadDir(small); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		untouched(t)
	})
	t.Run("saved", func(t *testing.T) {
		s.given(t, func(try int, w http.ResponseWriter) {
			if try == 1 { // a port-forward breaks easily
				_, _ = w.Write(whole[:1000])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(whole)
		})
		args := s.jobs(t, running, found)
		// No controller of site a runs the replicator: it does not get in sync.
		r := run(t, "recover", "dr1", "--context", "site-b", "--yes", "--verify=none", "--timeout", "2s", "-o", "json", "--rescue-file", path)
		var outcome execute.SwitchResult
		if err := json.Unmarshal([]byte(r.out), &outcome); err != nil {
			t.Fatalf("%v: exit code %d\n%s", err, r.code, r.errOut)
		}
		if f := outcome.Rescue; f == nil || f.Keys != 3000 || f.Gone != 1 || f.File != path || f.Bytes != int64(len(whole)) {
			t.Errorf("saved %+v\n%s", f, r.errOut)
		}
		if d := outcome.Divergence; d == nil || d.OnlyOld != 3 {
			t.Errorf("the divergence is %+v", d)
		}
		got := args()
		at := slices.Index(got, "--header")
		var h rescue.Header
		if at < 0 || json.Unmarshal([]byte(got[at+1]), &h) != nil || h.Pair != "dr1" || h.Epoch != 2 || h.From.Name != "redis-a" || h.From.Instance != "redis-a" || h.To.Namespace != "redis" {
			t.Errorf("the Job runs %q", got)
		}
		if file, err := os.ReadFile(path); err != nil || !bytes.Equal(file, whole) {
			t.Errorf("the file is not what was given: %v", err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if strings.Contains(r.out+r.errOut, secretValue) {
			t.Error("a value was printed")
		}
	})
}

func TestRescueShow(t *testing.T) {
	dir := t.TempDir()
	file := rescueFile(t, 30, testHeader("0badcafe"))
	path := filepath.Join(dir, "lost.rdb")
	show := func(t *testing.T, content []byte, args ...string) result {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r := run(t, append([]string{"rescue", "show", path}, args...)...)
		if strings.Contains(r.out+r.errOut, secretValue) || strings.Contains(r.out+r.errOut, "\x1b") {
			t.Errorf("a value, or a name as it is, was printed:\n%s%s", r.out, r.errOut)
		}
		return r
	}
	r := show(t, file).want(t, 0, "pair dr1, epoch 2, written 2023-11-14T22:13:20Z by operation 0badcafe", "site redis-a, instance redis/redis-a, cluster uid-a",
		"30 keys", "checksum right", "string         30 keys", "15 keys have expired", "1 more keys went away", `db 0 string "lost:0\x1b[31m"`, "and 10 more (--limit 0 prints all)")
	if n := strings.Count(r.out, "lost:"); n != 20 {
		t.Errorf("%d names are printed", n)
	}
	var content rescueContent
	if err := json.Unmarshal([]byte(show(t, file, "--limit", "0", "-o", "json").want(t, 0).out), &content); err != nil {
		t.Fatal(err)
	}
	if content.Pair != "dr1" || content.Keys != 30 || len(content.Names) != 30 || content.ByType["string"].Keys != 30 || content.Names[1].Deadline == nil || content.To.Cluster != "uid-b" {
		t.Errorf("as JSON: %+v", content)
	}
	cut := len(file) - 100
	show(t, file[:cut]).want(t, fault.CodeError, fmt.Sprintf("at offset %d", cut), "cut off", "before that it holds 29 keys of pair dr1")
	damaged := bytes.Clone(file)
	damaged[len(damaged)/2] ^= 1
	show(t, damaged).want(t, fault.CodeError, "at offset")
	show(t, []byte("no file")).want(t, fault.CodeError, "cut off")
	show(t, []byte("no RDB file at all")).want(t, fault.CodeError, "at offset 0", "no RDB file")
	show(t, file, "-o", "wide").want(t, fault.CodeError, "wide")
	show(t, file, "--limit", "-1").want(t, fault.CodeError, "--limit")
	run(t, "rescue", "show", filepath.Join(dir, "none")).want(t, fault.CodeError, "no such file")
	run(t, "rescue", "show").want(t, fault.CodeError)
}
