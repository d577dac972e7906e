package bench

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

func only() *regexp.Regexp { return regexp.MustCompile(os.Getenv("BENCH_ONLY")) }

// begin measures the time from exec to PSYNC, seen by a proxy in front of the
// source.
func (w *world) begin(t *testing.T) {
	const name = "from exec to PSYNC"
	if !wanted(name) {
		return
	}
	source, target := standalone(t, sourceArgs...), standalone(t)
	defer source.end()
	defer target.end()
	target.fence(t)
	w.measure(t, name, []row{
		{"limit of 50 ms", func(*testing.T) usage { return usage{wall: 50 * time.Millisecond} }},
		{ours, func(t *testing.T) usage {
			addr, seen := psyncSeen(t, source.masters[0].Addr)
			l := source.links(target)[0]
			l.source = addr
			begin := time.Now()
			p := startReplicator(t, w.binary, l)
			defer p.stop()
			select {
			case at := <-seen:
				return usage{wall: at.Sub(begin), cpu: p.used(t).cpu, rss: p.used(t).rss}
			case <-time.After(time.Minute):
				t.Fatal("no PSYNC within a minute")
			}
			return usage{}
		}},
	}, goal{against: "limit of 50 ms", ratio: 1})
}

// psyncSeen forwards connections to a server and tells when the first PSYNC
// passes.
func psyncSeen(t *testing.T, addr string) (proxy string, seen <-chan time.Time) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	at := make(chan time.Time, 1)
	var once sync.Once
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // closed
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
			go func() {
				defer func() { _ = out.Close() }()
				buf := make([]byte, 4096)
				for {
					n, err := in.Read(buf)
					if bytes.Contains(bytes.ToUpper(buf[:n]), []byte("PSYNC\r\n")) {
						once.Do(func() { at <- time.Now() })
					}
					if err != nil {
						return
					}
					if _, err := out.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), at
}

// oneWithStale has a key that the copy is to remove, so every key of the
// snapshot is marked and the target is swept.
func oneWithStale(t *testing.T) side {
	t.Helper()
	s := one(t)
	s.masters[0].Do(t, "SET", "stale", "1")
	return s
}

// scale shows that the cost of a key does not depend on their number, nor does
// the memory, that of the sweep included.
func (w *world) scale(t *testing.T) {
	for _, n := range []int{w.n / 10, w.n, w.n * 10} {
		name := fmt.Sprintf("scale, %d strings of 100 bytes", n)
		if !wanted(name) {
			continue
		}
		source := standalone(t, sourceArgs...)
		const most = 3_000_000 // a call that takes longer than the connection waits
		for done := 0; done < n; done += most {
			source.masters[0].Do(t, "DEBUG", "POPULATE", strconv.Itoa(min(most, n-done)), fmt.Sprint("key", done/most), "100")
		}
		w.measure(t, name, []row{w.native(source), w.ours(source, oneWithStale)}, goal{rss: 48 << 20})
		source.end()
	}
	for _, size := range []int64{w.mixedBytes() / 10, 4 * w.mixedBytes()} {
		name := fmt.Sprintf("scale, %d MB of collections", size/1_000_000)
		if !wanted(name) {
			continue
		}
		source := standalone(t, sourceArgs...)
		files, _ := mixed(t, 1, size, tenToThousand)
		pipe(t, byAddr(source, files))
		w.measure(t, name, []row{w.native(source), w.ours(source, oneWithStale)}, goal{rss: 48 << 20})
		source.end()
	}
}

// profile writes a CPU profile of the next 2 seconds of a replicator into
// BENCH_PROFILE.
func (w *world) profile(t *testing.T, p *process) {
	dir := os.Getenv("BENCH_PROFILE")
	if dir == "" || p.pprof == 0 {
		return
	}
	file := filepath.Join(dir, short(t.Name())+".pprof")
	go func() {
		time.Sleep(200 * time.Millisecond)
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=2", p.pprof))
		if err != nil {
			return // the measurement was over before
		}
		defer func() { _ = resp.Body.Close() }()
		if body, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode == http.StatusOK {
			_ = os.WriteFile(file, body, 0o600)
		}
	}()
}

// pipeAll pipes several files into one server at once.
func pipeAll(t *testing.T, addr string, files []string) usage {
	t.Helper()
	begin := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var total usage
	for _, f := range files {
		wg.Go(func() {
			u := pipe(t, map[string]string{addr: f})
			mu.Lock()
			defer mu.Unlock()
			total.cpu += u.cpu
			total.rss += u.rss
		})
	}
	wg.Wait()
	total.wall = time.Since(begin)
	return total
}
