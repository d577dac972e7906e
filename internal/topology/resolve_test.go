package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	fixtureCluster  = "ot-v0.26.0-rediscluster-redis-a.yaml"
	fixtureFailover = "spotahome-v1.3.0-rc1-redisfailover-redis-b.yaml"
	fixtureNoGuard  = "saremox-v4.0.0-redisfailover-redis-b-no-sentinel.yaml"
)

func fixture(t *testing.T, file string) Instance {
	t.Helper()
	all := Detect(loadObjects(t, file))
	if len(all) != 1 {
		t.Fatalf("%s: found %d instances", file, len(all))
	}
	return all[0]
}

func wantFinding(t *testing.T, inst Instance, severity Severity, part string) {
	t.Helper()
	for _, f := range inst.Findings {
		if f.Severity == severity && strings.Contains(f.Object+" "+f.Message, part) {
			return
		}
	}
	t.Errorf("no %s with %q among %+v", severity, part, inst.Findings)
}

func TestHealthyClusterShards(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	inst = Resolve(inst, clusterAnswers(t, inst, readText(t, "cluster-nodes-redis-a-healthy.txt")))
	var got []string
	for _, s := range inst.Shards {
		got = append(got, fmt.Sprintf("%d %s %s %v", s.Index, s.Slots, s.Primary, s.Replicas))
	}
	want := "0 0-5460 redis-a-leader-0 [redis-a-follower-0]; " +
		"1 5461-10922 redis-a-leader-1 [redis-a-follower-1]; " +
		"2 10923-16383 redis-a-leader-2 [redis-a-follower-2]"
	if strings.Join(got, "; ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), want)
	}
	if len(inst.Findings) != 0 {
		t.Errorf("findings of a healthy cluster: %+v", inst.Findings)
	}
	if inst.Pod("redis-a-follower-2").NodeID != "a1b2c30000000000000000000000000000000507" || inst.Version != "7.0.15" {
		t.Errorf("node id or version missing: %+v %s", inst.Pods, inst.Version)
	}
}

func TestReshardIsRefused(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	inst = Resolve(inst, clusterAnswers(t, inst, readText(t, "cluster-nodes-redis-a-resharding.txt")))
	wantFinding(t, inst, SeverityError, "slots are being moved: 5460")
}

func TestUncoveredSlots(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	text := readText(t, "cluster-nodes-redis-a-healthy.txt")
	for name, change := range map[string][2]string{
		"gap":           {"connected 5461-10922", "connected 5461-10000 10002-10922"},
		"failed master": {"master - 0 1767600000000 3 connected", "master,fail - 0 1767600000000 3 disconnected"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(text, change[0]) {
				t.Fatalf("the fixture does not hold %q", change[0])
			}
			got := Resolve(inst, clusterAnswers(t, inst, strings.Replace(text, change[0], change[1], 1)))
			missing := map[string]string{"gap": "1 of 16384 slots have no working master: 10001", "failed master": "10923-16383"}[name]
			wantFinding(t, got, SeverityError, missing)
		})
	}
}

func TestMinorityViewIsOutvoted(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	answers := clusterAnswers(t, inst, readText(t, "cluster-nodes-redis-a-after-failover.txt"))
	old := clusterAnswers(t, inst, readText(t, "cluster-nodes-redis-a-healthy.txt"))
	answers.Pods["redis-a-leader-1"] = old.Pods["redis-a-leader-1"] // cut off, still believes that it is the master
	got := Resolve(inst, answers)
	if got.Shards[1].Primary != "redis-a-follower-1" {
		t.Errorf("shard 1: got %+v, want redis-a-follower-1", got.Shards[1])
	}
	wantFinding(t, got, SeverityWarning, "sees other slot owners than the majority")

	for _, pod := range []string{"redis-a-leader-0", "redis-a-leader-2"} {
		answers.Pods[pod] = old.Pods[pod]
	}
	got = Resolve(inst, answers) // three against three
	wantFinding(t, got, SeverityError, "no majority")
	if len(got.Shards) != 0 {
		t.Errorf("shards without a majority: %+v", got.Shards)
	}
}

// TestGossipLags: the others take a new replica for a master without slots
// until they have heard of it; it knows itself.
func TestGossipLags(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	text := readText(t, "cluster-nodes-redis-a-healthy.txt")
	const line = "slave a1b2c30000000000000000000000000000000107"
	if !strings.Contains(text, line) {
		t.Fatal("the fixture has changed")
	}
	answers := clusterAnswers(t, inst, strings.Replace(text, line, "master -", 1))
	fresh := clusterAnswers(t, inst, text)
	answers.Pods["redis-a-follower-1"] = fresh.Pods["redis-a-follower-1"]
	got := Resolve(inst, answers)
	if len(got.Findings) != 0 || fmt.Sprint(got.Shards[1].Replicas) != "[redis-a-follower-1]" || got.Pod("redis-a-follower-1").Role != RoleReplica {
		t.Errorf("got %+v, %+v", got.Shards[1], got.Findings)
	}
}

func TestMasterWithoutSlotsIsNoShard(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	answers := clusterAnswers(t, inst, readText(t, "cluster-nodes-redis-a-after-failover.txt"))
	answers.Pods["redis-a-leader-1"] = PodAnswer{
		RedisMode: "cluster", Replication: Replication{Role: RolePrimary},
		ClusterNodes: "ffff000000000000000000000000000000000001 10.244.2.12:6379@16379 myself,master - 0 0 0 connected",
	}
	got := Resolve(inst, answers)
	wantFinding(t, got, SeverityWarning, "redis-a-leader-1 is a master without slots")
	if len(got.Shards) != 3 || got.Shards[1].Primary != "redis-a-follower-1" || got.Pod("redis-a-leader-1").Role == RolePrimary {
		t.Errorf("got %+v %+v", got.Shards, got.Pods)
	}
}

func TestOneViewIsNotConfirmed(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	answers := clusterAnswers(t, inst, readText(t, "cluster-nodes-redis-a-healthy.txt"))
	for pod := range answers.Pods {
		if pod != "redis-a-leader-0" {
			answers.Pods[pod] = PodAnswer{Err: errors.New("timeout")}
		}
	}
	got := Resolve(inst, answers)
	wantFinding(t, got, SeverityWarning, "not confirmed by a second one")
	if len(got.Shards) != 3 {
		t.Errorf("got %d shards, want 3", len(got.Shards))
	}
}

func TestSentinelDisagreement(t *testing.T) {
	inst := fixture(t, fixtureFailover)
	answers := sentinelAnswers(inst, "rfr-redis-b-1")
	odd := inst.Sentinel.Pods[0]
	answers.Sentinels[odd] = SentinelAnswer{Host: inst.Pod("rfr-redis-b-2").IP, Port: 6379}
	got := Resolve(inst, answers)
	wantFinding(t, got, SeverityWarning, "disagree")
	if len(got.Shards) != 1 || got.Shards[0].Primary != "rfr-redis-b-1" {
		t.Errorf("two of three Sentinels decide: got %+v", got.Shards)
	}

	answers.Sentinels[inst.Sentinel.Pods[1]] = SentinelAnswer{Host: "10.9.9.9", Port: 6379}
	got = Resolve(inst, answers)
	wantFinding(t, got, SeverityError, "no majority of its 3 Sentinels")

	// One Sentinel of three is no majority, even if nobody contradicts.
	for _, s := range inst.Sentinel.Pods[:2] {
		answers.Sentinels[s] = SentinelAnswer{Err: errors.New("timeout")}
	}
	got = Resolve(inst, answers)
	wantFinding(t, got, SeverityError, "no majority of its 3 Sentinels")
}

func TestSentinelNamesReplica(t *testing.T) {
	inst := fixture(t, fixtureFailover)
	answers := sentinelAnswers(inst, "rfr-redis-b-1")
	for _, s := range inst.Sentinel.Pods {
		answers.Sentinels[s] = SentinelAnswer{Host: inst.Pod("rfr-redis-b-0").IP, Port: 6379}
	}
	got := Resolve(inst, answers)
	wantFinding(t, got, SeverityError, "calls itself a replica")

	for _, s := range inst.Sentinel.Pods {
		answers.Sentinels[s] = SentinelAnswer{Host: "10.9.9.9", Port: 6379}
	}
	got = Resolve(inst, answers)
	wantFinding(t, got, SeverityError, "none of its pods")
}

func TestReplicationNeedsOneMaster(t *testing.T) {
	inst := fixture(t, fixtureNoGuard)
	answers := sentinelAnswers(inst, "rfr-redis-b-1")
	two := answers.Pods["rfr-redis-b-0"]
	two.Replication = Replication{Role: RolePrimary}
	answers.Pods["rfr-redis-b-0"] = two
	wantFinding(t, Resolve(inst, answers), SeverityError, "2 of its pods say they are the master: rfr-redis-b-0, rfr-redis-b-1")

	for pod, a := range answers.Pods {
		a.Replication = Replication{Role: RoleReplica, MasterHost: "10.9.9.9", MasterPort: 6379}
		answers.Pods[pod] = a
	}
	got := Resolve(inst, answers)
	wantFinding(t, got, SeverityError, "they replicate from 10.9.9.9:6379")
	if len(got.Shards) != 0 {
		t.Errorf("shards without a master: %+v", got.Shards)
	}
}

func TestForeignReplicaIsNoted(t *testing.T) {
	inst := fixture(t, fixtureFailover)
	answers := sentinelAnswers(inst, "rfr-redis-b-1")
	master := answers.Pods["rfr-redis-b-1"]
	master.Replication.Replicas = []ReplicaOfRole{{Host: "10.244.1.80", Port: 6379}, {Host: "192.168.10.11", Port: 0}}
	answers.Pods["rfr-redis-b-1"] = master
	got := Resolve(inst, answers)
	wantFinding(t, got, SeverityInfo, "192.168.10.11:0")
	if len(got.Findings) != 1 {
		t.Errorf("findings: %+v, want the foreign replica alone", got.Findings)
	}
}

func TestModeContradiction(t *testing.T) {
	inst := fixture(t, fixtureFailover)
	answers := sentinelAnswers(inst, "rfr-redis-b-1")
	a := answers.Pods["rfr-redis-b-0"]
	a.RedisMode = "cluster"
	answers.Pods["rfr-redis-b-0"] = a
	wantFinding(t, Resolve(inst, answers), SeverityError, "its objects say mode sentinel, but rfr-redis-b-0 runs in mode cluster")
}

func TestNobodyAnswers(t *testing.T) {
	inst := fixture(t, fixtureFailover)
	answers := sentinelAnswers(inst, "rfr-redis-b-1")
	for pod := range answers.Pods {
		answers.Pods[pod] = PodAnswer{Err: errors.New("timeout")}
	}
	wantFinding(t, Resolve(inst, answers), SeverityError, "none of its 3 data pods answers")
}

func TestFind(t *testing.T) {
	a := loadObjects(t, fixtureCluster)
	b := loadObjects(t, "ot-v0.26.0-redisreplication-redissentinel-redis-b.yaml")
	c := loadObjects(t, fixtureFailover)
	objs := Objects{
		StatefulSets: append(append(a.StatefulSets, b.StatefulSets...), c.StatefulSets...),
		Pods:         append(append(a.Pods, b.Pods...), c.Pods...),
		Services:     append(append(a.Services, b.Services...), c.Services...),
	}
	all := Detect(objs)

	_, err := Find(all, "redis", "redis-x", "")
	var missing *NotFoundError
	if !errors.As(err, &missing) || missing.ExitCode() != 10 ||
		!strings.Contains(err.Error(), "RedisCluster/redis-a, RedisFailover/redis-b, RedisReplication/redis-b") {
		t.Errorf("unknown instance: got %v", err)
	}
	_, err = Find(all, "elsewhere", "redis-a", "")
	if err == nil || !strings.Contains(err.Error(), "it holds no Redis instance") {
		t.Errorf("unknown namespace: got %v", err)
	}
	_, err = Find(all, "redis", "redis-b", "")
	var twice *AmbiguousError
	if !errors.As(err, &twice) || !strings.Contains(err.Error(), "RedisFailover/redis-b, RedisReplication/redis-b") ||
		!strings.Contains(twice.Remedy(), "RedisFailover/redis-b") {
		t.Errorf("two kinds: got %v", err)
	}
	inst, err := Find(all, "redis", "redis-b", "redisfailover")
	if err != nil || inst.Kind != "RedisFailover" {
		t.Errorf("with the kind: got %v %v", inst.Kind, err)
	}
	inst, err = Find(all, "redis", "redis-a-leader", "")
	if err != nil || inst.Name != "redis-a" {
		t.Errorf("by the name of a StatefulSet: got %v %v", inst.Name, err)
	}
}

// TestRedisSentinelElsewhere: a RedisSentinel of another name is found
// through its resource; one that watches somebody else is not taken.
func TestRedisSentinelElsewhere(t *testing.T) {
	objs := loadObjects(t, "ot-v0.26.0-redisreplication-redissentinel-redis-b.yaml")
	for _, u := range objs.Custom {
		if u.GetKind() == "RedisSentinel" {
			if err := unstructured.SetNestedField(u.Object, "another", "spec", "redisSentinelConfig", "redisReplicationName"); err != nil {
				t.Fatal(err)
			}
		}
	}
	inst, err := Find(Detect(objs), "redis", "redis-b", "")
	if err != nil || inst.Mode != ModeReplication || inst.Sentinel != nil {
		t.Errorf("got mode %s, sentinel %+v, %v; want replication", inst.Mode, inst.Sentinel, err)
	}
}

// TestStrangersNodePort: a node port of a Service that the operator did not
// make is not taken for the instance's own.
func TestStrangersNodePort(t *testing.T) {
	objs := loadObjects(t, "ot-v0.26.0-rediscluster-redis-a-nodeport.yaml")
	for n := range objs.Services {
		if objs.Services[n].Name == "redis-a-leader-1" {
			objs.Services[n].OwnerReferences = nil
		}
	}
	inst := Detect(objs)[0]
	if inst.Pod("redis-a-leader-0").NodePort != 31000 || inst.Pod("redis-a-leader-1").NodePort != 0 {
		t.Errorf("got %+v", inst.Pods)
	}
}

// TestBitnamiMasterAndReplicas: a chart's two StatefulSets are one instance.
func TestBitnamiMasterAndReplicas(t *testing.T) {
	objs := loadObjects(t, "bitnami-redis-sentinel-redis-d.yaml")
	base := objs.StatefulSets[0]
	objs.StatefulSets, objs.Pods, objs.Services = nil, nil, objs.Services[:1]
	for _, component := range []string{"master", "replicas"} {
		s := *base.DeepCopy()
		s.Name = "redis-d-" + component
		s.Spec.Template.Labels["app.kubernetes.io/component"] = strings.TrimSuffix(component, "s")
		s.Spec.Template.Spec.Containers = s.Spec.Template.Spec.Containers[:1]
		one := int32(1)
		s.Spec.Replicas = &one
		objs.StatefulSets = append(objs.StatefulSets, s)
	}
	objs.Services[0].Name = "redis-d-master"
	objs.Services[0].Spec.Selector["app.kubernetes.io/component"] = "master"
	inst, err := Find(Detect(objs), "redis", "redis-d", "")
	if err != nil {
		t.Fatal(err)
	}
	if inst.Mode != ModeReplication || len(inst.StatefulSets) != 2 || inst.WriteService != "redis-d-master" || inst.MasterOnlyService != "" {
		t.Errorf("got %+v", inst)
	}
}

func TestParseClusterNodes(t *testing.T) {
	for name, test := range map[string]struct {
		line  string
		check func(ClusterNode) bool
	}{
		"3.x without bus port": {"id1 127.0.0.1:7000 myself,master - 0 0 1 connected 0-5 7", func(n ClusterNode) bool {
			return n.Host == "127.0.0.1" && n.Port == 7000 && n.Slots.String() == "0-5,7" && n.Has("myself")
		}},
		"7.2 with shard id and no hostname": {"id1 10.0.0.1:6379@16379,,shard-id=ab master - 0 0 3 connected 0-1", func(n ClusterNode) bool {
			return n.Hostname == "" && n.Host == "10.0.0.1"
		}},
		"7.2 with both": {"id1 10.0.0.1:6379@16379,pod-0.svc,shard-id=ab slave id2 0 0 3 connected", func(n ClusterNode) bool {
			return n.Hostname == "pod-0.svc" && n.Master == "id2"
		}},
		"IPv6": {"id1 fd00::1:6379@16379 master - 0 0 3 connected", func(n ClusterNode) bool {
			return n.Host == "fd00::1" && n.Port == 6379
		}},
		"no address": {"id1 :0@0 master,noaddr - 1 1 3 disconnected", func(n ClusterNode) bool {
			return n.Host == "" && n.Has("noaddr") && !n.usable() && !n.LinkUp
		}},
		"moving slots": {"id1 1.2.3.4:1@2 master - 0 0 3 connected 0-1 [1->-id2] [7-<-id3]", func(n ClusterNode) bool {
			return n.Migrating[1] == "id2" && n.Importing[7] == "id3" && n.Slots.Count() == 2
		}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, err := ParseClusterNodes(test.line + "\r\n")
			if err != nil || len(nodes) != 1 || !test.check(nodes[0]) {
				t.Errorf("got %+v, %v", nodes, err)
			}
		})
	}
	for _, bad := range []string{
		"", "id1 127.0.0.1:7000 master - 0 0", "id1 127.0.0.1 master - 0 0 1 connected",
		"id1 127.0.0.1:7000 master - 0 0 x connected", "id1 127.0.0.1:7000 master - 0 0 1 connected 0-99999",
		"id1 127.0.0.1:7000 master - 0 0 1 connected [a->-b]", "id1 127.0.0.1:7000 master - 0 0 1 connected [5]",
	} {
		if nodes, err := ParseClusterNodes(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, nodes)
		}
	}
}

func FuzzParseClusterNodes(f *testing.F) {
	f.Add("a1 10.0.0.1:6379@16379,h myself,master - 0 0 1 connected 0-5460 [5->-b2]")
	f.Fuzz(func(t *testing.T, text string) {
		nodes, err := ParseClusterNodes(text)
		if err == nil && len(nodes) == 0 {
			t.Error("no nodes and no error")
		}
		for _, n := range nodes {
			if back, err := ParseSlots(n.Slots.String()); err != nil || back.String() != n.Slots.String() {
				t.Errorf("slots %q do not read back: %q %v", n.Slots, back, err)
			}
		}
	})
}

func TestKeySlot(t *testing.T) {
	// Values of CLUSTER KEYSLOT of a server.
	for key, slot := range map[string]int{
		"": 0, "foo": 12182, "{user1000}.following": 3443, "foo{}{bar}": 8363, "foo{{bar}}zap": 4015, "123456789": 12739,
	} {
		if got := KeySlot(key); got != slot {
			t.Errorf("slot of %q: got %d, want %d", key, got, slot)
		}
	}
}
