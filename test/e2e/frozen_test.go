package e2e

import (
	"context"
	"crypto/sha256"
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
// no pause can end it.
type bare struct {
	cmd    *exec.Cmd
	pid    int
	status string // address of its /status
	log    string // path
	ended  chan error
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

	b := &bare{log: filepath.Join(dir, "log"), ended: make(chan error, 1)}
	out, err := os.Create(b.log)
	if err != nil {
		t.Fatal(err)
	}
	// exec all the way: the process is the replicator itself.
	b.cmd = exec.Command(filepath.Join(d.world.Root, "test", "cluster", "testcluster"), "exec", place.Site, "--", program, syncFile)
	b.cmd.Stdout, b.cmd.Stderr = out, out
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	b.pid = b.cmd.Process.Pid
	go func() { b.ended <- b.cmd.Wait() }()
	t.Cleanup(func() { _ = b.cmd.Process.Kill() })

	nodes, err := core.Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("%d nodes: %v", len(nodes.Items), err)
	}
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == "InternalIP" {
			b.status = fmt.Sprintf("http://%s:%d/status", a.Address, wire.DefaultMetricsPort)
		}
	}
	d.eventually(t, time.Minute, "the bare replicator is in sync", func() bool {
		status, err := b.ask()
		return err == nil && status.InSync && status.Shard == 0
	})
	return b
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
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", b.pid))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", b.pid, f.Name()))
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

func (d *disasters) scaleShard(t *testing.T, deployment string, n int) {
	t.Helper()
	place := d.pair.Target
	if _, err := d.world.KubectlRun(t.Context(), place.Site, "-n", place.Namespace, "scale", "deployment", deployment, fmt.Sprint("--replicas=", n)); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, time.Minute, "the pods are gone", func() bool {
		pods, err := d.cluster(t, place).Typed.CoreV1().Pods(place.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "redis-sync.io/pair=" + d.pair.Name})
		if err != nil {
			t.Fatal(err)
		}
		return len(pods.Items) == shards-1+n
	})
}

// contents are the keys of the source's writers on the target, by a sum of
// their values; their deadlines are left out.
func (d *disasters) contents(t *testing.T) map[string][32]byte {
	t.Helper()
	masters, err := d.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][32]byte{}
	client := d.target.Open(masters[0].Pod, 0)
	defer func() { _ = client.Close() }()
	for worker := range 4 {
		cursor := client.Scan(t.Context(), 0, fmt.Sprintf("live:{w%d}:*", worker), 1000).Iterator()
		for cursor.Next(t.Context()) {
			// A key whose deadline passes has no value: not looked at.
			if value, err := client.Dump(t.Context(), cursor.Val()).Result(); err == nil {
				out[cursor.Val()] = sha256.Sum256([]byte(value))
			}
		}
		if err := cursor.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// siteOff: the primary's site is switched off as in a power loss, while one
// replicator is frozen with a full buffer. It wakes after the switch.
func siteOff(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	seen := watchSteps(t, d.near)
	b := d.bareReplicator(t)
	time.Sleep(8 * time.Second) // of writes that must not get lost
	if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, time.Minute, "the frozen replicator has a full buffer", func() bool { return b.pending(t) > 50_000 })
	t.Logf("%d bytes wait for the frozen replicator", b.pending(t))
	if err := d.world.PowerOff(t.Context(), d.pair.Source.Site); err != nil {
		t.Fatal(err)
	}
	on := false
	start := func() {
		if on {
			return
		}
		on = true
		if err := d.world.PowerOn(t.Context(), d.pair.Source.Site); err != nil {
			t.Error(err)
		}
	}
	defer start()
	since := d.force(t)
	samples := seen.end()
	d.ledger.holdsUntil(t, d.target, samples, since.Add(-5*time.Second))

	before := d.contents(t)
	if err := b.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, time.Minute, "the woken replicator meets the fence", func() bool {
		status, err := b.ask()
		return err == nil && status.Phase == wire.PhaseFenced
	})
	status, err := b.ask()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the woken replicator: %s", status.Error)
	contains(t, status.Error, "epoch")
	time.Sleep(5 * time.Second) // in which it tries again
	after := d.contents(t)
	for key, sum := range after {
		if was, known := before[key]; !known || was != sum {
			t.Errorf("key %q changed after the switch", key)
		}
	}
	if len(after) < 100 {
		t.Errorf("only %d keys were looked at", len(after))
	}

	// Told to end, it says that it could not write.
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-b.ended:
		t.Logf("it ended with %v; its log:\n%s", err, b.said(t))
		if err == nil {
			t.Error("it ended as if its buffer had been applied")
		}
		contains(t, b.said(t), "ended while it could not write: fenced: this replicator has epoch")
	case <-time.After(30 * time.Second):
		t.Errorf("the fenced replicator does not end:\n%s", b.said(t))
	}
	start()
	// For a while the API server says of the pods what was true before.
	d.eventually(t, 5*time.Minute, "the old primary serves again", func() bool {
		masters, err := d.source.Masters(t.Context())
		return err == nil && len(masters) == shards
	})
	bounded, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := d.cluster(t, d.pair.Source).WaitReady(bounded, d.pair.Source); err != nil {
		t.Fatal(err)
	}
	d.invalidated(t)
	// The writers ended with their site: what they were told last is lost.
	counted := keysOf(samples[len(samples)-1].steps)
	for key, n := range counters(t, d.target, counted) {
		d.ledger.acknowledged[key], d.ledger.unknown[key] = n, 0
	}
	d.home(t)
}
