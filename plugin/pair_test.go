package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// scene is two sites with real servers behind their pods. The API servers know
// no controllers: the scene makes the replicators' pods, which say what the
// test wants them to.
type scene struct {
	a, b     *testkube.Server
	source   *testredis.Cluster
	target   *testkube.Failover
	pairFile string
	serving  string // address that the port of a rescue Job's pod leads to
}

const (
	testSource = "site-a/redis/redis-a"
	testTarget = "site-b/redis/redis-b"
)

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{a: testkube.New(t), b: testkube.New(t)}
	s.source, s.target = s.a.RunCluster(t), s.b.RunFailover(t)
	s.b.Edit(t, "/api/v1/namespaces/kube-system", func(u *unstructured.Unstructured) { u.SetUID(types.UID("another-cluster")) })
	s.b.Exec = func(string, string, []string) (string, string, int) { return "PONG\n", "", 0 }
	t.Setenv("KUBECONFIG", kubeconfig(t, map[string]string{"site-a": host(t, s.a), "site-b": host(t, s.b)}))
	// A real API server would choose node ports.
	ports := map[string]int32{}
	for i, kind := range []string{"leader", "follower"} {
		for n := range 3 {
			ports[fmt.Sprintf("redis-a-%s-%d", kind, n)] = int32(31000 + 10*i + n)
		}
	}
	text, err := json.Marshal(pair.Pair{
		APIVersion: pair.APIVersion, Kind: pair.Kind, Metadata: pair.Metadata{Name: "dr1"},
		Spec: pair.Spec{Sites: []pair.Site{
			{Name: "redis-a", Context: "site-a", Namespace: "redis", Instance: pair.InstanceRef{Name: "redis-a"}, Access: pair.Access{NodePorts: ports}},
			{Name: "redis-b", Context: "site-b", Namespace: "redis", Instance: pair.InstanceRef{Name: "redis-b"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.pairFile = filepath.Join(t.TempDir(), "pair.yaml")
	if err := os.WriteFile(s.pairFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for shard := range 3 {
		s.say(t, shard, wire.Status{Phase: wire.PhaseStreaming, InSync: true, Complete: true, FullSync: wire.FullSyncStatus{Keys: 7, Bytes: 70}})
	}
	return s
}

func host(t *testing.T, s *testkube.Server) string {
	t.Helper()
	config, err := s.Loader("x", "redis").ToRESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	return config.Host
}

// kubeconfig writes a file with a context for each server.
func kubeconfig(t *testing.T, servers map[string]string) string {
	t.Helper()
	var clusters, contexts strings.Builder
	for name, server := range servers {
		fmt.Fprintf(&clusters, "- name: %q\n  cluster: {server: %q}\n", name, server)
		fmt.Fprintf(&contexts, "- name: %q\n  context: {cluster: %q, user: u, namespace: redis}\n", name, name)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters:\n" + clusters.String() + "contexts:\n" + contexts.String() + "users:\n- name: u\n  user: {}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// say sets what the replicator of a shard answers.
func (s *scene) say(t *testing.T, shard int, status wire.Status) {
	t.Helper()
	s.sayAt(t, 1, shard, status)
}

// sayAt sets what it answers at an epoch.
func (s *scene) sayAt(t *testing.T, epoch int64, shard int, status wire.Status) {
	t.Helper()
	status.SchemaVersion, status.Pair, status.Site, status.Shard, status.Epoch = 1, "dr1", "redis-b", shard, epoch
	text, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	s.b.Answer(fmt.Sprintf("redis/%s:9310/status", podOf(shard)), string(text))
}

func podOf(shard int) string { return fmt.Sprintf("dr1-to-redis-b-%d-pod", shard) }

// control makes a pod for every Deployment, and takes it away with it, until
// the test ends.
func (s *scene) control(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for shard := range 3 {
				s.controlShard(t, shard)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func (s *scene) controlShard(t *testing.T, shard int) {
	deployment := s.b.Object(fmt.Sprintf("/apis/apps/v1/namespaces/redis/deployments/dr1-to-redis-b-%d", shard))
	path := "/api/v1/namespaces/redis/pods/" + podOf(shard)
	if deployment == nil || scaledToZero(deployment) {
		if s.b.Object(path) != nil {
			s.b.Remove(t, path)
		}
		return
	}
	sum, _, err := unstructured.NestedString(deployment.Object, "spec", "template", "metadata", "annotations", manifests.ChecksumAnnotation)
	if err != nil {
		t.Error(err)
		return
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: podOf(shard), Namespace: "redis", Labels: deployment.GetLabels(), Annotations: map[string]string{manifests.ChecksumAnnotation: sum},
		},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "replicator", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}},
	}
	s.b.Add(t, pod)
}

func scaledToZero(deployment *unstructured.Unstructured) bool {
	replicas, found, err := unstructured.NestedFieldNoCopy(deployment.Object, "spec", "replicas")
	return err == nil && found && fmt.Sprint(replicas) == "0"
}

// result of one run of the plugin.
type result struct {
	code        int
	out, errOut string
}

func run(t *testing.T, args ...string) result {
	t.Helper()
	return <-begin(t, &notes{}, args...)
}

// begin starts a run whose standard error can be read meanwhile.
func begin(t *testing.T, errOut *notes, args ...string) <-chan result {
	t.Helper()
	ended := make(chan result, 1)
	go func() {
		out := &bytes.Buffer{}
		code := Execute(NewOptions(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: errOut}), args)
		ended <- result{code, out.String(), errOut.String()}
	}()
	return ended
}

// notes is a buffer that may be read while somebody writes.
type notes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

func (r result) want(t *testing.T, code int, texts ...string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, expected %d\nstdout:\n%s\nstderr:\n%s", r.code, code, r.out, r.errOut)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.errOut, text) {
			t.Errorf("expected %q\nstdout:\n%s\nstderr:\n%s", text, r.out, r.errOut)
		}
	}
	return r
}

// objects are what both API servers hold, except Events.
func (s *scene) objects() []string {
	return slices.DeleteFunc(slices.Concat(s.a.Paths(), s.b.Paths()), func(path string) bool { return strings.Contains(path, "/events/") })
}

func (s *scene) nothingCreated(t *testing.T, before []string) {
	t.Helper()
	for _, path := range s.objects() {
		if !slices.Contains(before, path) {
			t.Errorf("%s was created", path)
		}
	}
	if keys := s.target.Pods[1].Do(t, "KEYS", "redis-sync:*").([]any); len(keys) != 0 {
		t.Errorf("keys were created: %v", keys)
	}
}

func TestLifeOfAPair(t *testing.T) {
	s := newScene(t)
	before := s.objects()
	run(t, "plan", "dr1", "-f", s.pairFile, "--detailed-exitcode").want(t, 2, "18 to create, 3 to change", "ACL/rfr-redis-b-0", "Service/dr1-redis-a-follower-2", "Deployment/dr1-to-redis-b-2")
	yaml := run(t, "plan", "dr1", "-f", s.pairFile, "-o", "yaml").want(t, 0, "nodePort: 31012", "kind: Deployment", "source-password: '***'")
	if strings.Contains(yaml.out, "c3dQeHpXZmZkbg") || strings.Contains(yaml.out, testkube.ClusterPassword) {
		t.Error("plan -o yaml shows a password")
	}
	s.nothingCreated(t, before)
	run(t, "apply", "dr1", "-f", s.pairFile).want(t, fault.CodeRefused, "no terminal", "add --yes")
	s.nothingCreated(t, before)

	s.control(t)
	applied := run(t, "apply", "dr1", "-f", s.pairFile, "--yes", "-o", "json").want(t, 0)
	var outcome execute.ApplyResult
	if err := json.Unmarshal([]byte(applied.out), &outcome); err != nil {
		t.Fatal(err)
	}
	if outcome.Phase != pair.PhaseInSync || outcome.Keys != 21 || outcome.Counts.Create != 18 {
		t.Errorf("apply reached %+v", outcome)
	}
	if epoch := s.target.Pods[1].Do(t, "GET", wire.FenceKey("dr1")); epoch != "1" {
		t.Errorf("the fence holds %v", epoch)
	}
	for _, server := range []*testkube.Server{s.a, s.b} {
		record := server.Object("/api/v1/namespaces/redis/configmaps/redis-sync-dr1")
		if phase, _, err := unstructured.NestedString(record.Object, "data", "phase"); err != nil || phase != "InSync" {
			t.Errorf("a record is in phase %q, %v", phase, err)
		}
	}

	run(t, "plan", "dr1", "-f", s.pairFile, "--detailed-exitcode").want(t, 0, "0 to create, 0 to change, 0 to delete, 21")
	run(t, "plan", "dr1", "--context", "site-b", "--detailed-exitcode").want(t, 0)
	run(t, "plan", "dr1", "--source", testSource, "--target", testTarget, "--detailed-exitcode").want(t, 0)
	run(t, "apply", "dr1", "--context", "site-a").want(t, 0, "nothing to change")
	status := run(t, "status", "dr1", "--context", "site-b", "-o", "json").want(t, 0)
	var report execute.StatusReport
	if err := json.Unmarshal([]byte(status.out), &report); err != nil {
		t.Fatal(err)
	}
	if report.Live != pair.PhaseInSync || len(report.Shards) != 3 || !report.Shards[2].InSync() || len(report.Sites) != 2 {
		t.Errorf("status %+v", report)
	}
	for _, other := range []string{
		"plan dr1 --source " + testTarget + " --target " + testSource,            // the other way round
		"plan dr2 --source " + testSource + " --target " + testTarget,            // two pairs, one standby
		"plan dr1 --source site-a/redis/redis-x --target " + testTarget,          // another instance
		"plan dr1 --source x=" + testSource + " --target y=" + testTarget,        // other names
		"plan dr1 --context site-a --site-context redis-b=site-a",                // the wrong cluster
		"apply dr1 --source site-b/redis/redis-a --target " + testSource + " -y", // the other cluster
	} {
		run(t, strings.Fields(other)...).want(t, fault.CodeRefused)
	}

	run(t, "start", "dr1", "--context", "site-b").want(t, fault.CodeRefused, "not paused")
	run(t, "pause", "dr1", "--context", "site-b").want(t, 0, "pair dr1 is paused")
	run(t, "pause", "dr1", "--context", "site-b").want(t, fault.CodeRefused, "paused already")
	run(t, "status", "dr1", "--context", "site-b").want(t, 0, "Paused")
	run(t, "apply", "dr1", "--context", "site-a").want(t, 0)
	if s.b.Object("/api/v1/namespaces/redis/pods/"+podOf(1)) != nil {
		t.Error("an apply started a paused pair")
	}
	run(t, "start", "dr1", "--context", "site-a").want(t, 0, "pair dr1 goes on")

	run(t, "delete", "dr1", "--context", "site-b").want(t, fault.CodeRefused, "add --yes")
	run(t, "delete", "dr1", "--context", "site-b", "--yes").want(t, 0, "18 objects")
	after := s.objects()
	if !slices.Equal(before, after) {
		t.Errorf("objects after delete:\n%v\nbefore:\n%v", after, before)
	}
	if epoch := s.target.Pods[1].Do(t, "GET", wire.FenceKey("dr1")); epoch != "1" {
		t.Errorf("the fence is to stay, it holds %v", epoch)
	}
	run(t, "status", "dr1", "--context", "site-b").want(t, fault.CodeNotFound, "no pair dr1")
}

// TestNewPairAfterAnother: what an earlier pair of that name left in the source
// must not be of an epoch that the new one reaches.
func TestNewPairAfterAnother(t *testing.T) {
	s := newScene(t)
	fence := wire.FenceKey("dr1")
	var holder *testredis.Server
	for _, master := range s.source.Masters() {
		if _, err := master.TryDo("SET", fence, "3"); err == nil {
			holder = master
		}
	}
	if holder == nil {
		t.Fatal("no master of the source holds the fence")
	}
	apply := []string{"apply", "dr1", "-f", s.pairFile, "--yes"}
	before := s.objects()
	for _, left := range []string{"3", "4"} { // of a fence in the target: the same pair's
		s.target.Pods[1].Do(t, "SET", fence, left)
		run(t, apply...).want(t, fault.CodeRefused, "at epoch "+left, fence)
	}
	s.target.Pods[1].Do(t, "DEL", fence)
	s.nothingCreated(t, before)

	s.control(t)
	for shard := range 3 {
		s.sayAt(t, 4, shard, wire.Status{Phase: wire.PhaseStreaming, InSync: true, Complete: true})
	}
	run(t, apply...).want(t, 0)
	if epoch := s.target.Pods[1].Do(t, "GET", fence); epoch != "4" {
		t.Errorf("the fence of the target holds %v", epoch)
	}
	if epoch := holder.Do(t, "GET", fence); epoch != "3" {
		t.Errorf("the fence of the source holds %v", epoch)
	}
	for _, server := range []*testkube.Server{s.a, s.b} {
		if epoch, _, err := unstructured.NestedString(server.Object(recordPath).Object, "data", "epoch"); err != nil || epoch != "4" {
			t.Errorf("a record is at epoch %q, %v", epoch, err)
		}
	}
	run(t, "plan", "dr1", "--context", "site-b", "--detailed-exitcode").want(t, 0)
}

func TestApplyReportsAReplicatorThatStopped(t *testing.T) {
	s := newScene(t)
	s.say(t, 1, wire.Status{Phase: wire.PhaseFailed, Error: "key \"x\": type 99 is unknown"})
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, fault.CodeError, "dr1-to-redis-b-1", "type 99 is unknown")
	run(t, "status", "dr1", "--context", "site-b").want(t, 0, "Failed (record: Failed at dr1-to-redis-b-1)")
}

// A source that cannot be reached leaves nothing behind: the Services are
// removed again.
func TestApplyUndoesWhenUnreachable(t *testing.T) {
	s := newScene(t)
	before := s.objects()
	s.b.Exec = func(_, _ string, command []string) (string, string, int) {
		if slices.Contains(command, "32767") { // before the Services are there
			return "", "Could not connect to Redis: Connection refused\n", 1
		}
		return "", "Could not connect to Redis: Connection timed out\n", 1
	}
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes", "--timeout", "1s").want(t, fault.CodeRefused, "does not reach pod", "--node-address")
	s.nothingCreated(t, before)
	run(t, "status", "dr1", "--context", "site-a").want(t, fault.CodeNotFound)
}

func TestRefusals(t *testing.T) {
	s := newScene(t)
	before := s.objects()
	s.target.Pods[1].Do(t, "SET", "mine", "1")
	args := []string{"apply", "dr1", "-f", s.pairFile, "--yes"}
	run(t, args...).want(t, fault.CodeRefused, "redis-b", "it holds 1 keys", "--stale-keys=prune")
	s.target.Pods[1].Do(t, "DEL", "mine")
	s.nothingCreated(t, before)

	s.target.Pods[1].Do(t, "SET", wire.FenceKey("dr1"), "5")
	run(t, args...).want(t, fault.CodeRefused, "epoch 5", wire.FenceKey("dr1"))
	s.target.Pods[1].Do(t, "DEL", wire.FenceKey("dr1"))
	s.nothingCreated(t, before)

	s.b.Add(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "dr1-to-redis-b-1", Namespace: "redis"}})
	run(t, args...).want(t, fault.CodeRefused, "secret redis/dr1-to-redis-b-1 exists and was not made by this pair")
	s.b.Remove(t, "/api/v1/namespaces/redis/secrets/dr1-to-redis-b-1")
	s.nothingCreated(t, before)

	s.source.Masters()[1].Do(t, "CLUSTER", "DELSLOTS", "6000")
	run(t, args...).want(t, fault.CodeRefused, "redis-a", "slot")
	s.nothingCreated(t, before)
}

func TestDeleteWithAnUnreachableSite(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	dead := kubeconfig(t, map[string]string{"site-a": "http://127.0.0.1:1"})
	unreachable := []string{"--context", "site-b", "--site-kubeconfig", "redis-a=" + dead}
	run(t, append([]string{"status", "dr1"}, unreachable...)...).want(t, fault.CodeError, "InSync (record: InSync)", "redis-a   primary   site-a    redis       RedisCluster/redis-a    cluster    no")
	run(t, append([]string{"delete", "dr1", "--yes"}, unreachable...)...).want(t, fault.CodePartial, "there remain: site redis-a", pair.Selector("dr1"))
	run(t, "plan", "dr1", "--context", "site-b").want(t, fault.CodeRefused, "finish delete first")
	run(t, "delete", "dr1", "--context", "site-b", "--yes").want(t, 0)
	run(t, "status", "dr1", "--context", "site-a").want(t, fault.CodeNotFound)
}
