package discovery_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

const secretPath = "/api/v1/namespaces/redis/secrets/redis-a-auth"

func client(t *testing.T, s *testkube.Server) *kube.Client {
	t.Helper()
	c, err := kube.New(s.Loader("ctx-a", "redis"), kube.Options{Site: "redis-a", Context: "ctx-a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func discover(t *testing.T, s *testkube.Server, name string) topology.Instance {
	t.Helper()
	inst, err := discovery.Discover(t.Context(), client(t, s), "redis", name, "")
	if err != nil {
		t.Fatal(err)
	}
	return inst
}

func setPassword(t *testing.T, s *testkube.Server, password string) {
	t.Helper()
	s.Edit(t, secretPath, func(u *unstructured.Unstructured) {
		u.Object["data"] = map[string]any{"password": base64.StdEncoding.EncodeToString([]byte(password))}
	})
}

// TestClusterAfterFailover: a follower takes over, the labels stay behind.
func TestClusterAfterFailover(t *testing.T) {
	s := testkube.New(t)
	cluster := s.RunCluster(t)
	inst := discover(t, s, "redis-a")
	if got := strings.Join(inst.PrimaryPods(), " "); got != "redis-a-leader-0 redis-a-leader-1 redis-a-leader-2" {
		t.Fatalf("primaries: %s; findings %+v", got, inst.Findings)
	}
	if len(inst.Findings) != 0 || inst.Version == "" || inst.Shards[1].Slots.String() != "5461-10921" ||
		strings.Join(inst.Shards[1].Replicas, " ") != "redis-a-follower-1" {
		t.Errorf("got %+v", inst)
	}

	cluster.Failover(t, cluster.Replicas(1)[0])
	testredis.Eventually(t, 20*time.Second, "the follower is seen as the primary by all", func() bool {
		inst = discover(t, s, "redis-a")
		return len(topology.Errors(inst.Findings)) == 0 && len(inst.Shards) == 3 && inst.Shards[1].Primary == "redis-a-follower-1"
	})
	stale := inst.StalePods()
	if len(stale) != 2 || stale[0].Name != "redis-a-follower-1" || stale[1].Name != "redis-a-leader-1" {
		t.Errorf("stale labels: %+v", stale)
	}
}

func TestFailoverFollowsSentinel(t *testing.T) {
	s := testkube.New(t)
	f := s.RunFailover(t)
	inst := discover(t, s, "redis-b")
	if len(inst.Shards) != 1 || inst.Shards[0].Primary != "rfr-redis-b-1" || len(inst.Shards[0].Replicas) != 2 || len(inst.Findings) != 0 {
		t.Fatalf("got %+v, %+v", inst.Shards, inst.Findings)
	}
	if inst.Mode != topology.ModeSentinel || inst.WriteAddress == "" || inst.Sentinel.Address == "" {
		t.Errorf("got %+v", inst)
	}

	// A pod that has gone over to being a master on its own does not count.
	f.Pods[2].Do(t, "REPLICAOF", "NO", "ONE")
	inst = discover(t, s, "redis-b")
	if len(inst.Shards) != 1 || inst.Shards[0].Primary != "rfr-redis-b-1" {
		t.Errorf("got %+v", inst.Shards)
	}

	// Without a majority of Sentinels nothing is certain.
	f.Sentinels[0].Kill()
	f.Sentinels[1].Kill()
	inst = discover(t, s, "redis-b")
	if errs := topology.Errors(inst.Findings); len(errs) == 0 || !strings.Contains(errs[0].Message, "no majority of its 3 Sentinels") {
		t.Errorf("got %+v", inst.Findings)
	}
}

func TestWhatCannotBeExamined(t *testing.T) {
	s := testkube.New(t)
	s.RunCluster(t)
	for name, test := range map[string]struct {
		change func(*testkube.Server)
		ns, at string
		code   int
		says   []string
	}{
		"unknown instance": {nil, "redis", "redis-x", 10, []string{`no Redis instance "redis-x" in namespace redis`, "RedisCluster/redis-a"}},
		"unknown kind":     {nil, "redis", "RedisFailover/redis-a", 10, []string{`no RedisFailover "redis-a"`}},
		"no namespace":     {nil, "nope", "redis-a", 10, []string{"there is no such namespace"}},
		"no Secret": {
			func(s *testkube.Server) { s.Remove(t, secretPath) }, "redis", "redis-a", 12,
			[]string{"RedisCluster redis/redis-a", "secret redis/redis-a-auth", "does not exist"},
		},
		"no key": {func(s *testkube.Server) {
			s.Edit(t, secretPath, func(u *unstructured.Unstructured) { u.Object["data"] = map[string]any{"pass": "eA=="} })
		}, "redis", "redis-a", 12, []string{`no key "password", it has pass`}},
		"wrong password": {
			func(s *testkube.Server) { setPassword(t, s, "not-this-one") }, "redis", "redis-a", 12,
			[]string{"authenticate at RedisCluster redis/redis-a", `secret redis/redis-a-auth, key "password"`, "WRONGPASS"},
		},
		"Secret forbidden": {
			func(s *testkube.Server) { s.Deny("get", "secrets") }, "redis", "redis-a", 12,
			[]string{"secret redis/redis-a-auth", "may not be read"},
		},
		"pods forbidden": {func(s *testkube.Server) { s.Deny("list", "pods") }, "redis", "redis-a", 12, []string{"list pods in namespace redis"}},
		"port-forward forbidden": {
			func(s *testkube.Server) { s.Deny("create", "pods/portforward") }, "redis", "redis-a", 12,
			[]string{"pods/portforward"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fresh := testkube.New(t)
			fresh.Forward = s.Forward
			fresh.AddCluster(t)
			if test.change != nil {
				test.change(fresh)
			}
			kind, name, ok := strings.Cut(test.at, "/")
			if !ok {
				kind, name = "", test.at
			}
			_, err := discovery.Discover(t.Context(), client(t, fresh), test.ns, name, kind)
			if err == nil || fault.ExitCode(err) != test.code {
				t.Fatalf("got exit code %d (%v), want %d", fault.ExitCode(err), err, test.code)
			}
			for _, part := range append(test.says, `site redis-a (context "ctx-a")`) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			if fault.Remedy(err) == "" {
				t.Errorf("no remedy for: %v", err)
			}
			if strings.Contains(err.Error(), "not-this-one") || strings.Contains(err.Error(), testkube.ClusterPassword) {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

// TestSilentPods: pods that do not answer are findings, not errors.
func TestSilentPods(t *testing.T) {
	s := testkube.New(t)
	s.RunCluster(t)
	delete(s.Forward, "redis/redis-a-follower-0:6379")
	inst := discover(t, s, "redis-a")
	if len(inst.Shards) != 3 || len(topology.Errors(inst.Findings)) != 0 || len(inst.Findings) != 1 ||
		!strings.Contains(inst.Findings[0].Message, "connection refused") {
		t.Errorf("got %+v", inst.Findings)
	}
	s.Forward = map[string]string{}
	inst = discover(t, s, "redis-a")
	if errs := topology.Errors(inst.Findings); len(errs) != 1 || !strings.Contains(errs[0].Message, "none of its 6 data pods answers") {
		t.Errorf("got %+v", inst.Findings)
	}
}

// TestListKeepsGoing: one broken instance does not hide the others.
func TestListKeepsGoing(t *testing.T) {
	s := testkube.New(t)
	s.RunCluster(t)
	s.RunFailover(t)
	s.Remove(t, "/api/v1/namespaces/redis/secrets/redis-b-auth")
	list, err := discovery.List(t.Context(), client(t, s), "")
	if err != nil || len(list) != 2 {
		t.Fatalf("got %d instances, %v", len(list), err)
	}
	if len(list[0].Shards) != 3 || len(list[0].Findings) != 0 {
		t.Errorf("redis-a: %+v", list[0])
	}
	if errs := topology.Errors(list[1].Findings); len(errs) != 1 || !strings.Contains(errs[0].Message, "redis-b-auth") || errs[0].Remedy == "" {
		t.Errorf("redis-b: %+v", list[1].Findings)
	}
}

func TestCredentials(t *testing.T) {
	s := testkube.New(t)
	s.RunCluster(t)
	inst := discover(t, s, "redis-a")
	for _, held := range []string{testkube.ClusterPassword, testkube.ClusterPassword + "\n"} {
		setPassword(t, s, held)
		cred, err := discovery.ReadCredentials(t.Context(), client(t, s), inst)
		if err != nil || cred.Password != testkube.ClusterPassword || cred.Username != "" {
			t.Errorf("with %q: got %+v, %v", held, cred, err)
		}
	}
	if inst := discover(t, s, "redis-a"); len(inst.Findings) != 0 { // still with the line end
		t.Errorf("got %+v", inst.Findings)
	}
	var missing *discovery.CredentialError
	s.Remove(t, secretPath)
	if _, err := discovery.ReadCredentials(t.Context(), client(t, s), inst); !errors.As(err, &missing) || missing.ExitCode() != 12 {
		t.Errorf("got %v", err)
	}
}

func TestSession(t *testing.T) {
	s := testkube.New(t)
	cluster := s.RunCluster(t)
	c := client(t, s)
	inst := discover(t, s, "redis-a")
	session := discovery.Open(c, inst, discovery.Credentials{Password: testkube.ClusterPassword})
	defer session.Close()
	for _, key := range []string{"foo", "{user1000}.following", "bar", "a"} {
		server, err := session.ForKey(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		// A server that does not hold the slot would answer MOVED.
		if _, err := server.Do(t.Context(), "SET", key, "1"); err != nil {
			t.Errorf("key %q: %v", key, err)
		}
	}
	first, err := session.Primary(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	id, err := first.ClusterMyID(t.Context())
	if err != nil || id != cluster.Masters()[0].Do(t, "CLUSTER", "MYID").(string) {
		t.Errorf("primary of shard 0: %s %v", id, err)
	}
	if again, err := session.Pod(t.Context(), "redis-a-leader-0"); err != nil || again != first {
		t.Errorf("the connection is not kept: %v", err)
	}
	for _, bad := range []func() error{
		func() error { _, err := session.Pod(t.Context(), "other-0"); return err },
		func() error { _, err := session.Primary(t.Context(), 3); return err },
	} {
		if err := bad(); err == nil || !strings.Contains(err.Error(), "RedisCluster redis/redis-a has no") {
			t.Errorf("got %v", err)
		}
	}
}

// TestSessionOutlivesRestart: a pod that came back is reached again.
func TestSessionOutlivesRestart(t *testing.T) {
	s := testkube.New(t)
	f := s.RunFailover(t)
	inst := discover(t, s, "redis-b")
	session := discovery.Open(client(t, s), inst, discovery.Credentials{Password: testkube.FailoverPassword})
	defer session.Close()
	for range 2 {
		server, err := session.Pod(t.Context(), "rfr-redis-b-2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Role(t.Context()); err != nil {
			t.Error(err)
		}
		f.Pods[2].Restart(t)
	}
	f.Pods[2].Kill()
	if _, err := session.Pod(t.Context(), "rfr-redis-b-2"); err == nil {
		t.Error("a stopped server is reached")
	}
}
