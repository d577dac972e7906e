package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/redis-sync/kubectl-redis-sync/test/harness"
	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// badCase is one wrong input: apply must refuse it with the code, one error
// that names what the words say, and without having created anything.
type badCase struct {
	name   string
	code   int
	words  []string // all in the error
	change func(t *testing.T, s *scene) (undo func())
	pair   func(p *harness.Pair)
	args   []string
}

func badInput(t *testing.T, s *scene) {
	cases := []badCase{
		{
			name: "unknown instance", code: 10, words: []string{"redis-x", "site-a", "redis-a"},
			pair: func(p *harness.Pair) { p.Source.Instance = "redis-x" },
		},
		{name: "two kinds of the same name", code: 1, words: []string{"redis-a", "RedisCluster", "RedisFailover", "kind"}, change: secondKind},
		{name: "missing Secret", code: 12, words: []string{"redis-b-auth", "redis-b"}, change: withoutSecret},
		{name: "wrong password", code: 12, words: []string{"redis-b", "password"}, change: withPassword("wrong-password")},
		{name: "cluster with uncovered slots", code: 3, words: []string{"redis-a", "slot"}, change: uncoveredSlot},
		{name: "target is a replica", code: 3, words: []string{"redis-b", "replica"}, change: targetIsReplica},
		{name: "unreachable NodePort", code: 3, words: []string{"redis-a", "10.213."}, change: partition},
		{
			name: "no rights on the source", code: 12, words: []string{"site-a-noaccess"},
			pair: func(p *harness.Pair) { p.Source.Site = "site-a-noaccess" },
		},
		{
			name: "no rights on the target", code: 12, words: []string{"site-b-noaccess"},
			pair: func(p *harness.Pair) { p.Target.Site = "site-b-noaccess" },
		},
		{name: "target is the source", code: 3, words: []string{"redis-a"}, pair: func(p *harness.Pair) { p.Target = p.Source }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pair := s.pair
			if c.pair != nil {
				c.pair(&pair)
			}
			if c.change != nil {
				defer c.change(t, s)()
			}
			r := s.plugin(t, c.code, append(pair.Args("apply", "--yes", "--timeout", "1m"), c.args...)...)
			contains(t, r.Stderr, c.words...)
			if n := strings.Count("\n"+r.Stderr, "\nerror:"); n != 1 {
				t.Errorf("%d errors instead of one clear one", n)
			}
			if strings.Contains(r.Stderr, "goroutine ") || strings.Contains(r.Stderr, s.password(t)) {
				t.Error("the error holds a stack or a password")
			}
			s.nothingCreated(t)
		})
	}
	s.eventually(t, 3*time.Minute, "both instances are healthy again", func() bool {
		for _, p := range s.scenario.Placements {
			c, err := s.world.Cluster(p.Site)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			err = c.WaitReady(ctx, p)
			cancel()
			if err != nil {
				return false
			}
		}
		return true
	})
}

func (s *scene) password(t *testing.T) string {
	t.Helper()
	c := s.cluster(t, s.pair.Source)
	secret, err := c.Typed.CoreV1().Secrets(s.pair.Source.Namespace).Get(t.Context(), s.pair.Source.Instance+"-auth", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(secret.Data["password"])
}

func (s *scene) cluster(t *testing.T, p sites.Placement) *sites.Cluster {
	t.Helper()
	c, err := s.world.Cluster(p.Site)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// secondKind makes a RedisFailover with the name of the RedisCluster.
func secondKind(t *testing.T, s *scene) func() {
	c := s.cluster(t, s.pair.Source)
	remove, err := c.AddNamesake(t.Context(), s.pair.Source, s.pair.Target)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

func withoutSecret(t *testing.T, s *scene) func() {
	secrets := s.cluster(t, s.pair.Target).Typed.CoreV1().Secrets(s.pair.Target.Namespace)
	name := s.pair.Target.Instance + "-auth"
	secret, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		again := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: secret.Type, Data: secret.Data}
		if _, err := secrets.Create(context.WithoutCancel(t.Context()), again, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
}

func withPassword(password string) func(*testing.T, *scene) func() {
	return func(t *testing.T, s *scene) func() {
		secrets := s.cluster(t, s.pair.Target).Typed.CoreV1().Secrets(s.pair.Target.Namespace)
		name := s.pair.Target.Instance + "-auth"
		secret, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		right := secret.Data["password"]
		put := func(ctx context.Context, value []byte) {
			patch, err := json.Marshal(map[string]any{"data": map[string][]byte{"password": value}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := secrets.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		}
		put(t.Context(), []byte(password))
		return func() { put(context.WithoutCancel(t.Context()), right) }
	}
}

// uncoveredSlot takes one slot from its owner, on every node.
func uncoveredSlot(t *testing.T, s *scene) func() {
	const slot = "4242"
	masters, err := s.source.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owner := ""
	for _, m := range masters {
		for _, r := range m.Slots {
			if r[0] <= 4242 && 4242 <= r[1] {
				owner = m.Pod
			}
		}
	}
	pods, err := s.source.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		if _, err := s.source.Do(t.Context(), pod.Name, "CLUSTER", "DELSLOTS", slot); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if _, err := s.source.Do(context.WithoutCancel(t.Context()), owner, "CLUSTER", "ADDSLOTS", slot); err != nil {
			t.Error(err)
		}
	}
}

// targetIsReplica lets the master of the target follow another server, as it
// does while an operator bootstraps from elsewhere. Sentinel and the operator
// are kept from mending it meanwhile.
func targetIsReplica(t *testing.T, s *scene) func() {
	ctx := context.WithoutCancel(t.Context())
	if err := s.cluster(t, s.pair.Target).StopOperator(ctx); err != nil {
		t.Fatal(err)
	}
	patience := func(milliseconds string) {
		if err := s.target.Sentinels(ctx, "SENTINEL", "SET", "mymaster", "down-after-milliseconds", milliseconds); err != nil {
			t.Error(err)
		}
	}
	patience("600000")
	masters, err := s.target.Masters(ctx)
	if err != nil {
		t.Fatal(err)
	}
	master := masters[0].Pod
	pods, err := s.target.Pods(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		if pod.Name != master {
			if _, err := s.target.Do(ctx, master, "REPLICAOF", pod.Status.PodIP, "6379"); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	return func() {
		if _, err := s.target.Do(ctx, master, "REPLICAOF", "NO", "ONE"); err != nil {
			t.Error(err)
		}
		patience("5000")
		if err := s.cluster(t, s.pair.Target).StartOperator(ctx); err != nil {
			t.Error(err)
		}
	}
}

func partition(t *testing.T, s *scene) func() {
	cut := []string{s.pair.Source.Site, s.pair.Target.Site}
	if err := s.world.Cut(t.Context(), cut...); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := s.world.Restore(context.WithoutCancel(t.Context()), cut...); err != nil {
			t.Error(err)
		}
	}
}

// misspeltKey gives the replicator a file with a key that does not exist.
func misspeltKey(t *testing.T, s *scene) {
	program := filepath.Join(t.TempDir(), "redis-sync-sidecar")
	if _, err := s.world.Must(t.Context(), "go", "build", "-o", program, "./cmd/redis-sync-sidecar"); err != nil {
		t.Fatal(err)
	}
	for misspelt, right := range map[string]string{"adress": "address", "usernme": "username", "no_such_thing_at_all": ""} {
		file := filepath.Join(t.TempDir(), "sync.toml")
		body := fmt.Sprintf("type = \"sync\"\n[source]\n%s = \"127.0.0.1:1\"\n[target]\ntype = \"standalone\"\naddress = \"127.0.0.1:2\"\n", misspelt)
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.world.Run(t.Context(), program, file)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(r)
		if r.Code == 0 {
			t.Errorf("key %s: exit code 0", misspelt)
		}
		contains(t, r.Stdout+r.Stderr, misspelt, right)
	}
}
