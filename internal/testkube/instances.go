package testkube

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// Passwords in the Secrets of the fixtures.
const (
	ClusterPassword  = "3wPxzWffdn" //nolint:gosec // of a fixture
	FailoverPassword = "3wPxzasd"   //nolint:gosec // of a fixture
)

// AddCluster puts the objects of RedisCluster redis/redis-a into the server.
func (s *Server) AddCluster(t testing.TB) {
	t.Helper()
	s.AddNamespace(t, "redis")
	s.AddYAML(t, fixture(t, "ot-v0.26.0-rediscluster-redis-a.yaml"))
}

// AddStandalone puts the objects of Redis redis/redis-c into the server.
func (s *Server) AddStandalone(t testing.TB) {
	t.Helper()
	s.AddNamespace(t, "redis")
	s.AddYAML(t, fixture(t, "ot-v0.26.0-redis-standalone-redis-c.yaml"))
}

// fixture finds a file of recorded objects from this file's own place: tests
// run in their package's folder.
func fixture(t testing.TB, name string) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("the binary does not know its source files")
	}
	return filepath.Join(filepath.Dir(here), "..", "topology", "testdata", name)
}

// RunCluster puts the objects of RedisCluster redis/redis-a into the server,
// and six real servers behind its pods: 3 leaders with a follower each.
func (s *Server) RunCluster(t testing.TB) *testredis.Cluster {
	t.Helper()
	c := testredis.StartCluster(t, 3, 1, "--requirepass", ClusterPassword)
	s.AddCluster(t)
	for i := range 3 {
		s.Forward[fmt.Sprintf("redis/redis-a-leader-%d:6379", i)] = c.Masters()[i].Addr
		s.Forward[fmt.Sprintf("redis/redis-a-follower-%d:6379", i)] = c.Replicas(i)[0].Addr
	}
	return c
}

// Failover is a running RedisFailover.
type Failover struct {
	Pods      []*testredis.Server // behind rfr-redis-b-0, -1, -2; the second is the master
	Sentinels []*testredis.Server
}

// SentinelPods are the Sentinel pods of the fixture, in the order of
// Failover.Sentinels.
var SentinelPods = []string{"rfs-redis-b-7cd5d4998-6dk5l", "rfs-redis-b-7cd5d4998-hgx8z", "rfs-redis-b-7cd5d4998-q2w7m"}

// RunFailover puts the objects of RedisFailover redis/redis-b into the server,
// and three real servers with three Sentinels behind its pods. The pods get
// loopback addresses of their own, so that what Sentinel says can be told.
func (s *Server) RunFailover(t testing.TB) *Failover {
	t.Helper()
	s.AddNamespace(t, "redis")
	s.AddYAML(t, fixture(t, "spotahome-v1.3.0-rc1-redisfailover-redis-b.yaml"))
	f := &Failover{Pods: make([]*testredis.Server, 3)}
	address := func(i int) string { return fmt.Sprintf("127.0.0.%d", i+11) }
	bind := func(i int) []string {
		return []string{
			"--bind", "127.0.0.1 " + address(i), "--replica-announce-ip", address(i),
			"--requirepass", FailoverPassword, "--masterauth", FailoverPassword,
		}
	}
	f.Pods[1] = testredis.Start(t, bind(1)...)
	f.Pods[0] = testredis.StartReplica(t, f.Pods[1], bind(0)...)
	f.Pods[2] = testredis.StartReplica(t, f.Pods[1], bind(2)...)
	for i, pod := range f.Pods {
		name := "rfr-redis-b-" + strconv.Itoa(i)
		s.Forward["redis/"+name+":6379"] = pod.Addr
		s.edit(t, "/api/v1/namespaces/redis/pods/"+name, func(u *unstructured.Unstructured) error {
			return unstructured.SetNestedField(u.Object, address(i), "status", "podIP")
		})
	}
	for i, name := range SentinelPods {
		sentinel := testredis.StartSentinel(t, f.Pods[1], "first")
		sentinel.Do(t, "SENTINEL", "REMOVE", "first")
		sentinel.Do(t, "SENTINEL", "MONITOR", "mymaster", address(1), strconv.Itoa(f.Pods[1].Port), "1")
		sentinel.Do(t, "SENTINEL", "SET", "mymaster", "auth-pass", FailoverPassword)
		f.Sentinels = append(f.Sentinels, sentinel)
		if s.Object("/api/v1/namespaces/redis/pods/"+name) == nil {
			t.Fatalf("the fixture has no pod %s", name)
		}
		s.Forward["redis/"+SentinelPods[i]+":26379"] = sentinel.Addr
	}
	return f
}

// Edit changes a stored object.
func (s *Server) Edit(t testing.TB, path string, change func(*unstructured.Unstructured)) {
	t.Helper()
	s.edit(t, path, func(u *unstructured.Unstructured) error {
		change(u)
		return nil
	})
}

func (s *Server) edit(t testing.TB, path string, change func(*unstructured.Unstructured) error) {
	t.Helper()
	u := s.Object(path)
	if u == nil {
		t.Fatalf("no object at %s", path)
	}
	if err := change(u); err != nil {
		t.Fatal(err)
	}
	s.Add(t, u)
}

// Remove takes an object out of the server.
func (s *Server) Remove(t testing.TB, path string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[path] == nil {
		t.Fatalf("no object at %s", path)
	}
	delete(s.objects, path)
}
