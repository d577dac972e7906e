package sidecar_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// memoryBound is what the replicator may take, whatever the size of a value.
const memoryBound = 128 << 20

// process is a replicator as a process of its own, so that its memory can be
// told from that of the test.
type process struct {
	cmd  *exec.Cmd
	url  string
	out  bytes.Buffer
	done chan struct{}
}

func startProcess(t *testing.T, l link) *process {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "redis-sync-sidecar")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/redis-sync-sidecar").CombinedOutput(); err != nil {
		t.Fatalf("building the replicator: %v: %s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	_ = free.Close()
	_, port, _ := net.SplitHostPort(addr)
	l.extra += "\nmetrics_port = " + port
	file := filepath.Join(dir, "sync.toml")
	if err := os.WriteFile(file, []byte(l.toml(filepath.Join(dir, "data"))), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(program, file), url: "http://" + addr + "/status", done: make(chan struct{})}
	p.run(t)
	return p
}

func (p *process) run(t *testing.T) {
	t.Helper()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }() // its state says how it ended
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.done })
}

// waitFor waits until the status is as wanted.
func (p *process) waitFor(t *testing.T, within time.Duration, what string, ok func(wire.Status) bool) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	testredis.Eventually(t, within, what, func() bool {
		select {
		case <-p.done:
			t.Fatalf("the replicator ended: %v: %s", p.cmd.ProcessState, p.out.String())
		default:
		}
		r, err := client.Get(p.url)
		if err != nil {
			return false // it does not listen yet
		}
		defer r.Body.Close()
		var s wire.Status
		return json.NewDecoder(r.Body).Decode(&s) == nil && ok(s)
	})
}

// peak is the largest resident memory of the process in bytes (VmHWM).
func (p *process) peak(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("NOT RUN: the memory of a process is read from /proc: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatalf("VmHWM: %v", err)
	}
	return kb << 10
}

// bigSizes are those of TestBigValues.
type bigSizes struct{ megabytes, fields, entries int }

// seedBig writes values that are larger than what is kept in memory.
func seedBig(t *testing.T, src *testredis.Server, n bigSizes) {
	t.Helper()
	src.Do(t, "EVAL", `math.randomseed(1) local p={} for i=1,1024*128 do p[i]=string.char(math.random(0,255)) end
		local s=table.concat(p) for i=1,ARGV[1]*8 do redis.call('APPEND','string',s) end return 1`, "0", strconv.Itoa(n.megabytes))
	src.Do(t, "SETRANGE", "lzf", strconv.Itoa(n.megabytes<<20-2), "x")
	src.Do(t, "PEXPIREAT", "string", "33333333333333")
	many := func(total int, script string) {
		for from := 1; from <= total; from += 100_000 {
			src.Do(t, "EVAL", "for i=ARGV[1],ARGV[2] do "+script+" end", "0", strconv.Itoa(from), strconv.Itoa(min(from+99_999, total)))
		}
	}
	many(n.fields, `redis.call('HSET','hash','field:'..i,'a value of some length that is not the same: '..i)`)
	many(n.entries, `redis.call('XADD','stream',string.format('%d-1',i),'field','value '..i)`)
	src.Do(t, "XGROUP", "CREATE", "stream", "group", "0")
	src.Do(t, "XREADGROUP", "GROUP", "group", "consumer", "COUNT", strconv.Itoa(min(n.entries/10, 100_000)), "STREAMS", "stream", ">")
	src.Do(t, "PEXPIREAT", "stream", "33333333333334")
	many(n.fields/10, `redis.call('ZADD','zset',i..'.1','member:'..i) redis.call('SADD','set','member:'..i)
		redis.call('RPUSH','list','an element of some length that is not the same: '..i)`)
	src.Do(t, "SET", "after", "v")
}

// patientCluster is a cluster of three masters that does not take one of them
// for dead while it computes the digest of a large value.
func patientCluster(t *testing.T) side {
	t.Helper()
	c := testredis.StartCluster(t, 3, 0, debugArgs()...)
	for _, m := range c.Masters() {
		m.Do(t, "CONFIG", "SET", "cluster-node-timeout", "600000")
	}
	return side{doer: c, masters: c.Masters(), target: fmt.Sprintf("type = \"cluster\"\naddress = %q", c.Addrs()[0])}
}

// TestBigValues copies values beyond the size that is kept in memory, with
// deadlines and in another database: as commands above rebuild_above_bytes,
// else as one RESTORE from a file. BIG_VALUES=1 makes them as big as Redis
// allows: a string of 512 MB, a hash and a stream of 10 million elements.
// BIG_TARGET=cluster or standalone takes one target only.
func TestBigValues(t *testing.T) {
	n := bigSizes{40, 200_000, 200_000}
	within := 2 * time.Minute
	if os.Getenv("BIG_VALUES") != "" {
		n, within = bigSizes{512, 10_000_000, 10_000_000}, 20*time.Minute
		t.Setenv("TEST_REDIS_TIMEOUT", "10m") // for a digest of 10 million elements
	}
	for _, to := range []string{"standalone", "cluster"} {
		if only := os.Getenv("BIG_TARGET"); only != "" && only != to {
			continue
		}
		t.Run(to, func(t *testing.T) {
			src := testredis.Start(t, append(debugArgs(), "--client-output-buffer-limit", "replica 0 0 0")...)
			dst := standaloneSide(t)
			if to == "cluster" {
				dst = patientCluster(t)
			}
			fence(t, dst)
			seedBig(t, src, n)
			if to == "standalone" {
				src.Do(t, "SELECT", "2")
				src.Do(t, "SET", "in two", strings.Repeat("0123456789", 1<<20))
				src.Do(t, "SELECT", "0")
			}
			l := link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target}
			if os.Getenv("BIG_VALUES") == "" && to == "cluster" {
				l.extra = "rebuild_above_bytes = 4000000" // below it, RESTORE
			}
			began := time.Now()
			p := startProcess(t, l)
			p.waitFor(t, within, "the replicator to be in sync", func(s wire.Status) bool { return s.InSync })
			peak := p.peak(t)
			t.Logf("in sync after %.1f s, peak resident memory %d MB", time.Since(began).Seconds(), peak>>20)
			if peak > memoryBound {
				t.Errorf("the replicator took %d MB, the bound is %d MB", peak>>20, memoryBound>>20)
			}
			compare(t, contents(t, src), contents(t, dst.masters...))
			pending := 0
			for _, m := range dst.masters {
				got, err := m.TryDo("XPENDING", "stream", "group")
				if err != nil {
					continue // another node has it
				}
				pending++
				if want := src.Do(t, "XPENDING", "stream", "group"); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("pending: source %v, target %v", want, got)
				}
			}
			if pending != 1 {
				t.Errorf("%d nodes have the stream", pending)
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-p.done
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d: %s", code, p.out.String())
			}
		})
	}
}
