package plugin

import (
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// users are the ACLs of every pod of the target.
func (s *scene) users(t *testing.T) (lists []string) {
	t.Helper()
	for _, pod := range s.target.Pods {
		var lines []string
		for _, line := range pod.Do(t, "ACL", "LIST").([]any) {
			lines = append(lines, line.(string))
		}
		slices.Sort(lines)
		lists = append(lists, strings.Join(lines, "\n"))
	}
	return lists
}

// syncPassword is what the replicators log in with, as their Secret holds it.
func (s *scene) syncPassword(t *testing.T) string {
	t.Helper()
	secret := s.b.Object("/api/v1/namespaces/redis/secrets/dr1-to-redis-b-0")
	text, _, err := unstructured.NestedString(secret.Object, "data", "target-sync-password")
	if err != nil {
		t.Fatal(err)
	}
	password, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(password) == 0 {
		t.Fatalf("no password of the dedicated user: %v", err)
	}
	return string(password)
}

// protected checks every pod: its users may not write, the dedicated one may.
func (s *scene) protected(t *testing.T) {
	t.Helper()
	for i, pod := range s.target.Pods {
		if _, err := pod.TryDo("SET", "of an application", "1"); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("pod %d takes a write of an application: %v", i, err)
		}
		for _, user := range []string{"default", "app"} {
			if answer := pod.Do(t, "ACL", "DRYRUN", user, "FLUSHALL"); answer == "OK" {
				t.Errorf("pod %d: %s may write", i, user)
			}
			if answer := pod.Do(t, "ACL", "DRYRUN", user, "GET", "app:k"); answer != "OK" {
				t.Errorf("pod %d: %s may not read: %v", i, user, answer)
			}
		}
	}
	c, err := testredis.Dial(s.target.Pods[1].Addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, command := range [][]string{{"AUTH", wire.SyncUser, s.syncPassword(t)}, {"SET", "of a replicator", "1"}, {"DEL", "of a replicator"}} {
		if _, err := c.Do(command...); err != nil {
			t.Errorf("the dedicated user: %s: %v", command[0], err)
		}
	}
}

func TestStandbyIsProtected(t *testing.T) {
	s := newScene(t)
	s.control(t)
	for _, pod := range s.target.Pods {
		pod.Do(t, "ACL", "SETUSER", "app", "on", ">secret", "~app:*", "+@read", "+@list", "+set", "-lrem")
	}
	before, objects := s.users(t), s.objects()
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.protected(t)
	configMap := s.b.Object("/api/v1/namespaces/redis/configmaps/dr1-to-redis-b-0")
	if file, _, err := unstructured.NestedString(configMap.Object, "data", "sync.toml"); err != nil || !strings.Contains(file, `sync_username = "redis-sync"`) {
		t.Errorf("sync.toml does not name the dedicated user: %v\n%s", err, file)
	}
	run(t, "plan", "dr1", "--context", "site-b", "--detailed-exitcode").want(t, 0, "only redis-sync may write")
	if status := run(t, "status", "dr1", "--context", "site-b").want(t, 0); strings.Contains(status.out, "standby writable") {
		t.Errorf("status calls a protected standby writable:\n%s", status.out)
	}

	// A pod that is made anew has its configured users only; somebody gives a
	// user its rights back.
	s.target.Pods[0].Do(t, "ACL", "DELUSER", wire.SyncUser)
	s.target.Pods[0].Do(t, "ACL", "SETUSER", "default", "+@all")
	s.target.Pods[1].Do(t, "ACL", "SETUSER", "app", "+@list", "+set", "-lrem")
	run(t, "plan", "dr1", "--context", "site-b", "--detailed-exitcode").want(t, 2, "0 to create, 2 to change", "user app may write")
	password := s.syncPassword(t)
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	s.protected(t)
	if s.syncPassword(t) != password {
		t.Error("the password of the dedicated user changed")
	}

	// The fence is made as the one user that may write.
	s.target.Pods[1].Do(t, "ACL", "SETUSER", "default", "+del")
	s.target.Pods[1].Do(t, "DEL", wire.FenceKey("dr1"))
	run(t, "apply", "dr1", "--context", "site-b", "--yes").want(t, 0)
	if epoch := s.target.Pods[1].Do(t, "GET", wire.FenceKey("dr1")); epoch != "1" {
		t.Errorf("the fence holds %v", epoch)
	}
	s.protected(t)

	// By choice it ends, and begins again.
	text, err := os.ReadFile(s.pairFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, choice := range []string{`"none"`, `"acl"`} {
		changed := strings.Replace(string(text), `"preferredPrimary":`, `"protectStandby":`+choice+`,"preferredPrimary":`, 1)
		if err := os.WriteFile(s.pairFile, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
		run(t, "plan", "dr1", "-f", s.pairFile, "--detailed-exitcode").want(t, 0)
		if choice == `"none"` {
			if now := s.users(t); !slices.Equal(now, before) {
				t.Errorf("users after protectStandby: none:\n%v\nbefore:\n%v", now, before)
			}
			run(t, "status", "dr1", "--context", "site-b").want(t, 0, "standby writable, as chosen")
		} else {
			s.protected(t)
		}
	}

	run(t, "delete", "dr1", "--context", "site-b", "--yes").want(t, 0)
	if now := s.users(t); !slices.Equal(now, before) {
		t.Errorf("users after delete:\n%v\nbefore:\n%v", now, before)
	}
	if after := s.objects(); !slices.Equal(after, objects) {
		t.Errorf("objects after delete:\n%v\nbefore:\n%v", after, objects)
	}
}

// TestDeleteKeepsWhatUndoesTheProtection: while a pod does not answer, the
// Secret that remembers its users stays, and the next delete goes on.
func TestDeleteKeepsWhatUndoesTheProtection(t *testing.T) {
	s := newScene(t)
	s.control(t)
	before := s.users(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	const pod = "redis/rfr-redis-b-2:6379"
	address := s.b.Forward[pod]
	s.b.Forward[pod] = "127.0.0.1:1"
	run(t, "delete", "dr1", "--context", "site-b", "--yes").want(t, 6, pair.VaultName("dr1", "redis-b"), "users without @write")
	s.b.Forward[pod] = address
	run(t, "delete", "dr1", "--context", "site-b", "--yes").want(t, 0)
	if now := s.users(t); !slices.Equal(now, before) {
		t.Errorf("users after delete:\n%v\nbefore:\n%v", now, before)
	}
}

// TestServersWithoutACL: they are copied to without protection, unless it was
// asked for.
func TestServersWithoutACL(t *testing.T) {
	s := newScene(t)
	s.control(t)
	for _, pod := range s.target.Pods { // one whose own user may not change users
		pod.Do(t, "ACL", "SETUSER", "default", "-acl")
	}
	plan := run(t, "plan", "dr1", "-f", s.pairFile).want(t, 0, "standby writable")
	if strings.Contains(plan.out, "ACL/") {
		t.Errorf("the plan changes ACLs:\n%s", plan.out)
	}
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	run(t, "status", "dr1", "--context", "site-b").want(t, 0, "standby writable")
	text, err := os.ReadFile(s.pairFile)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `"preferredPrimary":`, `"protectStandby":"acl","preferredPrimary":`, 1)
	if err := os.WriteFile(s.pairFile, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 3, "standby writable")
}
