package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/test/harness"
)

// over is a planned failover under writes, and what it has to come to.
func (d *disasters) over(t *testing.T, args ...string) switched {
	t.Helper()
	result := d.switches(t, 0, append(append([]string{"failover", "--yes"}, quick...), args...)...)
	if result.Phase != "RecoverInSync" || result.Primary != d.pair.Target.Instance || result.FullCopies != 0 {
		t.Errorf("failover reached %+v", result)
	}
	if takesWrites(t, d.source) || !takesWrites(t, d.target) {
		t.Error("only the new primary is to take writes")
	}
	t.Logf("nobody could write for %.2f s", result.UnavailableSeconds)
	return result
}

// failback is the planned way home; how many shards it copied in full is for the
// caller to judge.
func (d *disasters) failback(t *testing.T) switched {
	t.Helper()
	result := d.switches(t, 0, append([]string{"failback", "--yes", "--timeout", "3m"}, quick...)...)
	if result.Phase != "InSync" || result.Primary != d.pair.Source.Instance {
		t.Errorf("failback reached %+v", result)
	}
	return result
}

// frozenPlanned: a replicator is frozen with a full buffer, and its successor
// brings the standby up to date. It wakes after the switch: what it has in hand
// was applied once, and must not be again.
func frozenPlanned(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	b := d.bareReplicator(t)
	b.freeze(t, d)
	d.scaleShard(t, b.deployment, 1)
	d.inSync(t, 2*time.Minute)
	d.over(t)
	before := d.contents(t)
	b.signal(t, syscall.SIGCONT)
	if err := b.waitEnd(t); err == nil {
		t.Error("the woken replicator ended as if its buffer had been applied")
	}
	contains(t, b.said(t), "another replicator took this shard")
	d.unchanged(t, before, "an old replicator woke")
	b.run(t) // as a pod would be, from its old ConfigMap
	b.fenced(t, d)
	d.unchanged(t, before, "an old replicator was started again")
	b.end(t)
	if back := d.failback(t); back.FullCopies != 0 {
		t.Errorf("failback made %d full copies", back.FullCopies)
	}
	d.settle(t)
}

// kubelet finds the process of a site's machine.
func kubelet(t *testing.T, site string) int {
	t.Helper()
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		if words := string(line); strings.HasPrefix(words, "kubelet\x00") && strings.Contains(words, "--hostname-override="+site+"\x00") {
			return pid
		}
	}
	t.Fatalf("site %s has no kubelet", site)
	return 0
}

// nodeCut: from the moment at which the new primary is open nobody can end the
// old replicators: their node hears nothing of its API server. They run on, and
// Redis is there for them.
func nodeCut(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	node := kubelet(t, d.pair.Target.Site)
	wake := func() { _ = syscall.Kill(node, syscall.SIGCONT) }
	t.Cleanup(wake)
	hooks := t.TempDir()
	if err := os.WriteFile(filepath.Join(hooks, "after-open"), fmt.Appendf(nil, "#!/bin/sh\nkill -STOP %d\n", node), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	type ended struct {
		result harness.Result
		err    error
	}
	done := make(chan ended, 1)
	go func() {
		r, err := d.world.Plugin(t.Context(), d.pair.Later("failover", append([]string{"--yes", "--hook", hooks}, quick...)...)...)
		done <- ended{r, err}
	}()
	d.eventually(t, time.Minute, "the old replicators are fenced, and nobody ends them", func() bool { return d.fencedPods(t) == shards })
	d.eventually(t, time.Minute, "the switch goes on without their end", func() bool { return d.began(t, "protect site "+d.pair.Source.Instance) })
	if n := d.fencedPods(t); n != shards {
		t.Errorf("%d old replicators run when the switch goes on", n)
	}
	wake()
	over := <-done
	if over.err != nil {
		t.Fatal(over.err)
	}
	t.Log(over.result)
	if over.result.Code != 0 {
		t.Fatalf("exit code %d", over.result.Code)
	}
	contains(t, over.result.Stderr, "the fence keeps it from writing")
	if takesWrites(t, d.source) || !takesWrites(t, d.target) {
		t.Error("only the new primary is to take writes")
	}
	d.eventually(t, time.Minute, "the old replicators end", func() bool { return d.fencedPods(t) == 0 })
	if back := d.failback(t); back.FullCopies != 0 {
		t.Errorf("failback made %d full copies", back.FullCopies)
	}
	d.settle(t)
}

// fencedPods counts the pods at the target's site that are to end and run on,
// kept out by the fence.
func (d *disasters) fencedPods(t *testing.T) int {
	t.Helper()
	core := d.cluster(t, d.pair.Target).Typed.CoreV1()
	pods, err := core.Pods(d.pair.Target.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: pair.Selector(d.pair.Name)})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, pod := range pods.Items {
		if status, err := podStatus(t.Context(), d, pod); err == nil && pod.DeletionTimestamp != nil && status.Phase == wire.PhaseFenced {
			n++
		}
	}
	return n
}

func podStatus(ctx context.Context, d *disasters, pod corev1.Pod) (wire.Status, error) {
	var status wire.Status
	cluster, err := d.world.Cluster(d.pair.Target.Site)
	if err != nil {
		return status, err
	}
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := cluster.Typed.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, fmt.Sprint(wire.DefaultMetricsPort), "/status", nil).DoRaw(bounded)
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(body, &status)
}

// began tells whether the last switch has begun a step.
func (d *disasters) began(t *testing.T, step string) bool {
	t.Helper()
	m, err := d.cluster(t, d.pair.Target).Typed.CoreV1().ConfigMaps(d.pair.Target.Namespace).Get(t.Context(), pair.RecordName(d.pair.Name), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	record, err := pair.RecordFromData(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range record.Journal {
		if line.Operation == record.Body.LastOperation.ID && strings.HasPrefix(line.Text, "begin: "+step) {
			return true
		}
	}
	return false
}

// stepNamed finds a step of a verb by how it begins.
func (d *disasters) stepNamed(t *testing.T, verb, begin string) string {
	t.Helper()
	for _, step := range d.steps(t, verb, quick...) {
		if strings.HasPrefix(step, begin) {
			return step
		}
	}
	t.Fatalf("%s has no step %q", verb, begin)
	return ""
}

// fencedFailover: the fence stands, and the master that it was raised on is
// lost before anything else is done.
func fencedFailover(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	if d.kill(t, "failover", d.stepNamed(t, "failover", "note the position"), quick...) {
		t.Fatal("the failover was over before it was killed")
	}
	masters, err := d.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := masters[0].Pod
	if _, err := d.world.KubectlRun(t.Context(), d.pair.Target.Site, "-n", d.pair.Target.Namespace, "delete", "pod", old, "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, time.Minute, "another master", func() bool {
		masters, err := d.target.Masters(t.Context())
		return err == nil && len(masters) == 1 && masters[0].Pod != old
	})
	bounded, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := d.cluster(t, d.pair.Target).WaitReady(bounded, d.pair.Target); err != nil {
		t.Fatal(err)
	}
	d.plugin(t, 0, d.pair.Later("unlock", "--yes")...)
	d.over(t)
	if back := d.failback(t); back.FullCopies != 0 {
		t.Errorf("failback made %d full copies", back.FullCopies)
	}
	d.settle(t)
}

// clusterBack: after a failover the replicator that feeds the old primary runs
// in the old primary's cluster. A failback promotes it, and both the operator
// and that cluster are lost before the replicator is stopped. It comes back
// with the cluster, since its Deployment still wants it.
func clusterBack(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	d.over(t)
	d.end(t, d.near) // their pod ends with its site
	if d.kill(t, "failback", d.stepNamed(t, "failback", "stop the replicators"), quick...) {
		t.Fatal("the failback was over before it was killed")
	}
	back, place := d.back(), d.pair.Source
	deployments, err := d.world.Replicators(t.Context(), back)
	if err != nil || len(deployments) != 1 {
		t.Fatalf("%d replicators: %v", len(deployments), err)
	}
	// It may have been killed a moment too late.
	if _, err := d.world.KubectlRun(t.Context(), place.Site, "-n", place.Namespace, "scale", "deployment", deployments[0].Name, "--replicas=1"); err != nil {
		t.Fatal(err)
	}
	if err := d.world.PowerOff(t.Context(), place.Site); err != nil {
		t.Fatal(err)
	}
	if err := d.world.PowerOn(context.WithoutCancel(t.Context()), place.Site); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, 5*time.Minute, "the site serves again", func() bool {
		masters, err := d.source.Masters(t.Context())
		return err == nil && len(masters) == shards
	})
	bounded, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := d.cluster(t, place).WaitReady(bounded, place); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, 2*time.Minute, "its replicator is back, and fenced", func() bool {
		statuses, err := d.world.Statuses(t.Context(), back)
		return err == nil && len(statuses) == 1 && statuses[0].Phase == wire.PhaseFenced && strings.Contains(statuses[0].Error, "epoch")
	})
	d.near = d.begin(t, d.runner, 0) // beside the replicator, which may not write
	d.eventually(t, time.Minute, "applications write again", func() bool {
		stats, err := d.near.Stats(t.Context())
		return err == nil && stats.Acknowledged > 500
	})
	d.plugin(t, 0, d.pair.Later("unlock", "--yes")...)
	if again := d.failback(t); again.FullCopies > 0 {
		t.Logf("%d shards were copied in full: their servers were made anew since the position was noted", again.FullCopies)
	}
	d.settle(t)
}
