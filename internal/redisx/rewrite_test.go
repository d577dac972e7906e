package redisx

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestUndoReachesTheFile: Sentinel has a server write its configuration to its
// file while writes are closed and users are without @write. After the undo
// the file, too, is as it was: the server starts with it.
func TestUndoReachesTheFile(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "redis.conf"), filepath.Join(dir, "s")
	text := "port 0\nunixsocket " + socket + "\ndir " + dir + "\nsave \"\"\nmin-replicas-to-write 0\nuser app on nopass ~* +@all -flushall\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, stop := serve(t, file, socket)
	ctx := t.Context()
	users := func(c *Client) map[string]string {
		list, err := c.ACLUsers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		rules := map[string]string{}
		for _, u := range list {
			rules[u.Name] = u.Rules()
		}
		return rules
	}
	before := users(c)
	list, err := c.ACLUsers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	plan := Protect(list, "redis-sync", "pw", nil)
	if err := c.RunACL(ctx, plan.Commands); err != nil {
		t.Fatal(err)
	}
	m, err := c.MinReplicas(ctx)
	if err != nil {
		t.Fatal(err)
	}
	closed := m
	closed.ToWrite = "900001"
	if err := c.SetMinReplicas(ctx, closed); err != nil {
		t.Fatal(err)
	}
	if err := c.ConfigRewrite(ctx); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(written), "900001") || !strings.Contains(string(written), "user redis-sync") {
		t.Fatalf("the file does not hold what was set: %v\n%s", err, written)
	}
	if list, err = c.ACLUsers(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.RunACL(ctx, Unprotect(list, "redis-sync", plan.Remember).Commands); err != nil {
		t.Fatal(err)
	}
	if err := c.SetMinReplicas(ctx, m); err != nil {
		t.Fatal(err)
	}
	if err := c.ConfigRewrite(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	c, _ = serve(t, file, socket)
	if now, err := c.MinReplicas(ctx); err != nil || now != m {
		t.Errorf("after a restart: %+v, %v", now, err)
	}
	after := users(c)
	if len(after) != len(before) || after["app"] != before["app"] || after["default"] != before["default"] {
		t.Errorf("users before %v, after a restart %v", before, after)
	}
}

// serve runs a server with a file and connects to it.
func serve(t *testing.T, file, socket string) (*Client, func()) {
	t.Helper()
	cmd := exec.Command(testredis.Binary(t), file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}
	}
	t.Cleanup(stop)
	dial := func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) }
	var c *Client
	testredis.Eventually(t, 20*time.Second, "the server answers", func() (up bool) {
		var err error
		c, err = Open(t.Context(), dial, Options{Name: "server"})
		return err == nil
	})
	t.Cleanup(func() { _ = c.Close() })
	return c, stop
}
