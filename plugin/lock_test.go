package plugin

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
)

// TestLockOfAPair: a command that finds another at work says who it is and
// does nothing; unlock removes the lock of a dead one.
func TestLockOfAPair(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	run(t, "unlock", "dr1", "--context", "site-b").want(t, 0, "nobody holds the lock")
	client, err := kube.New(s.a.Loader("site-a", "redis"), kube.Options{Site: "redis-a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	lock, err := client.Lock(t.Context(), kube.LockOptions{Namespace: "redis", Name: "redis-sync-dr1", Holder: "failover 1a2b by kim"})
	if err != nil {
		t.Fatal(err)
	}
	lock.Keep(t.Context())
	for _, verb := range [][]string{{"pause", "dr1"}, {"delete", "dr1", "--yes"}} {
		run(t, append(verb, "--context", "site-b")...).want(t, fault.CodeLocked, "failover 1a2b by kim", "since 20", "kubectl redis-sync unlock")
	}
	for _, path := range s.b.Paths() {
		if strings.Contains(path, "/leases/") {
			t.Errorf("%s is left behind by a refused command", path)
		}
	}
	run(t, "unlock", "dr1", "--context", "site-b").want(t, fault.CodeRefused, "failover 1a2b by kim", "add --yes")
	run(t, "unlock", "dr1", "--context", "site-b", "--yes").want(t, 0, "is removed")
	<-lock.Lost()
	run(t, "delete", "dr1", "--context", "site-b", "--yes").want(t, 0)
	for _, server := range []interface{ Paths() []string }{s.a, s.b} {
		if slices.ContainsFunc(server.Paths(), func(p string) bool { return strings.Contains(p, "/leases/") }) {
			t.Errorf("a lease is left: %v", server.Paths())
		}
	}
}

// TestEvents: who looks at the record sees what was done, and by whom; who may
// not write Events does without.
func TestEvents(t *testing.T) {
	s := newScene(t)
	s.control(t)
	s.a.Deny("create", "events")
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	found := false
	for _, path := range s.b.Paths() {
		if event := s.b.Object(path); strings.Contains(path, "/events/") {
			message, _ := event.Object["message"].(string)
			found = found || strings.HasPrefix(message, "InSync: in sync (apply ")
		}
	}
	if !found {
		t.Errorf("no event of the apply among %v", s.b.Paths())
	}
}
