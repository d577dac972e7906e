package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"
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

// TestStrangers: a node at an unknown address may be the pod that does not
// answer; with every pod accounted for, it is a stranger.
func TestStrangers(t *testing.T) {
	inst := fixture(t, fixtureCluster)
	text := readText(t, "cluster-nodes-redis-a-healthy-v6.txt")
	answers := clusterAnswers(t, inst, text)
	for pod, a := range answers.Pods {
		a.ClusterNodes = strings.ReplaceAll(a.ClusterNodes, "10.244.1.14:6379", "10.9.9.9:6379")
		answers.Pods[pod] = a
	}
	if got := Resolve(inst, answers); len(got.Findings) != 0 {
		t.Errorf("the pod itself told its id: got %+v", got.Findings)
	}
	answers.Pods["redis-a-follower-0"] = PodAnswer{Err: errors.New("timeout")}
	if got := Resolve(inst, answers); len(got.Findings) != 1 {
		t.Errorf("the pod is silent: got %+v", got.Findings)
	}
	for pod, a := range answers.Pods {
		a.ClusterNodes += "\nffff000000000000000000000000000000000001 10.9.9.8:6379@16379 slave a1b2c30000000000000000000000000000000007 0 0 1 connected"
		answers.Pods[pod] = a
	}
	wantFinding(t, Resolve(inst, answers), SeverityWarning, "node ffff0000 at 10.9.9.8:6379 is none of its pods")
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
