package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	siteguard "github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// target is an instance behind an API server, and how a replicator finds it.
type target struct {
	site      *siteguard.Site
	servers   []*testredis.Server
	sentinels []*testredis.Server
	toml      string // of [target]
	lost      *testredis.Server
}

func sentinelTarget(t *testing.T) *target {
	t.Helper()
	api := testkube.New(t)
	f := api.RunFailover(t)
	d := &target{servers: f.Pods, sentinels: f.Sentinels}
	var addresses []string
	for _, s := range f.Sentinels {
		addresses = append(addresses, fmt.Sprintf("%q", s.Addr))
	}
	d.calm(t)
	d.toml = fmt.Sprintf("sentinels = [%s]\nmaster_name = \"mymaster\"\npassword = %q", strings.Join(addresses, ", "), testkube.FailoverPassword)
	d.open(t, api, "redis-b")
	// Else each would promote a server of its own.
	testredis.Eventually(t, time.Minute, "the Sentinels know each other and both replicas", func() bool {
		for _, s := range d.sentinels {
			known := map[string]string{}
			list := s.Do(t, "SENTINEL", "MASTER", "mymaster").([]any)
			for i := 0; i+1 < len(list); i += 2 {
				known[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
			}
			if known["num-other-sentinels"] != "2" || known["num-slaves"] != "2" {
				return false
			}
		}
		return true
	})
	return d
}

// calm lets the Sentinels fail nothing over, however slow the machine is.
func (d *target) calm(t *testing.T) {
	t.Helper()
	for _, s := range d.sentinels {
		s.Do(t, "SENTINEL", "SET", "mymaster", "down-after-milliseconds", "120000")
	}
}

func clusterTarget(t *testing.T) *target {
	t.Helper()
	api := testkube.New(t)
	c := api.RunCluster(t)
	d := &target{servers: c.Nodes}
	var addresses []string
	for _, a := range c.Addrs() {
		addresses = append(addresses, fmt.Sprintf("%q", a))
	}
	d.toml = fmt.Sprintf("type = \"cluster\"\naddress = %q\ncandidates = [%s]\npassword = %q", c.Addrs()[0], strings.Join(addresses, ", "), testkube.ClusterPassword)
	d.open(t, api, "redis-a")
	return d
}

func (d *target) open(t *testing.T, api *testkube.Server, name string) {
	t.Helper()
	client, err := kube.New(api.Loader("site", "redis"), kube.Options{Site: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	instance, err := discovery.Discover(t.Context(), client, "redis", name, "")
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := discovery.ReadCredentials(t.Context(), client, instance)
	if err != nil {
		t.Fatal(err)
	}
	d.site = siteguard.Open(discovery.Open(client, instance, credentials), siteguard.Options{Pair: "p"})
	t.Cleanup(func() { _ = d.site.Close() })
}

// raise raises the fence as a switch does.
func (d *target) raise(t *testing.T, epoch int64) {
	t.Helper()
	var err error
	testredis.Eventually(t, time.Minute, "the fence is raised", func() bool {
		if err = d.site.RaiseFence(t.Context(), epoch); err != nil {
			t.Logf("once more: %v", err)
		}
		return err == nil
	})
}

// live are the servers that were not killed for good.
func (d *target) live() []*testredis.Server {
	var out []*testredis.Server
	for _, s := range d.servers {
		if s != d.lost {
			out = append(out, s)
		}
	}
	return out
}

func isMaster(s *testredis.Server) bool {
	reply, err := s.TryDo("ROLE")
	role, ok := reply.([]any)
	return err == nil && ok && role[0] == "master"
}

func (d *target) eachMaster(t *testing.T, do func(*testredis.Server)) {
	t.Helper()
	n := 0
	for _, s := range d.live() {
		if isMaster(s) {
			n++
			do(s)
		}
	}
	if n == 0 {
		t.Fatal("the target has no master")
	}
}

// holder is the master that holds the fence; nil when there is none.
func (d *target) holder(t *testing.T) *testredis.Server {
	t.Helper()
	for _, s := range d.live() {
		if reply, err := s.TryDo("GET", wire.FenceKey("p")); err == nil && reply != nil && isMaster(s) {
			return s
		}
	}
	return nil
}

// ok: every live server agrees about the masters.
func (d *target) ok() bool {
	masters := 0
	for _, s := range d.live() {
		if isMaster(s) {
			masters++
		}
		info, err := s.TryDo("INFO", "replication")
		if err != nil || strings.Contains(info.(string), "master_link_status:down") {
			return false
		}
		if len(d.sentinels) == 0 {
			if state, err := s.TryDo("CLUSTER", "INFO"); err != nil || !strings.Contains(state.(string), "cluster_state:ok") {
				return false
			}
		}
	}
	if len(d.sentinels) == 0 {
		return masters == 3
	}
	for _, s := range d.sentinels {
		reply, err := s.TryDo("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
		address, ok := reply.([]any)
		if err != nil || !ok || !d.isMasterAt(fmt.Sprint(address[1])) {
			return false
		}
	}
	return masters == 1
}

func (d *target) isMasterAt(port string) bool {
	for _, s := range d.live() {
		if fmt.Sprint(s.Port) == port {
			return isMaster(s)
		}
	}
	return false
}

// restartAll kills every server at once; they come back with the roles that
// they had, and without data.
func (d *target) restartAll(t *testing.T) {
	t.Helper()
	master := d.holder(t)
	for _, s := range d.servers {
		s.Kill()
	}
	for _, s := range d.servers {
		s.Restart(t)
	}
	d.lost = nil
	if len(d.sentinels) > 0 {
		master.Do(t, "REPLICAOF", "NO", "ONE")
		for _, s := range d.servers {
			if s != master {
				s.Do(t, "REPLICAOF", "127.0.0.1", fmt.Sprint(master.Port))
			}
		}
	}
	testredis.Eventually(t, time.Minute, "the servers are back in their roles", d.ok)
}

// syncFile writes the file of a replicator of this epoch.
func (d *target) syncFile(t *testing.T, source *testredis.Server, epoch int) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	text := fmt.Sprintf(`type = "sync"
[link]
pair = "p"
site = "target"
epoch = %d
slots = "0-16383"
[source]
address = %q
[target]
%s
stale_keys = "prune"
stale_keys_max_share = 1.0
[advanced]
dir = %q
metrics_port = %d
`, epoch, source.Addr, d.toml, filepath.Join(dir, "data"), port)
	file := filepath.Join(dir, "sync.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), fmt.Appendf(nil, "http://127.0.0.1:%d/status", port), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// build makes the replicator's program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "redis-sync-sidecar")
	cmd := exec.Command("go", "build", "-C", filepath.Join("..", ".."), "-o", program, "./cmd/redis-sync-sidecar")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// replicator is a process of its own, which can be frozen.
type replicator struct {
	file, url string
	cmd       *exec.Cmd
	log       *os.File
	ended     chan error
}

func startReplicator(t *testing.T, program, file string) *replicator {
	t.Helper()
	url, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	r := &replicator{file: file, url: string(url), cmd: exec.Command(program, file), log: log, ended: make(chan error, 1)}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("log of a replicator:\n%s", r.said(t))
		}
		_ = log.Close()
	})
	return r
}

func (r *replicator) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(r.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text[max(0, len(text)-8000):])
}

func (r *replicator) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// until waits for something in its /status.
func (r *replicator) until(t *testing.T, what string, ok func(wire.Status) bool) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	testredis.Eventually(t, time.Minute, what, func() bool {
		select {
		case err := <-r.ended:
			t.Fatalf("the replicator ended before %s: %v\n%s", what, err, r.said(t))
		default:
		}
		answer, err := client.Get(r.url)
		if err != nil {
			return false
		}
		defer func() { _ = answer.Body.Close() }()
		var s wire.Status
		return json.NewDecoder(answer.Body).Decode(&s) == nil && ok(s)
	})
}

// end asks the process to end and waits for it.
func (r *replicator) end(t *testing.T) {
	t.Helper()
	r.signal(t, syscall.SIGTERM)
	select {
	case err := <-r.ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		r.ended <- err // for who asks again
	case <-time.After(time.Minute):
		t.Fatalf("the replicator does not end:\n%s", r.said(t))
	}
}
