package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// bare is a replicator of a shard without a pod: no kubelet, no Deployment and
// no pause can end it, as on a node that is cut off from its API server.
type bare struct {
	deployment string // that it stands for
	start      func() *exec.Cmd
	cmd        *exec.Cmd
	status     string // address of its /status
	log        string // path
	ended      chan error
}

// bareReplicator replaces the pod of shard 0 by a process on the machine of the
// target's site, with the same sync.toml and the same credentials.
func (d *disasters) bareReplicator(t *testing.T) *bare {
	t.Helper()
	deployments, err := d.world.Replicators(t.Context(), d.pair)
	if err != nil {
		t.Fatal(err)
	}
	name, place := deployments[0].Name, d.pair.Target
	core := d.cluster(t, place).Typed.CoreV1()
	config, err := core.ConfigMaps(place.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := core.Secrets(place.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, content := range secret.Data {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.NewReplacer("/etc/redis-sync/secret/", dir+"/", `"/data"`, strconv.Quote(filepath.Join(dir, "data"))).Replace(config.Data["sync.toml"])
	syncFile := filepath.Join(dir, "sync.toml")
	if err := os.WriteFile(syncFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "redis-sync-sidecar")
	if _, err := d.world.Must(t.Context(), "go", "build", "-o", program, "./cmd/redis-sync-sidecar"); err != nil {
		t.Fatal(err)
	}
	d.scaleShard(t, name, 0)

	b := &bare{deployment: name, log: filepath.Join(dir, "log")}
	b.start = func() *exec.Cmd {
		// exec all the way: the process is the replicator itself.
		return exec.Command(filepath.Join(d.world.Root, "test", "cluster", "testcluster"), "exec", place.Site, "--", program, syncFile)
	}
	nodes, err := core.Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("%d nodes: %v", len(nodes.Items), err)
	}
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == "InternalIP" {
			b.status = fmt.Sprintf("http://%s:%d/status", a.Address, wire.DefaultMetricsPort)
		}
	}
	b.run(t)
	d.eventually(t, time.Minute, "the bare replicator is in sync", func() bool {
		status, err := b.ask()
		return err == nil && status.InSync && status.Shard == 0
	})
	return b
}

// run starts the process; it can be started again when it has ended.
func (b *bare) run(t *testing.T) {
	t.Helper()
	out, err := os.Create(b.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd, ended := b.start(), make(chan error, 1)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	b.cmd, b.ended = cmd, ended
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
}

func (b *bare) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := b.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// freeze stops the process and waits until it has much to apply.
func (b *bare) freeze(t *testing.T, d *disasters) {
	t.Helper()
	b.signal(t, syscall.SIGSTOP)
	d.eventually(t, time.Minute, "the frozen replicator has a full buffer", func() bool { return b.pending(t) > 50_000 })
	t.Logf("%d bytes wait for the frozen replicator", b.pending(t))
}

// fenced waits until the fence keeps the process out, and lets it try again
// for a while.
func (b *bare) fenced(t *testing.T, d *disasters) {
	t.Helper()
	var status wire.Status
	d.eventually(t, time.Minute, "the replicator meets the fence", func() bool {
		var err error
		status, err = b.ask()
		return err == nil && status.Phase == wire.PhaseFenced
	})
	t.Logf("the old replicator: %s", status.Error)
	contains(t, status.Error, "epoch")
	time.Sleep(5 * time.Second) // in which it tries again
}

// end tells the fenced process to end: it says that it could not write.
func (b *bare) end(t *testing.T) {
	t.Helper()
	b.signal(t, syscall.SIGTERM)
	if err := b.waitEnd(t); err == nil {
		t.Error("it ended as if its buffer had been applied")
	}
	contains(t, b.said(t), "ended while it could not write: fenced: this replicator has epoch")
}

// waitEnd gives what the process ended with.
func (b *bare) waitEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-b.ended:
		t.Logf("it ended with %v; its log:\n%s", err, b.said(t))
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("the replicator does not end:\n%s", b.said(t))
		return nil
	}
}

func (b *bare) ask() (wire.Status, error) {
	var status wire.Status
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get(b.status)
	if err != nil {
		return status, err
	}
	defer func() { _ = answer.Body.Close() }()
	return status, json.NewDecoder(answer.Body).Decode(&status)
}

// said is the log of the process.
func (b *bare) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(b.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pending is how many bytes of its source lie in the frozen process's sockets.
func (b *bare) pending(t *testing.T) int {
	t.Helper()
	// The kernel's table of the process's own network, which is the site's.
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", b.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", b.cmd.Process.Pid, f.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	total := 0
	for _, line := range strings.Split(string(table), "\n")[1:] {
		f := strings.Fields(line)
		if len(f) < 10 || !own[f[9]] {
			continue
		}
		_, received, _ := strings.Cut(f[4], ":")
		n, err := strconv.ParseInt(received, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += int(n)
	}
	return total
}
