package preflight

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// world is a pair of instances that can be copied without a remark.
func world() (Input, Facts, Facts) {
	in := Input{
		Pair:   "dr",
		Source: Side{Site: "redis-a", Instance: topology.Instance{Namespace: "redis", Name: "redis-a", Kind: "RedisCluster", Mode: topology.ModeCluster}},
		Target: Side{Site: "redis-b", Instance: topology.Instance{Namespace: "redis", Name: "redis-b", Kind: "RedisFailover", Mode: topology.ModeSentinel}},
	}
	for n, pod := range []string{"a-0", "a-1"} {
		in.Source.Instance.Shards = append(in.Source.Instance.Shards, topology.Shard{Index: n, Primary: pod})
	}
	in.Target.Instance.Shards = []topology.Shard{{Primary: "b-0"}}
	node := func(pod string) NodeFacts {
		return NodeFacts{
			Pod: pod, Version: parseVersion("7.0.15"), RunID: "run-" + pod, ReplID: "repl-" + pod,
			Rate: 1000, DatasetBytes: 100 * mib, Backlog: 16 * mib, DatabasesLimit: 16,
			Output: outputLimit{Hard: 256 * mib, Soft: 64 * mib, Seconds: 60}, Policy: "noeviction",
		}
	}
	source := Facts{DatasetBytes: 200 * mib, Keys: 1000, Databases: map[int]int64{0: 1000}, Nodes: []NodeFacts{node("a-0"), node("a-1")}}
	target := Facts{UsedMemory: 2 * mib, DatasetBytes: mib, Databases: map[int]int64{}, Nodes: []NodeFacts{node("b-0")}}
	return in, source, target
}

// pureChecks runs all checks that need no server.
func pureChecks(t *testing.T, in Input, source, target Facts) []topology.Finding {
	t.Helper()
	var out []topology.Finding
	for _, check := range checks(in, &Result{Source: source, Target: target}) {
		if check.Name == "identity" || check.Name == "reachability" {
			continue
		}
		findings, err := check.Run(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", check.Name, err)
		}
		out = append(out, findings...)
	}
	return append(out, sameServers(in, source, target)...)
}

func TestChecks(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(in *Input, s, t *Facts)
		severity topology.Severity // "" = no finding at all
		site     string
		says     string // in the message
		remedy   string // in the remedy
	}{
		"nothing wrong": {func(*Input, *Facts, *Facts) {}, "", "", "", ""},
		"a side has no primary": {
			func(in *Input, _, _ *Facts) { in.Target.Instance.Shards = nil },
			"error", "redis-b", "its primary is not known", "discover",
		},
		"findings of discovery": {func(in *Input, _, _ *Facts) {
			in.Source.Instance.Findings = []topology.Finding{{Severity: "error", Object: "x", Message: "slots uncovered"}}
		}, "error", "redis-a", "slots uncovered", ""},
		"the same server": {
			func(_ *Input, s, tg *Facts) { tg.Nodes[0].RunID = s.Nodes[1].RunID },
			"error", "redis-b", "is the same server as pod a-1", "two different instances",
		},
		"replica of the source": {
			func(_ *Input, s, tg *Facts) { tg.Nodes[0].ReplID = s.Nodes[0].ReplID },
			"error", "redis-b", "shares its replication history with pod a-0", "REPLICAOF NO ONE",
		},
		"another pair writes": {
			func(_ *Input, _, tg *Facts) { tg.Nodes[0].Writers = []string{"dr", "old"} },
			"error", "redis-b", `another pair, "old"`, "delete or pause",
		},
		"only our own pair writes": {func(_ *Input, _, tg *Facts) { tg.Nodes[0].Writers = []string{"dr"} }, "", "", "", ""},
		"no permission": {
			func(_ *Input, s, _ *Facts) { s.Nodes[0].User, s.Nodes[0].Denied = "app", []string{"psync", "role"} },
			"error", "redis-a", `the user "app" may not run psync, role`, "ACL SETUSER app +psync +role",
		},
		"our key may not be read": {
			func(_ *Input, s, _ *Facts) {
				s.Nodes[0].User, s.Nodes[0].Unread = "app", []string{"redis-sync:{dr}:epoch"}
			},
			"error", "redis-a", `the user "app" may not GET redis-sync:{dr}:epoch`, "ACL SETUSER app +get ~redis-sync:*",
		},
		"configuration hidden": {
			func(_ *Input, s, _ *Facts) { s.Nodes[0].ConfigRefused = "renamed" },
			"info", "redis-a", "not checked: renamed", "",
		},
		"older target": {
			func(_ *Input, _, tg *Facts) { tg.Nodes[0].Version = parseVersion("6.2.6") },
			"warning", "redis-b", "runs 6.2.6, the source 7.0.15", "upgrade the target",
		},
		"newer target": {func(_ *Input, _, tg *Facts) { tg.Nodes[0].Version = parseVersion("8.0.2") }, "", "", "", ""},
		"Valkey target of an old Redis": {
			func(_ *Input, _, tg *Facts) { tg.Nodes[0].Version = parseVersion("valkey 8.1.1") },
			"", "", "", "",
		},
		"Valkey target of a new Redis": {func(_ *Input, s, tg *Facts) {
			s.Nodes[0].Version, tg.Nodes[0].Version = parseVersion("8.0.2"), parseVersion("valkey 9.1.2")
		}, "warning", "redis-b", "runs valkey 9.1.2, the source 8.0.2", ""},
		"source without PSYNC": {
			func(_ *Input, s, _ *Facts) { s.Nodes[0].Version = parseVersion("2.6.17") },
			"error", "redis-a", "no PSYNC", "upgrade",
		},
		"other databases into a cluster": {func(in *Input, s, _ *Facts) {
			in.Target.Instance.Mode = topology.ModeCluster
			s.Databases = map[int]int64{0: 1, 3: 2}
		}, "error", "redis-b", "keys in database 0, 3", "database 0"},
		"other databases into Sentinel": {func(_ *Input, s, _ *Facts) { s.Databases = map[int]int64{0: 1, 3: 2} }, "", "", "", ""},
		"too few databases": {
			func(_ *Input, s, _ *Facts) { s.Databases = map[int]int64{16: 2} },
			"error", "redis-b", "has 16 databases", "at least 17",
		},
		"missing module": {
			func(_ *Input, s, _ *Facts) { s.Nodes[0].Modules = []string{"ReJSON", "bf"} },
			"warning", "redis-b", "ReJSON, bf", "",
		},
		"not empty, not chosen": {func(_ *Input, _, tg *Facts) { tg.Keys = 7 }, "error", "redis-b", "holds 7 keys", "--stale-keys=prune"},
		"not empty, prune":      {func(in *Input, _, tg *Facts) { tg.Keys, in.StaleKeys = 7, "prune" }, "warning", "redis-b", "will be removed", ""},
		"not empty, keep":       {func(in *Input, _, tg *Facts) { tg.Keys, in.StaleKeys = 7, "keep" }, "warning", "redis-b", "will stay", ""},
		"not empty, our copy":   {func(in *Input, _, tg *Facts) { tg.Keys, in.Established = 7, true }, "", "", "", ""},
		"too few replicas": {
			func(_ *Input, _, tg *Facts) { tg.Nodes[0].MinReplicas, tg.Nodes[0].GoodReplicas = 2, 1 },
			"error", "redis-b", "min-replicas-to-write is 2, and 1 replicas are good", "",
		},
		"too little memory": {
			func(_ *Input, _, tg *Facts) { tg.Nodes[0].MaxMemory = 100 * mib },
			"error", "redis-b", "has 100 MiB of maxmemory in all, but the data of the source take 200 MiB", "maxmemory to 256 MiB",
		},
		"little memory": {func(_ *Input, _, tg *Facts) { tg.Nodes[0].MaxMemory = 210 * mib }, "warning", "redis-b", "little more than the 200 MiB", ""},
		"evicting target": {
			func(_ *Input, _, tg *Facts) { tg.Nodes[0].MaxMemory, tg.Nodes[0].Policy = 900*mib, "allkeys-lru" },
			"warning", "redis-b", "allkeys-lru", `CONFIG SET maxmemory-policy noeviction on every data pod; to keep it, add "maxmemory-policy noeviction" to spec.redis.customConfig`,
		},
		"evicting without a limit": {func(_ *Input, _, tg *Facts) { tg.Nodes[0].Policy = "allkeys-lru" }, "", "", "", ""},
		"short backlog": {
			func(_ *Input, s, _ *Facts) { s.Nodes[1].Rate = 100 << 10 },
			"warning", "redis-a", "backlog of 16 MiB holds 3m of the present writes (100 KiB/s)", `CONFIG SET repl-backlog-size 64mb on every data pod; to keep it, add "repl-backlog-size 64mb" to spec.redisConfig.dynamicConfig`,
		},
		"small output buffer": {
			func(_ *Input, s, _ *Facts) {
				s.Nodes[0].Backlog, s.Nodes[0].DatasetBytes, s.Nodes[0].Rate = 1<<40, 10<<30, mib
			}, "warning", "redis-a", "limited to 256 MiB (64 MiB for 60 s), but about 512 MiB are written while 10 GiB of data are copied",
			`CONFIG SET client-output-buffer-limit "replica 1073741824 536870912 60"`,
		},
		"output buffer without a limit": {func(_ *Input, s, _ *Facts) {
			s.Nodes[0].Backlog, s.Nodes[0].DatasetBytes, s.Nodes[0].Rate, s.Nodes[0].Output = 1<<40, 10<<30, mib, outputLimit{}
		}, "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in, source, target := world()
			test.change(&in, &source, &target)
			got := pureChecks(t, in, source, target)
			if test.severity == "" {
				if len(got) != 0 {
					t.Errorf("got %+v, want none", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("got %d findings, want 1: %+v", len(got), got)
			}
			f := got[0]
			if f.Severity != test.severity || f.Site != test.site || !strings.Contains(f.Message, test.says) || !strings.Contains(f.Remedy, test.remedy) {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	for text, rdb := range map[string]int{
		"5.0.14": 9, "6.0.16": 9, "6.2.6": 9, "7.0.15": 10, "7.2.4": 11, "7.4.1": 12, "8.0.2": 12,
		"valkey 7.2.5": 11, "valkey 8.1.1": 11, "valkey 9.1.2": 80, "": 0, "unstable": 0,
	} {
		if got := parseVersion(text).rdb(); got != rdb {
			t.Errorf("%q: got RDB version %d, want %d", text, got, rdb)
		}
	}
	if parseVersion("valkey 9.1.2").reads(parseVersion("7.4.1")) || !parseVersion("valkey 9.1.2").reads(parseVersion("7.2.4")) {
		t.Error("Valkey reads Redis up to 7.2 and not beyond")
	}
}

func TestParseOutputLimit(t *testing.T) {
	for text, want := range map[string]outputLimit{
		"normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60": {268435456, 67108864, 60},
		"normal 0 0 0 replica 1 2 3":                                          {1, 2, 3},
		"normal 0 0 0":                                                        {},
		"slave 1 2":                                                           {},
		"":                                                                    {},
	} {
		if got := parseOutputLimit(text); got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	other := errors.New("the container is not running")
	for name, test := range map[string]struct {
		text string
		err  error
		want outcome
		says string
		fail bool
	}{
		"answer":          {"PONG\n", nil, outcomeAnswers, "", false},
		"password":        {"\nNOAUTH Authentication required.\n", nil, outcomeAnswers, "", false},
		"TLS server":      {"\nError: Server closed the connection\n", errors.New("exit code 1"), outcomeAnswers, "", false},
		"refused":         {"\nCould not connect to Redis at 10.0.0.1:31000: Connection refused\n", errors.New("exit code 1"), outcomeRefused, "", false},
		"no route":        {"\nCould not connect to Redis at 10.0.0.1:31000: No route to host\n", errors.New("exit code 1"), outcomeSilent, "No route to host", false},
		"unknown name":    {"\nCould not connect to Redis at x:1: Name or service not known\n", errors.New("exit code 1"), outcomeSilent, "Name or service not known", false},
		"silence":         {"\n", context.DeadlineExceeded, outcomeSilent, "no answer within 3s", false},
		"exec impossible": {"", other, 0, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, says, err := judge(test.text, test.err)
			if got != test.want || says != test.says || (err != nil) != test.fail {
				t.Errorf("got %v %q %v", got, says, err)
			}
		})
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		size(900): "900 B", size(20 << 10): "20 KiB", size(64 * mib): "64 MiB", size(12 << 30): "12 GiB",
		short(10 * time.Minute): "10m", short(90 * time.Second): "2m", short(1500 * time.Millisecond): "2s", short(20 * time.Millisecond): "20ms",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if roundUp(1) != mib || roundUp(mib+1) != 2*mib {
		t.Error("roundUp")
	}
}
