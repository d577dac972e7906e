package preflight_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/preflight"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

func side(t *testing.T, s *testkube.Server, name string) preflight.Side {
	t.Helper()
	c, err := kube.New(s.Loader("ctx", "redis"), kube.Options{Site: name, Context: "ctx"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	inst, err := discovery.Discover(t.Context(), c, "redis", name, "")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := discovery.ReadCredentials(t.Context(), c, inst)
	if err != nil {
		t.Fatal(err)
	}
	return preflight.Side{Client: c, Site: name, Instance: inst, Credentials: cred}
}

func run(t *testing.T, in preflight.Input) preflight.Result {
	t.Helper()
	result, err := preflight.Run(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func wantError(t *testing.T, result preflight.Result, part string) {
	t.Helper()
	errs := topology.Errors(result.Findings)
	if len(errs) != 1 || !strings.Contains(errs[0].Message, part) {
		t.Errorf("got %+v, want one error with %q", result.Findings, part)
	}
}

func TestRun(t *testing.T) {
	a, b := testkube.New(t), testkube.New(t)
	cluster, failover := a.RunCluster(t), b.RunFailover(t)
	master := failover.Pods[1]
	for i := range 30 {
		cluster.Do(t, "SET", fmt.Sprintf("key:%d", i), "value")
	}
	in := preflight.Input{Pair: "dr", Source: side(t, a, "redis-a"), Target: side(t, b, "redis-b")}

	result := run(t, in)
	if len(result.Findings) != 0 {
		t.Errorf("healthy sites: %+v", result.Findings)
	}
	if result.Source.Keys != 30 || result.Target.Keys != 0 || result.Source.DatasetBytes <= 0 || result.Source.Version == "" || len(result.Source.Nodes) != 3 {
		t.Errorf("facts: %+v %+v", result.Source, result.Target)
	}

	t.Run("keys of ours do not count", func(t *testing.T) {
		master.Do(t, "SET", wire.FenceKey("dr"), "1")
		if result := run(t, in); len(result.Findings) != 0 || result.Target.OwnKeys != 1 {
			t.Errorf("got %+v", result)
		}
	})
	t.Run("a key of the user's does, in any database", func(t *testing.T) {
		master.Do(t, "EVAL", "redis.call('select', 4) redis.call('set', 'x', '1')", "0")
		wantError(t, run(t, in), "holds 1 keys")
		master.Do(t, "FLUSHALL")
	})
	t.Run("the write rate is measured", func(t *testing.T) {
		stop := make(chan struct{})
		var writers sync.WaitGroup
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					_, _ = cluster.Masters()[0].TryDo("SET", "{06S}key", strings.Repeat("x", 1000)) // slot 0
				}
			}
		})
		result := run(t, in)
		close(stop)
		writers.Wait()
		if result.Source.WriteRate < 10000 {
			t.Errorf("got %.0f bytes per second under constant writes", result.Source.WriteRate)
		}
	})
	t.Run("a user without PSYNC", func(t *testing.T) {
		for _, node := range cluster.Nodes {
			node.Do(t, "ACL", "SETUSER", "default", "-psync")
		}
		result := run(t, in)
		errs := topology.Errors(result.Findings)
		if len(errs) != 3 || !strings.Contains(errs[0].Message, `the user "default" may not run psync`) || errs[0].Site != "redis-a" {
			t.Errorf("got %+v", result.Findings)
		}
		for _, node := range cluster.Nodes {
			node.Do(t, "ACL", "SETUSER", "default", "+psync")
		}
	})
	t.Run("a user without our keys", func(t *testing.T) {
		for _, node := range cluster.Nodes {
			node.Do(t, "ACL", "SETUSER", "default", "resetkeys", "~app:*")
		}
		limited := in
		limited.Source.Reads = []string{wire.FenceKey("dr")}
		errs := topology.Errors(run(t, limited).Findings)
		if len(errs) != 3 || !strings.Contains(errs[0].Message, `the user "default" may not GET redis-sync:{dr}:epoch`) || errs[0].Site != "redis-a" ||
			errs[0].Remedy != "ACL SETUSER default +get ~redis-sync:*, on every data pod" {
			t.Errorf("got %+v", errs)
		}
		for _, node := range cluster.Nodes {
			node.Do(t, "ACL", "SETUSER", "default", "~*")
		}
		if errs := topology.Errors(run(t, limited).Findings); len(errs) != 0 {
			t.Errorf("with all keys: %+v", errs)
		}
	})
	t.Run("the source itself", func(t *testing.T) {
		wantError(t, run(t, preflight.Input{Pair: "dr", Source: in.Source, Target: side(t, a, "redis-a")}), "is the source itself")
	})
	t.Run("a replica of the source", func(t *testing.T) {
		// What a target looks like whose operator makes it follow the source.
		target := in.Target
		target.Instance.Shards = []topology.Shard{{Slots: topology.AllSlots(), Primary: "rfr-redis-b-0"}}
		source := in.Target
		source.Site = "redis-a"
		source.Instance.Name = "another"
		wantError(t, run(t, preflight.Input{Pair: "dr", Source: source, Target: target}), "shares its replication history")
	})
}

func TestProbeReach(t *testing.T) {
	b := testkube.New(t)
	b.RunFailover(t)
	target := side(t, b, "redis-b")
	endpoints := []preflight.Endpoint{
		{Site: "redis-a", Pod: "p-0", Host: "10.0.0.1", Port: 31000, ServiceExists: true},
		{Site: "redis-a", Pod: "p-1", Host: "10.0.0.1", Port: 31001, ServiceExists: false},
		{Site: "redis-a", Pod: "p-2", Host: "10.0.0.2", Port: 31002, ServiceExists: true},
	}
	answers := map[string]string{
		"31000": "NOAUTH Authentication required.",
		"31001": "Could not connect to Redis at 10.0.0.1:31001: Connection refused",
		"31002": "Could not connect to Redis at 10.0.0.2:31002: No route to host",
	}
	b.Exec = func(_, pod string, command []string) (string, string, int) {
		if pod != "rfr-redis-b-0" || command[0] != "redis-cli" || command[5] != "ping" {
			t.Errorf("unexpected command in %s: %v", pod, command)
		}
		return "", answers[command[4]], 1
	}
	findings, err := preflight.ProbeReach(t.Context(), target, endpoints)
	if err != nil || len(findings) != 1 || findings[0].Severity != topology.SeverityError ||
		findings[0].Message != "does not reach pod p-2 of site redis-a at 10.0.0.2:31002: No route to host" {
		t.Errorf("got %+v, %v", findings, err)
	}

	endpoints[1].ServiceExists = true
	if findings, _ = preflight.ProbeReach(t.Context(), target, endpoints); len(findings) != 2 {
		t.Errorf("a refusal of an existing Service: got %+v", findings)
	}

	b.Exec = func(_, _ string, command []string) (string, string, int) {
		return "", "sh: " + command[0] + ": not found", 127
	}
	if findings, err = preflight.ProbeReach(t.Context(), target, endpoints); err != nil || len(findings) != 1 || findings[0].Severity != topology.SeverityInfo {
		t.Errorf("without redis-cli: got %+v, %v", findings, err)
	}
	b.Deny("create", "pods/exec")
	if findings, err = preflight.ProbeReach(t.Context(), target, endpoints); err != nil || len(findings) != 1 ||
		findings[0].Severity != topology.SeverityInfo || !strings.Contains(findings[0].Message, "exec in pods is not allowed") {
		t.Errorf("without the permission: got %+v, %v", findings, err)
	}
}
