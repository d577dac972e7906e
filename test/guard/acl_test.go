package guard

import (
	"context"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/test/servers"
)

const password = "only-replicators-know"

// users that a server may have, by what they may run.
var users = [][]string{
	{"all", "on", ">pw", "~*", "+@all"},
	{"app", "on", ">pw", "~app:*", "+@read", "+@list", "+set", "+eval", "+ping", "-lrem"},
	{"ops", "on", ">pw", "~*", "+@all", "-@dangerous", "-keys"},
	{"reader", "on", ">pw", "~*", "+@read", "+ping"},
	{"pinger", "on", ">pw", "+ping"},
}

// selectors, since 7.0.
var selective = []string{"selective", "on", ">pw", "~a:*", "+get", "+ping", "(~b:* +set +get)", "(~c:* +@all)"}

// writes are tried by every user. Each would change something, by itself or
// inside of a script.
var writes = [][]string{
	{"SET", "app:k", "v"},
	{"SET", "b:k", "v"},
	{"DEL", "c:k"},
	{"FLUSHALL"},
	{"FLUSHDB"},
	{"RPUSH", "app:l", "v"},
	{"SORT", "app:l", "STORE", "app:m"},
	{"RESTORE", "app:r", "0", "x"},
	{"MIGRATE", "127.0.0.1", "1", "app:k", "0", "1"},
	{"SWAPDB", "0", "1"},
	{"PEXPIRE", "app:k", "1"},
	{"XREADGROUP", "GROUP", "g", "c", "STREAMS", "app:x", ">"},
	{"EVAL", "return redis.call('set', KEYS[1], 'v')", "1", "app:k"},
	{"EVAL", "return redis.call('flushall')", "0"},
	{"FUNCTION", "FLUSH"},
	{"COPY", "app:k", "app:m"},
}

// reads go on: those of applications, of probes, of Sentinel and of operators.
var reads = [][]string{
	{"GET", "app:k"},
	{"INFO"},
	{"PING"},
	{"ROLE"},
	{"CONFIG", "GET", "maxmemory"},
	{"CONFIG", "SET", "repl-timeout", "60"},
	{"PUBLISH", "__sentinel__:hello", "x"},
	{"CLIENT", "LIST"},
	{"REPLICAOF", "NO", "ONE"},
	{"MULTI"},
	{"EXEC"},
}

func TestProtection(t *testing.T) {
	for _, name := range servers.Names() {
		t.Run(name, func(t *testing.T) {
			release := servers.Get(t, name)
			server := release.Start(t)
			list := users
			if !strings.HasPrefix(name, "redis-6") {
				list = append(list[:len(list):len(list)], selective)
			}
			for _, u := range list {
				server.Do(t, append([]string{"ACL", "SETUSER"}, u...)...)
			}
			server.Do(t, "SET", "app:k", "v")
			admin := open(t, server, "", "")
			before := rules(t, admin)
			served := denials(t, server, list)

			remembered := map[string]redisx.UserRules{}
			for range 2 { // the second time there is nothing to do
				remembered = protect(t, admin, remembered)
			}
			for _, u := range append(list, []string{"default"}) {
				for _, command := range writes {
					if answer := run(t, server, u[0], command); !refused(answer) {
						t.Errorf("user %s: %v is not refused: %v", u[0], command, answer)
					}
				}
			}
			for _, command := range reads {
				if answer := run(t, server, "default", command); refused(answer) {
					t.Errorf("user default: %v is refused: %v", command, answer)
				}
			}
			writer := open(t, server, wire.SyncUser, password)
			for _, command := range [][]string{{"SET", "any", "v"}, {"EVAL", "return redis.call('set', KEYS[1], 'v')", "1", "any"}, {"PUBLISH", "any", "x"}, {"FLUSHALL"}} {
				if _, err := writer.Do(t.Context(), words(command)...); err != nil {
					t.Errorf("the dedicated user: %v", err)
				}
			}
			server.Do(t, "ACL", "SETUSER", "all", ">rotated") // a password that changes meanwhile stays

			unprotect(t, admin, remembered)
			if after := rules(t, admin); !equal(after, before) {
				t.Errorf("rules before %v, after the undo %v", before, after)
			}
			if again := denials(t, server, list); !equal(again, served) {
				t.Errorf("refusals before %v, after the undo %v", served, again)
			}
			if _, err := redisx.Open(t.Context(), redisx.DialAddr(server.Addr), redisx.Options{Username: "all", Password: "rotated"}); err != nil {
				t.Errorf("the new password: %v", err)
			}
			if _, err := writer.Do(t.Context(), "PING"); err == nil {
				t.Error("the connection of the dedicated user lives on")
			}
		})
	}
}

func open(t *testing.T, server *testredis.Server, user, password string) *redisx.Client {
	t.Helper()
	c, err := redisx.Open(t.Context(), redisx.DialAddr(server.Addr), redisx.Options{Name: "server", Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func aclUsers(t *testing.T, c *redisx.Client) []redisx.ACLUser {
	t.Helper()
	list, err := c.ACLUsers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func rules(t *testing.T, c *redisx.Client) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, u := range aclUsers(t, c) {
		out[u.Name] = u.Rules()
	}
	return out
}

// protect does what is missing, and gives what is to be remembered then.
func protect(t *testing.T, c *redisx.Client, remembered map[string]redisx.UserRules) map[string]redisx.UserRules {
	t.Helper()
	plan := redisx.Protect(aclUsers(t, c), wire.SyncUser, password, remembered)
	if len(remembered) > 0 && len(plan.Commands) > 0 {
		t.Errorf("not done at once: %v", plan.Gaps)
	}
	if err := c.RunACL(t.Context(), plan.Commands); err != nil {
		t.Fatal(err)
	}
	next := plan.Remember
	for name, now := range rules(t, c) {
		if r, ok := next[name]; ok {
			r.After = now
			next[name] = r
		}
	}
	return next
}

func unprotect(t *testing.T, c *redisx.Client, remembered map[string]redisx.UserRules) {
	t.Helper()
	undo := redisx.Unprotect(aclUsers(t, c), wire.SyncUser, remembered)
	if err := c.RunACL(t.Context(), undo.Commands); err != nil {
		t.Fatal(err)
	}
	if len(undo.Notes) > 0 {
		t.Errorf("notes %q", undo.Notes)
	}
}

// denials are the commands of reads and writes that the ACL refuses a user.
// Only writes without effect are asked: those that a DRYRUN would tell.
func denials(t *testing.T, server *testredis.Server, list [][]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, u := range list {
		var denied []string
		for _, command := range [][]string{{"GET", "app:k"}, {"SET", "app:k", "v"}, {"SET", "b:k", "v"}, {"LREM", "app:l", "0", "x"}, {"KEYS", "none"}, {"PING"}, {"INFO"}, {"RPUSH", "app:l", "v"}} {
			if refused(run(t, server, u[0], command)) {
				denied = append(denied, strings.Join(command, " "))
			}
		}
		out[u[0]] = strings.Join(denied, ", ")
	}
	return out
}

// run runs a command as a user, and gives the answer or the error.
func run(t *testing.T, server *testredis.Server, user string, command []string) any {
	t.Helper()
	opts := redisx.Options{Name: "server", Username: user, Password: "pw"}
	if user == "default" {
		opts = redisx.Options{Name: "server"}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := redisx.Open(ctx, redisx.DialAddr(server.Addr), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	reply, err := c.Do(ctx, words(command)...)
	if err != nil {
		return err
	}
	return reply
}

// refused tells the refusals of the ACL, also of a command in a script; a
// server that does not have the command refuses it, too.
func refused(answer any) bool {
	err, ok := answer.(error)
	if !ok {
		return false
	}
	text := err.Error()
	return redisx.IsPermission(err) || redisx.IsUnknownCommand(err) || strings.Contains(text, "ACL failure in script") ||
		strings.Contains(text, "user executing the script") || strings.Contains(text, "NOPERM")
}

func words(command []string) []any {
	out := make([]any, len(command))
	for i, w := range command {
		out[i] = w
	}
	return out
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}
