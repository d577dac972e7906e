package plan

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

var update = flag.Bool("update", false, "write the golden files anew")

// clusterInstance is a Redis Cluster of three leaders with a follower each.
// Leader 1 has lost its role to follower 1.
func clusterInstance() topology.Instance {
	inst := topology.Instance{
		Namespace: "redis", Name: "redis-a", Kind: "RedisCluster", Operator: topology.OperatorOT, Mode: topology.ModeCluster,
		Port: 6379, WriteService: "redis-a-leader", WriteAddress: "10.96.0.10:6379",
	}
	for i := range 3 {
		inst.Pods = append(inst.Pods,
			topology.Pod{Name: fmt.Sprintf("redis-a-leader-%d", i), HostIP: fmt.Sprintf("10.0.0.%d", i+1), Ready: true},
			topology.Pod{Name: fmt.Sprintf("redis-a-follower-%d", i), HostIP: fmt.Sprintf("10.0.0.%d", 3-i), Ready: true})
	}
	slices.SortFunc(inst.Pods, func(a, b topology.Pod) int { return strings.Compare(a.Name, b.Name) })
	for i, slots := range []topology.SlotSet{{{From: 0, To: 5460}}, {{From: 5461, To: 10922}}, {{From: 10923, To: 16383}}} {
		shard := topology.Shard{Index: i, Slots: slots, Primary: fmt.Sprintf("redis-a-leader-%d", i), Replicas: []string{fmt.Sprintf("redis-a-follower-%d", i)}}
		if i == 1 {
			shard.Primary, shard.Replicas = "redis-a-follower-1", []string{"redis-a-leader-1"}
		}
		inst.Shards = append(inst.Shards, shard)
	}
	return inst
}

func sentinelInstance() topology.Instance {
	inst := topology.Instance{
		Namespace: "redis", Name: "redis-b", Kind: "RedisFailover", Operator: topology.OperatorSpotahome, Mode: topology.ModeSentinel, Port: 6379,
		MasterOnlyService: "rfrm-redis-b", MasterOnlyAddress: "10.97.0.20:6379",
		Sentinel: &topology.Sentinel{Service: "rfs-redis-b", Port: 26379, MasterSet: "mymaster", Address: "10.97.0.21:26379", Pods: []string{"rfs-redis-b-x"}},
		Shards:   []topology.Shard{{Slots: topology.AllSlots(), Primary: "rfr-redis-b-1", Replicas: []string{"rfr-redis-b-0", "rfr-redis-b-2"}}},
	}
	for i := range 3 {
		inst.Pods = append(inst.Pods, topology.Pod{Name: fmt.Sprintf("rfr-redis-b-%d", i), HostIP: "10.1.0.1", Ready: true})
	}
	return inst
}

// testLink copies source to target, with every port known.
func testLink(t *testing.T, source, target topology.Instance) Link {
	t.Helper()
	shards, err := ShardsOf(source, nil)
	if err != nil {
		t.Fatal(err)
	}
	side := func(site string, inst topology.Instance, password string) Side {
		s := Side{
			Site:   pair.Site{Name: site, Namespace: inst.Namespace, Instance: pair.InstanceRef{Name: inst.Name}},
			Access: pair.AccessNodePort, Instance: inst, Password: []byte(password), Services: map[string]pair.ServiceInfo{}, LoadBalancers: map[string]string{},
		}
		for i, pod := range inst.Pods {
			s.Services[pod.Name] = pair.ServiceInfo{Name: pair.ServiceName("dr1", pod.Name), NodePort: int32(30000 + i), ClusterIP: fmt.Sprintf("10.98.0.%d", i)}
		}
		return s
	}
	return Link{
		Pair: "dr1", Epoch: 1, Image: "redis-sync-sidecar:dev", StaleKeys: pair.StaleKeysPrune,
		Source: side(source.Name, source, "source's \"secret\"\n: {{.}}"), Target: side(target.Name, target, "target"), Shards: shards,
		Salts: map[int][]byte{0: []byte("salt-0"), 1: []byte("salt-1"), 2: []byte("salt-2")},
	}
}

func objectsOf(t *testing.T, l Link) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, part := range []func() ([]*unstructured.Unstructured, error){l.SourceServices, l.TargetServices, l.Replicators} {
		objects, err := part()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, objects...)
	}
	return all
}

func syncFileOf(t *testing.T, l Link, shard int) wire.SyncFile {
	t.Helper()
	for _, object := range objectsOf(t, l) {
		if object.GetKind() != "ConfigMap" || object.GetLabels()[pair.LabelShard] != fmt.Sprint(shard) {
			continue
		}
		text, _, err := unstructured.NestedString(object.Object, "data", "sync.toml")
		if err != nil {
			t.Fatal(err)
		}
		var file wire.SyncFile
		meta, err := toml.Decode(text, &file)
		if err != nil || len(meta.Undecoded()) > 0 {
			t.Fatalf("sync.toml: %v, unknown keys %v", err, meta.Undecoded())
		}
		return file
	}
	t.Fatalf("no sync.toml for shard %d", shard)
	return wire.SyncFile{}
}

func TestGolden(t *testing.T) {
	standalone := topology.Instance{
		Namespace: "cache", Name: "redis-c", Kind: "Redis", Mode: topology.ModeStandalone, Port: 6380, WriteAddress: "10.97.0.30:6380",
		Pods:   []topology.Pod{{Name: "redis-c-0", HostIP: "10.2.0.1", Ready: true}},
		Shards: []topology.Shard{{Slots: topology.AllSlots(), Primary: "redis-c-0"}},
	}
	tuned := testLink(t, standalone, clusterInstance())
	tuned.Source.Access = pair.AccessClusterIP
	tuned.Paused = true
	share := 1.0
	tuned.Spec = pair.Spec{
		StaleKeys:  pair.StaleKeys{Policy: pair.StaleKeysKeep, MaxShare: &share},
		Replicator: pair.Replicator{ImagePullSecrets: []string{"pull"}, NodeSelector: map[string]string{"zone": "b: {}"}, LogLevel: "debug", SpoolDiskBytes: 1 << 30},
	}
	tuned.StaleKeys = pair.StaleKeysKeep
	for name, link := range map[string]Link{
		"cluster-to-sentinel":   testLink(t, clusterInstance(), sentinelInstance()),
		"sentinel-to-cluster":   testLink(t, sentinelInstance(), clusterInstance()),
		"standalone-to-cluster": tuned,
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, object := range objectsOf(t, link) {
				text, err := yaml.Marshal(object.Object)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s---\n", text)
			}
			golden(t, name+".yaml", b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the difference. Got:\n%s", path, got)
	}
}

func TestSourceCandidates(t *testing.T) {
	l := testLink(t, clusterInstance(), sentinelInstance())
	file := syncFileOf(t, l, 1)
	if len(file.Source.Candidates) != 6 {
		t.Fatalf("candidates %v, expected all six data pods", file.Source.Candidates)
	}
	// Leader 1 is the replica of shard 1 now, so it is the one to read from.
	port := l.Source.Services["redis-a-leader-1"].NodePort
	if want := fmt.Sprintf("10.0.0.2:%d", port); file.Source.Candidates[0] != want || file.Source.Address != want {
		t.Errorf("first candidate %s, address %s, expected %s", file.Source.Candidates[0], file.Source.Address, want)
	}
	port = l.Source.Services["redis-a-follower-1"].NodePort
	if want := fmt.Sprintf("10.0.0.2:%d", port); file.Source.Candidates[1] != want {
		t.Errorf("second candidate %s, expected the primary %s", file.Source.Candidates[1], want)
	}
}

func TestWaysToTheSource(t *testing.T) {
	l := testLink(t, clusterInstance(), sentinelInstance())
	l.Source.Site.Access = pair.Access{NodeAddresses: []string{"203.0.113.1", "nat.example"}, NodePorts: map[string]int32{"redis-a-leader-0": 31234}}
	if got := l.Source.addressesOf("redis-a-leader-0"); !slices.Equal(got, []string{"203.0.113.1:31234", "nat.example:31234"}) {
		t.Errorf("with node addresses and a chosen port: %v", got)
	}
	l.Source.Access = pair.AccessAddresses
	l.Source.Site.Access = pair.Access{Addresses: map[string]string{"redis-a-leader-0": "r0.example:7000"}}
	if got := syncFileOf(t, l, 0).Source.Candidates; !slices.Equal(got, []string{"r0.example:7000"}) {
		t.Errorf("with addresses of somebody else: %v", got)
	}
	if services, err := l.SourceServices(); err != nil || len(services) != 0 {
		t.Errorf("%d Services beside addresses of somebody else, %v", len(services), err)
	}
	l.Source.Access, l.Source.Site.Access = pair.AccessLoadBalancer, pair.Access{}
	l.Source.LoadBalancers["redis-a-follower-0"] = "198.51.100.7"
	if got := syncFileOf(t, l, 0).Source.Candidates[:2]; !slices.Equal(got, []string{"198.51.100.7:6379", Pending + ":6379"}) {
		t.Errorf("with load balancers: %v", got)
	}
}

// An operator that keeps a NodePort Service per pod needs none of ours.
func TestReusesNodePorts(t *testing.T) {
	inst := clusterInstance()
	for i := range inst.Pods {
		inst.Pods[i].NodePort, inst.Pods[i].Service = int32(31000+i), inst.Pods[i].Name
	}
	l := testLink(t, inst, sentinelInstance())
	services, err := l.SourceServices()
	if err != nil || len(services) != 0 {
		t.Errorf("%d Services of ours, %v", len(services), err)
	}
	if got := l.Source.addressesOf("redis-a-follower-0"); !slices.Equal(got, []string{"10.0.0.3:31000"}) {
		t.Errorf("address %v", got)
	}
}

// A target with a headless Sentinel Service, or without Sentinel and with
// labels only, is reached through Services of ours.
func TestTargetServices(t *testing.T) {
	headless := sentinelInstance()
	headless.Sentinel.Address, headless.Sentinel.Pods = "", []string{"redis-b-s-0", "redis-b-s-1"}
	l := testLink(t, clusterInstance(), headless)
	l.Target.Services["redis-b-s-0"] = pair.ServiceInfo{ClusterIP: "10.99.0.1"}
	services, err := l.TargetServices()
	if err != nil || len(services) != 2 || services[0].GetName() != "dr1-redis-b-s-0" {
		t.Fatalf("Services %v, %v", services, err)
	}
	if got := syncFileOf(t, l, 0).Target.Sentinels; !slices.Equal(got, []string{"10.99.0.1:26379", Pending + ":26379"}) {
		t.Errorf("sentinels %v", got)
	}

	replicated := sentinelInstance()
	replicated.Mode, replicated.Sentinel = topology.ModeReplication, nil
	l = testLink(t, clusterInstance(), replicated)
	if services, err = l.TargetServices(); err != nil || len(services) != 3 {
		t.Fatalf("%d Services, %v", len(services), err)
	}
	file := syncFileOf(t, l, 0)
	if want := []string{"10.98.0.0:6379", "10.98.0.1:6379", "10.98.0.2:6379"}; !slices.Equal(file.Target.Candidates, want) || file.Target.Address != want[0] {
		t.Errorf("target %+v", file.Target)
	}
}

func TestShardsKeepTheirOrdinals(t *testing.T) {
	inst := clusterInstance()
	recorded, err := ShardsOf(inst, nil)
	if err != nil {
		t.Fatal(err)
	}
	recorded[0].Position = &pair.PositionRecorded{ReplID: "r", Offset: 5}
	slices.Reverse(recorded)
	inst.Shards[0].Primary, inst.Shards[0].Replicas = "redis-a-follower-0", []string{"redis-a-leader-0"}
	shards, err := ShardsOf(inst, recorded)
	if err != nil {
		t.Fatal(err)
	}
	if shards[2].Slots.String() != "0-5460" || shards[2].Pods[0] != "redis-a-follower-0" || shards[2].Position == nil {
		t.Errorf("shard 2 is %+v: expected the slots of the record with the pods of now", shards[2])
	}
	// Slots that moved: the ordinals stay, a position of other slots does not.
	inst.Shards[0].Slots = topology.SlotSet{{From: 0, To: 5459}}
	inst.Shards[1].Slots = topology.SlotSet{{From: 5460, To: 10922}}
	shards, err = ShardsOf(inst, recorded)
	if err != nil {
		t.Fatal(err)
	}
	if shards[2].Slots.String() != "0-5459" || shards[2].Position != nil || shards[1].Slots.String() != "5460-10922" || shards[0].Slots.String() != recorded[0].Slots.String() {
		t.Errorf("after slots have moved: %+v", shards)
	}
	inst.Shards = inst.Shards[:2]
	if _, err := ShardsOf(inst, recorded); fault.ExitCode(err) != fault.CodeRefused || !strings.Contains(err.Error(), "2 shards now, the record has 3") {
		t.Errorf("fewer shards: %v", err)
	}
}

// Labels by which operators select pods and Services would draw our objects
// into their care.
func TestNoLabelOfAnOperator(t *testing.T) {
	forbidden := []string{
		"app", "role", "cluster", "redis_setup_type", "redis-role", "redisfailovers-role", "redis-failover",
		"app.kubernetes.io/component", "app.kubernetes.io/part-of", "app.kubernetes.io/instance",
		"redisfailovers.databases.spotahome.com/name", "statefulset.kubernetes.io/pod-name", "valkey.io/cluster",
	}
	for _, object := range objectsOf(t, testLink(t, clusterInstance(), sentinelInstance())) {
		labels := []map[string]string{object.GetLabels()}
		if pod, found, err := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels"); err != nil {
			t.Fatal(err)
		} else if found {
			labels = append(labels, pod)
		}
		for _, set := range labels {
			for _, key := range forbidden {
				if _, ok := set[key]; ok {
					t.Errorf("%s/%s has the label %s", object.GetKind(), object.GetName(), key)
				}
			}
			if set[pair.LabelManagedBy] != pair.ManagedBy || set[pair.LabelPair] != "dr1" || set[pair.LabelName] != "redis-sync" {
				t.Errorf("%s/%s lacks labels of ours: %v", object.GetKind(), object.GetName(), set)
			}
		}
	}
}

func TestPasswordsAreInSecretsOnly(t *testing.T) {
	l := testLink(t, clusterInstance(), sentinelInstance())
	l.Source.Password, l.Target.Password, l.Target.SentinelPassword = []byte("pass-source"), []byte("pass-target"), []byte("pass-sentinel")
	for _, object := range objectsOf(t, l) {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "pass-") {
			t.Errorf("%s/%s shows a password", object.GetKind(), object.GetName())
		}
	}
	file := syncFileOf(t, l, 0)
	if file.Source.PasswordFile == "" || file.Target.PasswordFile == "" || file.Target.SentinelPassFile == "" {
		t.Errorf("sync.toml does not name the files of the passwords: %+v", file)
	}
	l.Source.Password = nil
	if file := syncFileOf(t, l, 0); file.Source.PasswordFile != "" {
		t.Error("a source without a password has a password file")
	}
}

// A new password or another configuration replaces the pod; the digest must
// not help to guess a password.
func TestChecksum(t *testing.T) {
	sum := func(l Link) string {
		for _, object := range objectsOf(t, l) {
			if object.GetKind() == "Deployment" {
				text, _, err := unstructured.NestedString(object.Object, "spec", "template", "metadata", "annotations", manifests.ChecksumAnnotation)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
		}
		return ""
	}
	base := testLink(t, clusterInstance(), sentinelInstance())
	password, configuration, salt, unsalted := base, base, base, base
	password.Source.Password = []byte("new")
	configuration.Epoch = 2
	salt.Salts = map[int][]byte{0: []byte("other")}
	unsalted.Salts = nil
	seen := map[string]bool{sum(base): true}
	for name, l := range map[string]Link{"password": password, "configuration": configuration, "salt": salt} {
		if s := sum(l); seen[s] {
			t.Errorf("another %s gives the checksum of another pod", name)
		} else {
			seen[s] = true
		}
	}
	if got := sum(unsalted); got != manifests.Unsalted {
		t.Errorf("without a salt the checksum is %q", got)
	}
}
