package topology

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// expectation is one entry of testdata/expected.yaml. A key that is there
// must match, also when it is null.
type expectation map[string]any

func loadExpected(t *testing.T) map[string]expectation {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "expected.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]expectation
	if err := yaml.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func loadObjects(t *testing.T, file string) Objects {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var objs Objects
	for _, doc := range bytes.Split(raw, []byte("\n---\n")) {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch u.GetKind() {
		case "":
		case "StatefulSet":
			objs.StatefulSets = append(objs.StatefulSets, decode[appsv1.StatefulSet](t, u))
		case "Deployment":
			objs.Deployments = append(objs.Deployments, decode[appsv1.Deployment](t, u))
		case "Pod":
			objs.Pods = append(objs.Pods, decode[corev1.Pod](t, u))
		case "Service":
			objs.Services = append(objs.Services, decode[corev1.Service](t, u))
		default:
			if strings.Contains(u.GetAPIVersion(), ".") {
				objs.Custom = append(objs.Custom, u)
			}
		}
	}
	return objs
}

func decode[T any](t *testing.T, u unstructured.Unstructured) T {
	t.Helper()
	var out T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out); err != nil {
		t.Fatalf("%s %s: %v", u.GetKind(), u.GetName(), err)
	}
	return out
}

func readText(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// clusterAnswers gives every pod the same CLUSTER NODES text, with "myself"
// on the pod's own line.
func clusterAnswers(t *testing.T, inst Instance, text string) Answers {
	t.Helper()
	nodes, err := ParseClusterNodes(text)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	answers := Answers{Pods: map[string]PodAnswer{}}
	for n, node := range nodes {
		pod := inst.podAt(node.Host, node.Hostname, node.Port)
		if pod == nil {
			t.Fatalf("line %q is no pod of %s", lines[n], inst.Name)
		}
		var own []string
		for k, line := range lines {
			line = strings.ReplaceAll(line, "myself,", "")
			if k == n {
				fields := strings.Fields(line)
				fields[2] = "myself," + fields[2]
				line = strings.Join(fields, " ")
			}
			own = append(own, line)
		}
		role := RoleReplica
		if node.Has("master") {
			role = RolePrimary
		}
		answers.Pods[pod.Name] = PodAnswer{
			RedisMode: "cluster", Version: "7.0.15", ClusterState: "ok",
			ClusterNodes: strings.Join(own, "\n"), Replication: Replication{Role: role},
		}
	}
	return answers
}

// sentinelAnswers makes one pod the master, in its own words and in those of
// every Sentinel.
func sentinelAnswers(inst Instance, master string) Answers {
	answers := Answers{Pods: map[string]PodAnswer{}, Sentinels: map[string]SentinelAnswer{}}
	at := inst.Pod(master)
	for _, p := range inst.Pods {
		a := PodAnswer{RedisMode: "standalone", Version: "7.0.15", Replication: Replication{Role: RolePrimary}}
		if p.Name != master {
			a.Replication = Replication{Role: RoleReplica, MasterHost: at.IP, MasterPort: inst.Port, Connected: true}
		}
		answers.Pods[p.Name] = a
	}
	if inst.Sentinel != nil {
		for _, s := range inst.Sentinel.Pods {
			answers.Sentinels[s] = SentinelAnswer{Host: at.IP, Port: inst.Port}
		}
	}
	return answers
}

// nodesText writes the CLUSTER NODES of a cluster whose pods are named by
// ordinals: leaders (or node 0 of a shard) are masters.
func nodesText(inst Instance, isMaster func(Pod) bool, address func(Pod) string) string {
	var masters, replicas []Pod
	for _, p := range inst.Pods {
		if isMaster(p) {
			masters = append(masters, p)
		} else {
			replicas = append(replicas, p)
		}
	}
	id := func(p Pod) string {
		return fmt.Sprintf("%040x", slices.IndexFunc(inst.Pods, func(q Pod) bool { return q.Name == p.Name })+1)
	}
	var b strings.Builder
	for n, p := range masters {
		from, to := n*SlotCount/len(masters), (n+1)*SlotCount/len(masters)-1
		fmt.Fprintf(&b, "%s %s master - 0 1 %d connected %d-%d\n", id(p), address(p), n+1, from, to)
	}
	for n, p := range replicas {
		fmt.Fprintf(&b, "%s %s slave %s 0 1 %d connected\n", id(p), address(p), id(masters[n%len(masters)]), n+1)
	}
	return b.String()
}

func podAddress(p Pod) string { return p.IP + ":6379@16379" }

// TestFixtures detects every recorded instance, lets Redis answer as recorded
// (or as its kind would), and compares with what discovery should conclude.
func TestFixtures(t *testing.T) {
	for file, want := range loadExpected(t) {
		t.Run(file, func(t *testing.T) {
			objs := loadObjects(t, file)
			all := Detect(objs)
			if len(all) != 1 {
				t.Fatalf("found %d instances, want 1: %+v", len(all), all)
			}
			inst, err := Find(all, "redis", want["name"].(string), kindOf(want))
			if err != nil {
				t.Fatal(err)
			}
			live := liveInstance(t, inst, want)
			compare(t, live, want)
			withoutResources(t, objs, inst)
		})
	}
}

func kindOf(want expectation) string {
	kind, _ := want["kind"].(string)
	return kind
}

func liveInstance(t *testing.T, inst Instance, want expectation) Instance {
	t.Helper()
	if text, ok := want["live"].(string); ok {
		return Resolve(inst, clusterAnswers(t, inst, readText(t, text)))
	}
	for _, key := range []string{"master", "masterLive", "masterByLabel"} {
		if master, ok := want[key].(string); ok && inst.Mode != ModeCluster {
			return Resolve(inst, sentinelAnswers(inst, master))
		}
	}
	address := podAddress
	if inst.Access == "NodePort" { // then nodes announce the node and its port
		address = func(p Pod) string { return fmt.Sprintf("%s:%d@%d", p.HostIP, p.NodePort, p.NodePort+100) }
	}
	text := nodesText(inst, func(p Pod) bool {
		switch {
		case inst.Operator == OperatorOT:
			return strings.Contains(p.Name, "-leader-")
		case inst.Operator == OperatorValkey:
			return strings.HasSuffix(p.Name, "-0-0")
		default:
			return p.Name < inst.Name+"-redis-cluster-3"
		}
	}, address)
	return Resolve(inst, clusterAnswers(t, inst, text))
}

func compare(t *testing.T, inst Instance, want expectation) {
	t.Helper()
	check := func(key string, got any) {
		t.Helper()
		expected, ok := want[key]
		if !ok {
			return
		}
		if expected == nil {
			expected = ""
		}
		if fmt.Sprint(expected) != fmt.Sprint(got) {
			t.Errorf("%s: got %v, want %v", key, got, expected)
		}
	}
	check("operator", inst.Operator)
	check("kind", inst.Kind)
	check("apiVersion", inst.APIVersion)
	check("name", inst.Name)
	check("mode", inst.Mode)
	check("shards", len(inst.Shards))
	check("port", inst.Port)
	check("tls", inst.TLS)
	check("writeService", inst.WriteService)
	check("masterOnlyService", inst.MasterOnlyService)
	primaries := inst.PrimaryPods()
	slices.Sort(primaries)
	check("mastersLive", primaries)
	check("master", strings.Join(primaries, ","))
	check("masterLive", strings.Join(primaries, ","))
	var labelled []string
	for _, p := range inst.Pods {
		if p.RoleSaid == RolePrimary {
			labelled = append(labelled, p.Name)
		}
	}
	if _, ok := want["mastersByLabel"].([]any); ok {
		check("mastersByLabel", labelled)
	} else {
		check("mastersByLabel", strings.Join(labelled, ","))
	}
	check("masterByLabel", strings.Join(labelled, ","))
	if inst.Sentinel != nil {
		check("sentinelService", inst.Sentinel.Service)
		check("masterSet", inst.Sentinel.MasterSet)
	} else {
		check("sentinelService", "")
	}
	if p, ok := want["password"].(map[string]any); ok {
		if inst.Password == nil || inst.Password.Name != p["secret"] || inst.Password.Key != p["key"] {
			t.Errorf("password: got %+v, want %v", inst.Password, p)
		}
		if user, _ := p["user"].(string); user != inst.Username {
			t.Errorf("user: got %q, want %q", inst.Username, user)
		}
	}
	if ports, ok := want["reuseOperatorNodePorts"].(map[string]any); ok {
		for pod, port := range ports {
			if got := inst.Pod(pod).NodePort; fmt.Sprint(got) != fmt.Sprint(port) {
				t.Errorf("node port of %s: got %d, want %v", pod, got, port)
			}
		}
	}
	if service, ok := want["allPodsService"].(string); ok && inst.WriteService == service {
		t.Errorf("the Service %s selects replicas too: it is not for writing", service)
	}
	stale := len(inst.StalePods()) > 0
	if _, must := want["mustWarn"]; must != stale {
		t.Errorf("stale labels found: %v, want %v (findings %v)", stale, must, inst.Findings)
	}
	if errs := Errors(inst.Findings); len(errs) > 0 {
		t.Errorf("unexpected errors: %+v", errs)
	}
}

// withoutResources repeats the detection for a user who may not read the
// custom resources, and for objects that lost their owners: what matters must
// come out the same.
func withoutResources(t *testing.T, objs Objects, want Instance) {
	t.Helper()
	objs.Custom = nil
	for _, stripped := range []bool{false, true} {
		if stripped {
			if want.Operator == OperatorValkey {
				return // its nodes name the cluster in a label in either case
			}
			for n := range objs.StatefulSets {
				objs.StatefulSets[n].OwnerReferences = nil
			}
		}
		inst, err := Find(Detect(objs), want.Namespace, want.Name, "")
		if err != nil {
			t.Errorf("without custom resources (owners lost: %v): %v", stripped, err)
			continue
		}
		if inst.Mode != want.Mode || len(inst.Pods) != len(want.Pods) || inst.Port != want.Port || inst.Kind != want.Kind ||
			fmt.Sprint(inst.Password) != fmt.Sprint(want.Password) && (inst.Password == nil || *inst.Password != *want.Password) ||
			inst.WriteService != want.WriteService {
			t.Errorf("without custom resources (owners lost: %v): got %+v, want %+v", stripped, inst, want)
		}
	}
}

// TestResourceAlone reads a resource whose pods do not exist yet.
func TestResourceAlone(t *testing.T) {
	all := Detect(loadObjects(t, "ot-v0.26.0-rediscluster-redis-a-tls-acl-cr.yaml"))
	inst, err := Find(all, "redis", "redis-a", "rediscluster")
	if err != nil {
		t.Fatal(err)
	}
	if !inst.TLS || inst.TLSSecret == nil || *inst.TLSSecret != (TLSSecret{"redis-a-tls", "ca.crt", "tls.crt", "tls.key"}) {
		t.Errorf("TLS: got %v %+v", inst.TLS, inst.TLSSecret)
	}
	if inst.Password == nil || *inst.Password != (SecretRef{"redis-a-auth", "password"}) {
		t.Errorf("password: got %+v", inst.Password)
	}
	if errs := Errors(inst.Findings); len(errs) != 1 || !strings.Contains(errs[0].Message, "no data pod") {
		t.Errorf("findings: got %+v, want one error about missing pods", inst.Findings)
	}
}
