package guard_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// scene is one instance behind an API server, opened as a site.
type scene struct {
	api  *testkube.Server
	kube *kube.Client
	site *guard.Site
	pods map[string]*testredis.Server // by name
}

func sentinel(t *testing.T) *scene {
	t.Helper()
	api := testkube.New(t)
	failover := api.RunFailover(t)
	s := &scene{api: api, pods: map[string]*testredis.Server{}}
	for i, pod := range failover.Pods {
		s.pods[fmt.Sprintf("rfr-redis-b-%d", i)] = pod
	}
	s.open(t, "redis-b")
	return s
}

func cluster(t *testing.T) *scene {
	t.Helper()
	api := testkube.New(t)
	c := api.RunCluster(t)
	s := &scene{api: api, pods: map[string]*testredis.Server{}}
	for i := range 3 {
		s.pods[fmt.Sprintf("redis-a-leader-%d", i)] = c.Masters()[i]
		s.pods[fmt.Sprintf("redis-a-follower-%d", i)] = c.Replicas(i)[0]
	}
	s.open(t, "redis-a")
	return s
}

// open discovers the instance and opens it with a vault.
func (s *scene) open(t *testing.T, name string) {
	t.Helper()
	client, err := kube.New(s.api.Loader("site", "redis"), kube.Options{Site: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.kube = client
	inst, err := discovery.Discover(t.Context(), client, "redis", name, "")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := discovery.ReadCredentials(t.Context(), client, inst)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := guard.OpenVault(t.Context(), client, "redis", "redis-sync-p."+name,
		map[string]string{kube.LabelManagedBy: kube.ManagedBy, kube.LabelPair: "p"})
	if err != nil {
		t.Fatal(err)
	}
	s.site = guard.Open(discovery.Open(client, inst, cred), guard.Options{Pair: "p", Vault: vault})
	t.Cleanup(func() { _ = s.site.Close() })
}

func (s *scene) observe(t *testing.T) guard.State {
	t.Helper()
	state, err := s.site.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func (s *scene) master(t *testing.T) *testredis.Server {
	t.Helper()
	return s.pods[s.observe(t).Holder]
}

func both(t *testing.T, f func(*testing.T, *scene)) {
	t.Helper()
	t.Run("sentinel", func(t *testing.T) { f(t, sentinel(t)) })
	t.Run("cluster", func(t *testing.T) { f(t, cluster(t)) })
}

func TestObserve(t *testing.T) {
	both(t, func(t *testing.T, s *scene) {
		state := s.observe(t)
		shards := 1
		if len(s.pods) == 6 {
			shards = 3
		}
		if len(state.Pods) != len(s.pods) || len(state.Shards) != shards || state.Fence != 0 || state.WritesClosed || state.Protected {
			t.Errorf("got %+v", state)
		}
		for _, p := range state.Pods {
			if p.Err != nil || p.RunID == "" || p.ReplID == "" || p.Role == "" || !p.Ready {
				t.Errorf("pod %+v", p)
			}
		}
		slots := 0
		for _, shard := range state.Shards {
			slots += shard.Slots.Count()
		}
		if slots != 16384 {
			t.Errorf("the masters have %d slots", slots)
		}
		// A pod that is gone is part of the state.
		var replica string
		for _, p := range state.Pods {
			if p.Role == "replica" {
				replica = p.Pod
			}
		}
		s.pods[replica].Kill()
		state = s.observe(t)
		if p := state.Pod(replica); p.Err == nil || len(state.Shards) != shards {
			t.Errorf("after the end of %s: %+v", replica, p)
		}
	})
}

// TestTwoMasters: a restarted old master says that it is one until Sentinel
// demotes it; until then nobody knows where to write.
func TestTwoMasters(t *testing.T) {
	s := sentinel(t)
	s.pods["rfr-redis-b-0"].Do(t, "REPLICAOF", "NO", "ONE")
	if _, err := s.site.Observe(t.Context()); err == nil || !strings.Contains(err.Error(), "both say") {
		t.Errorf("two masters: %v", err)
	}
}

func TestWindow(t *testing.T) {
	both(t, func(t *testing.T, s *scene) {
		ctx := t.Context()
		var names []string
		for name := range s.pods {
			names = append(names, name)
		}
		slices.Sort(names)
		s.pods[names[0]].Do(t, "CONFIG", "SET", "min-replicas-to-write", "1")
		s.pods[names[1]].Do(t, "CONFIG", "SET", "min-replicas-max-lag", "0")
		first, err := s.site.ReadWindow(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.observe(t).WritesClosed {
			t.Error("reading closed the writes")
		}
		closed, err := s.site.CloseWrites(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // again, with what a record brought back and without it
			text, err := json.Marshal(closed)
			if err != nil {
				t.Fatal(err)
			}
			remembered := &guard.Window{}
			if err := json.Unmarshal(text, remembered); err != nil {
				t.Fatal(err)
			}
			if closed, err = s.site.CloseWrites(ctx, remembered); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(first, closed) || first.Pods[names[0]].Replicas != "1" || first.Pods[names[1]].MaxLag != "0" {
			t.Errorf("to undo: %+v, then %+v", first, closed)
		}
		if !s.observe(t).WritesClosed {
			t.Error("the writes are not closed")
		}
		for name, pod := range s.pods {
			_, err := pod.TryDo("EVAL", "return redis.call('set', KEYS[1], 'v')", "1", "{p}k")
			if err == nil || !strings.Contains(err.Error(), "NOREPLICAS") && !strings.Contains(err.Error(), "READONLY") && !strings.Contains(err.Error(), "MOVED") {
				t.Errorf("pod %s: a script: %v", name, err)
			}
		}
		if _, err := s.master(t).TryDo("SET", "{p}k", "v"); err == nil || !strings.Contains(err.Error(), "NOREPLICAS") {
			t.Errorf("a write: %v", err)
		}
		// One pod is made anew meanwhile.
		s.pods[names[2]].Do(t, "CONFIG", "SET", "min-replicas-to-write", "0")
		if s.observe(t).WritesClosed {
			t.Error("one pod takes writes, and the writes are called closed")
		}
		for range 2 {
			if err := s.site.OpenWrites(ctx, closed); err != nil {
				t.Fatal(err)
			}
		}
		after, err := s.site.ReadWindow(ctx)
		if err != nil || !reflect.DeepEqual(first, after) {
			t.Errorf("before %+v, after %+v, %v", first, after, err)
		}
		// Without anything remembered the defaults are what counts.
		if _, err := s.site.CloseWrites(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.site.OpenWrites(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if v := s.pods[names[0]].Do(t, "CONFIG", "GET", "min-replicas-to-write").([]any)[1]; v != "0" {
			t.Errorf("min-replicas-to-write is %v", v)
		}
	})
}

// TestWindowOfTheOperator: what a custom resource sets, its operator sets
// again.
func TestWindowOfTheOperator(t *testing.T) {
	s := sentinel(t)
	s.api.Edit(t, "/apis/databases.spotahome.com/v1/namespaces/redis/redisfailovers/redis-b", func(u *unstructured.Unstructured) {
		if err := unstructured.SetNestedStringSlice(u.Object, []string{"maxmemory 0", "min-replicas-to-write 1"}, "spec", "redis", "customConfig"); err != nil {
			t.Fatal(err)
		}
	})
	for name, call := range map[string]func() error{
		"read":  func() error { _, err := s.site.ReadWindow(t.Context()); return err },
		"close": func() error { _, err := s.site.CloseWrites(t.Context(), nil); return err },
	} {
		if err := call(); fault.ExitCode(err) != fault.CodeRefused || !strings.Contains(err.Error(), "min-replicas-to-write 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.observe(t).WritesClosed {
		t.Error("refused, and yet the writes are closed")
	}
}

// TestServersWithoutAFile: where the undo has to reach the file of a server,
// one that runs without a file has nothing to undo there.
func TestServersWithoutAFile(t *testing.T) {
	s := sentinel(t)
	w, err := s.site.CloseWrites(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.site.OpenWrites(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if s.observe(t).WritesClosed {
		t.Error("the writes are still closed")
	}
}

func TestRaiseFence(t *testing.T) {
	both(t, func(t *testing.T, s *scene) {
		ctx := t.Context()
		if err := s.site.Protect(ctx); err != nil { // as on a standby
			t.Fatal(err)
		}
		if state := s.observe(t); !state.Protected {
			t.Fatalf("not protected: %s", state.ProtectWhy)
		}
		old, later, other := s.connect(t, wire.ConnName("p", 0, 1, "1:aa")), s.connect(t, wire.ConnName("p", 7, 3, "1:bb")), s.connect(t, wire.ConnName("q", 0, 1, "1:cc"))
		for range 2 {
			if err := s.site.RaiseFence(ctx, 3); err != nil {
				t.Fatal(err)
			}
		}
		if state := s.observe(t); state.Fence != 3 {
			t.Errorf("the fence is at %d", state.Fence)
		}
		for pod, c := range old {
			if _, err := c.Do("PING"); err == nil {
				t.Errorf("pod %s: a connection of an older epoch lives on", pod)
			}
		}
		for name, list := range map[string]map[string]*testredis.Client{"this epoch": later, "another pair": other} {
			for pod, c := range list {
				if _, err := c.Do("PING"); err != nil {
					t.Errorf("pod %s: the connection of %s ended: %v", pod, name, err)
				}
			}
		}
		err := s.site.RaiseFence(ctx, 2)
		if fault.ExitCode(err) != fault.CodeRefused || !strings.Contains(err.Error(), "epoch 3") {
			t.Errorf("a lower epoch: %v", err)
		}
		if state := s.observe(t); state.Fence != 3 {
			t.Errorf("the fence is at %d", state.Fence)
		}
		if _, err := s.site.Unprotect(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.site.RaiseFence(ctx, 4); err != nil { // and without protection
			t.Fatal(err)
		}
	})
}

// connect makes a named connection to every pod.
func (s *scene) connect(t *testing.T, name string) map[string]*testredis.Client {
	t.Helper()
	list := map[string]*testredis.Client{}
	for pod, server := range s.pods {
		c, err := testredis.Dial(server.Addr, server.Password)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Do("CLIENT", "SETNAME", name); err != nil {
			t.Fatal(err)
		}
		list[pod] = c
	}
	return list
}

// TestFenceNeedsAReplica: a fence that the next failover would lose is none.
func TestFenceNeedsAReplica(t *testing.T) {
	s := sentinel(t)
	state := s.observe(t)
	for _, p := range state.Pods {
		if p.Pod != state.Holder {
			s.pods[p.Pod].Signal(t, syscall.SIGSTOP)
			t.Cleanup(func() { s.pods[p.Pod].Signal(t, syscall.SIGCONT) })
		}
	}
	if err := s.site.RaiseFence(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "no replica confirmed") {
		t.Errorf("no replica answers: %v", err)
	}
}

// TestKeepFence: servers that keep their data in snapshots come back with the
// fence that stood when they were told to keep it.
func TestKeepFence(t *testing.T) {
	s := sentinel(t)
	ctx := t.Context()
	if err := s.site.RaiseFence(ctx, 1); err != nil {
		t.Fatal(err)
	}
	holder := s.master(t)
	last := map[string]any{}
	for pod, server := range s.pods {
		server.Do(t, "SAVE")
		if server != holder {
			server.Do(t, "CONFIG", "SET", "save", "900 1")
			last[pod] = server.Do(t, "LASTSAVE")
		}
	}
	time.Sleep(time.Second) // LASTSAVE counts in seconds
	if err := s.site.RaiseFence(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.site.KeepFence(ctx); err != nil {
		t.Fatal(err)
	}
	for pod, before := range last {
		testredis.Eventually(t, 30*time.Second, "a snapshot of "+pod, func() bool { return s.pods[pod].Do(t, "LASTSAVE") != before })
	}
	if info := holder.Do(t, "INFO", "persistence").(string); !strings.Contains(info, "rdb_saves:1\r\n") {
		t.Errorf("a server that keeps no snapshots was made to write one: %s", info)
	}
	for pod := range last {
		server := s.pods[pod]
		server.Kill()
		server.Restart(t, "--replicaof", "no one")
		if got := server.Do(t, "GET", wire.FenceKey("p")); got != "2" {
			t.Errorf("pod %s came back with the fence at %v", pod, got)
		}
	}
}

func TestCheckpoints(t *testing.T) {
	both(t, func(t *testing.T, s *scene) {
		ctx := t.Context()
		list := []guard.NewCheckpoint{{ReplID: strings.Repeat("a", 40), Offset: 7, DB: 3, Slots: "0-99"}, {ReplID: strings.Repeat("b", 40), Offset: 9, Slots: "100-16383"}}
		if err := s.site.WriteCheckpoints(ctx, 2, list); err == nil {
			t.Error("written without a fence")
		}
		if err := s.site.Protect(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.site.RaiseFence(ctx, 2); err != nil {
			t.Fatal(err)
		}
		if err := s.site.WriteCheckpoints(ctx, 2, list); err != nil {
			t.Fatal(err)
		}
		// A replicator of this epoch has moved on: it is not set back.
		list[0].Offset = 1
		if err := s.site.WriteCheckpoints(ctx, 2, list); err != nil {
			t.Fatal(err)
		}
		got, err := s.site.Checkpoints(ctx, 3)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Epoch != 2 || got[0].Offset != 7 || got[0].DB != 3 || got[0].State != wire.CkptStateStream || got[1].ReplID != list[1].ReplID || got[2].Epoch != 0 {
			t.Errorf("got %+v", got)
		}
		if err := s.site.CarryCheckpoints(ctx, 2, 2, 3); err == nil {
			t.Error("carried without the fence")
		}
		if err := s.site.RaiseFence(ctx, 3); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.site.CarryCheckpoints(ctx, 2, 2, 3); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.site.CarryCheckpoints(ctx, 3, 2, 3); err == nil {
			t.Error("carried a checkpoint that is not there")
		}
		if got, err = s.site.Checkpoints(ctx, 2); err != nil || got[0].Epoch != 3 || got[0].Offset != 7 {
			t.Errorf("carried %+v, %v", got, err)
		}
		if err := s.site.DropCheckpoints(ctx, 2); err != nil {
			t.Fatal(err)
		}
		if got, err = s.site.Checkpoints(ctx, 2); err != nil || got[0].Epoch != 0 {
			t.Errorf("dropped %+v, %v", got, err)
		}
	})
}

func TestPositions(t *testing.T) {
	both(t, func(t *testing.T, s *scene) {
		if err := s.site.Protect(t.Context()); err != nil {
			t.Fatal(err)
		}
		var positions []guard.Position
		testredis.Eventually(t, 30*time.Second, "positions", func() bool { // a PING to the replicas may come in between
			var err error
			positions, err = s.site.Positions(t.Context())
			return err == nil
		})
		state := s.observe(t)
		if len(positions) != len(state.Shards) {
			t.Fatalf("%d positions", len(positions))
		}
		for i, p := range positions {
			if !p.Resumable || p.ReplID != state.Shards[i].ReplID || p.Pod != state.Shards[i].Pod || p.Offset > state.Shards[i].Offset {
				t.Errorf("position %+v of %+v", p, state.Shards[i])
			}
		}
	})
}
