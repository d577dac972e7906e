package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// output is what a command printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// result is that of the comparison; nil when there is none yet.
func (o *output) result() *wire.VerifyResult {
	for text := range strings.Lines(o.String()) {
		var line wire.VerifyLine
		if json.Unmarshal([]byte(text), &line) == nil && line.Result != nil {
			return line.Result
		}
	}
	return nil
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// TestRescueCommand: the file is served, as often as it is asked for, and no
// value gets anywhere else.
func TestRescueCommand(t *testing.T) {
	const value = "a value that nobody logs"
	old, serving := testredis.Start(t), testredis.Start(t)
	for i := range 500 {
		old.Do(t, "SET", "key:"+strconv.Itoa(i), value+strconv.Itoa(i))
	}
	serving.Do(t, "SET", "key:1", value+"1")
	serving.Do(t, "SET", "key:2", "another "+value)
	dir := t.TempDir()
	file := filepath.Join(dir, "sync.toml")
	text := fmt.Sprintf(`type = "sync"
[link]
pair = "p"
site = "b"
shard = 0
epoch = 1
slots = "0-16383"
[source]
address = %q
[target]
type = "standalone"
address = %q
[advanced]
dir = %q
`, old.Addr, serving.Addr, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	header, err := json.Marshal(rescue.Header{Pair: "p", Epoch: 2, Operation: "op", Time: time.Now(), From: rescue.Site{Name: "a"}, To: rescue.Site{Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	var stdout, stderr output
	code := make(chan int, 1)
	go func() {
		code <- run([]string{"rescue", "--header", string(header), "--port", port, file}, &stdout, &stderr)
	}()
	testredis.Eventually(t, time.Minute, "the comparison", func() bool { return stdout.result() != nil || len(code) > 0 })
	if stdout.result() == nil {
		t.Fatalf("no result: %s%s", stdout.String(), stderr.String())
	}
	if r := stdout.result(); r.Missing != 498 || r.Different != 1 || !r.Apart || !r.Exact || r.Source.Name != "a" {
		t.Errorf("found %+v", r)
	}
	var first []byte
	for range 2 {
		response, err := http.Get("http://127.0.0.1:" + port + wire.RescuePath)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", response.Status, err)
		}
		summary, err := rescue.Check(bytes.NewReader(body), nil)
		if err != nil || summary.Keys != 499 || !bytes.Contains(body, []byte(value)) {
			t.Errorf("the file: %+v, %v", summary, err)
		}
		if first != nil && len(first) != len(body) {
			t.Errorf("%d bytes, and then %d", len(first), len(body))
		}
		first = body
	}
	// A server that goes away ends the stream before its end, and is named.
	old.Kill()
	if response, err := http.Get("http://127.0.0.1:" + port + wire.RescuePath); err == nil {
		_, err = rescue.Check(response.Body, nil)
		response.Body.Close()
		if err == nil {
			t.Error("a file without its source is whole")
		}
	}
	testredis.Eventually(t, time.Minute, "the reason", func() bool {
		return strings.Contains(stdout.String(), `"error":"giving the rescue file away`) && strings.Contains(stdout.String(), old.Addr)
	})
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit status %d", got)
	}
	if all := stdout.String() + stderr.String(); strings.Contains(all, value) {
		t.Errorf("a value was printed:\n%s", all)
	}
}

func TestRescueCommandRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"no file":     {"rescue"},
		"no header":   {"rescue", "/none/sync.toml"},
		"no such one": {"rescue", "--header", "{}", "/none/sync.toml"},
	} {
		if code := run(args, io.Discard, io.Discard); code != exitConfig {
			t.Errorf("%s: exit status %d", name, code)
		}
	}
}
