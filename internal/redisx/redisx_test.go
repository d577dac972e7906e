package redisx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

const secret = "open-sesame-17"

func open(t *testing.T, s *testredis.Server, change func(*Options)) (*Client, error) {
	t.Helper()
	opts := Options{Name: "pod redis/test-0", Password: s.Password}
	if change != nil {
		change(&opts)
	}
	c, err := Open(t.Context(), DialAddr(s.Addr), opts)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func mustOpen(t *testing.T, s *testredis.Server) *Client {
	t.Helper()
	c, err := open(t, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPasswords(t *testing.T) {
	plain := testredis.Start(t, "--requirepass", secret)
	raw := testredis.Start(t)
	raw.Do(t, "CONFIG", "SET", "requirepass", secret+"\n") // a line end that belongs to the password
	none := testredis.Start(t)

	for name, test := range map[string]struct {
		server   *testredis.Server
		password string
		auth     bool // a refusal is expected
		accepted string
	}{
		"right":                        {plain, secret, false, secret},
		"with the line end of a file":  {plain, secret + "\n", false, secret},
		"with a Windows line end":      {plain, secret + "\r\n", false, secret},
		"line end is part of it":       {raw, secret + "\n", false, secret + "\n"},
		"wrong":                        {plain, "guess-9", true, ""},
		"missing":                      {plain, "", true, ""},
		"given where none is required": {none, secret, false, secret},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := open(t, test.server, func(o *Options) { o.Password = test.password })
			if IsAuth(err) != test.auth || (err == nil) == test.auth {
				t.Fatalf("got %v, want refusal %v", err, test.auth)
			}
			if err != nil {
				if text := err.Error(); strings.Contains(text, secret) || strings.Contains(text, "guess-9") {
					t.Errorf("the error shows a password: %s", text)
				}
				if !strings.Contains(err.Error(), "pod redis/test-0") {
					t.Errorf("the error does not name the server: %v", err)
				}
				return
			}
			if c.Password() != test.accepted {
				t.Errorf("accepted %q, want %q", c.Password(), test.accepted)
			}
		})
	}
}

func TestErrorKinds(t *testing.T) {
	t.Run("permission", func(t *testing.T) {
		s := testredis.Start(t)
		s.Do(t, "ACL", "SETUSER", "reader", "on", ">"+secret, "+ping", "+hello")
		c, err := open(t, s, func(o *Options) { o.Username, o.Password = "reader", secret })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Role(t.Context()); !IsPermission(err) || IsAuth(err) {
			t.Errorf("ROLE without permission: got %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		_, err = Open(t.Context(), DialAddr(addr), Options{Name: "x"})
		if !IsRefused(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		start := time.Now()
		_, err = Open(t.Context(), DialAddr(l.Addr().String()), Options{Name: "x", Timeout: 200 * time.Millisecond})
		if !IsUnreachable(err) || time.Since(start) > 3*time.Second {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
	t.Run("no redis", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				_ = c.Close()
			}
		}()
		if _, err = Open(t.Context(), DialAddr(l.Addr().String()), Options{Name: "x"}); !hasKind(err, KindNotRedis) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("TLS on one side", func(t *testing.T) {
		s := testredis.Start(t)
		_, err := open(t, s, func(o *Options) {
			o.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the handshake is to fail
		})
		if err == nil || !hasKind(err, KindNotRedis) && !IsUnreachable(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("read only", func(t *testing.T) {
		s := testredis.StartReplica(t, testredis.Start(t))
		if _, _, err := mustOpen(t, s).CreateFence(t.Context(), "p", 1); !IsReadOnly(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRoles(t *testing.T) {
	master := testredis.Start(t)
	replica := testredis.StartReplica(t, master)
	m, r := mustOpen(t, master), mustOpen(t, replica)
	testredis.Eventually(t, 10*time.Second, "the replica is connected", func() bool {
		role, err := r.Role(t.Context())
		return err == nil && role.LinkState == "connected"
	})
	role, err := m.Role(t.Context())
	if err != nil || !role.Master || len(role.Replicas) != 1 || role.Replicas[0].Port != replica.Port {
		t.Errorf("master: got %+v, %v", role, err)
	}
	role, err = r.Role(t.Context())
	if err != nil || role.Master || role.MasterPort != master.Port || role.MasterHost != "127.0.0.1" {
		t.Errorf("replica: got %+v, %v", role, err)
	}
	sentinel := testredis.StartSentinel(t, master, "mymaster")
	s := mustOpen(t, sentinel)
	if role, err := s.Role(t.Context()); err != nil || !role.Sentinel {
		t.Errorf("Sentinel: got %+v, %v", role, err)
	}
	host, port, err := s.SentinelMaster(t.Context(), "mymaster")
	if err != nil || host != "127.0.0.1" || port != master.Port {
		t.Errorf("master of the set: got %s %d %v", host, port, err)
	}
	if _, _, err := s.SentinelMaster(t.Context(), "MyMaster"); err == nil || !strings.Contains(err.Error(), `no master set "MyMaster"`) {
		t.Errorf("unknown set: got %v", err)
	}
	if ok, text, err := s.SentinelQuorum(t.Context(), "mymaster"); err != nil || !ok {
		t.Errorf("quorum: got %v %q %v", ok, text, err)
	}
}

func TestServerFacts(t *testing.T) {
	s := testredis.Start(t, "--maxmemory", "123mb")
	c := mustOpen(t, s)
	s.Do(t, "SET", "a", "1")
	s.Do(t, "SET", "b", "1")
	other, err := testredis.Dial(s.Addr, s.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, args := range [][]string{{"SELECT", "3"}, {"SET", "c", "1"}} {
		if _, err := other.Do(args...); err != nil {
			t.Fatal(err)
		}
	}
	info, err := c.Info(t.Context(), "server", "keyspace")
	if err != nil {
		t.Fatal(err)
	}
	if keys := info.Keys(); keys[0] != 2 || keys[3] != 1 || len(keys) != 2 {
		t.Errorf("keys: got %v", keys)
	}
	if v := info.Version(); !strings.Contains(v, ".") || info["redis_mode"] != "standalone" {
		t.Errorf("version %q, mode %q", v, info["redis_mode"])
	}
	values, err := c.ConfigGet(t.Context(), "maxmemory", "client-output-buffer-limit")
	if err != nil || values["maxmemory"] != "128974848" || !strings.Contains(values["client-output-buffer-limit"], "slave ") {
		t.Errorf("configuration: got %v, %v", values, err)
	}
	if who, err := c.WhoAmI(t.Context()); err != nil || who != "default" {
		t.Errorf("user: got %q, %v", who, err)
	}
	if modules, err := c.Modules(t.Context()); err != nil || len(modules) != 0 {
		t.Errorf("modules: got %v, %v", modules, err)
	}
	if n, err := c.DBSize(t.Context()); err != nil || n != 2 {
		t.Errorf("size: got %d, %v", n, err)
	}
	names, err := testredis.Dial(s.Addr, s.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	list, err := names.Do("CLIENT", "LIST")
	if err != nil || strings.Contains(list.(string), "lib-name=go-redis") {
		t.Errorf("the client tells its library: %v %v", list, err)
	}
}

func TestFence(t *testing.T) {
	s := testredis.Start(t)
	c := mustOpen(t, s)
	if _, exists, err := c.Fence(t.Context(), "ab"); exists || err != nil {
		t.Errorf("before: got %v, %v", exists, err)
	}
	if held, created, err := c.CreateFence(t.Context(), "ab", 3); held != 3 || !created || err != nil {
		t.Errorf("create: got %d %v %v", held, created, err)
	}
	if held, created, err := c.CreateFence(t.Context(), "ab", 4); held != 3 || created || err != nil {
		t.Errorf("create again: got %d %v %v, want the epoch that is there", held, created, err)
	}
	s.Do(t, "SET", wire.FenceKey("cd"), "soon")
	if _, exists, err := c.Fence(t.Context(), "cd"); !exists || err == nil || strings.Contains(err.Error(), "soon") {
		t.Errorf("no number: got %v, %v", exists, err)
	}
}

func TestPairKeys(t *testing.T) {
	s := testredis.Start(t)
	c := mustOpen(t, s)
	ctx := t.Context()
	if _, ok, err := c.Checkpoint(ctx, "ab", 0); ok || err != nil {
		t.Errorf("no checkpoint: got %v %v", ok, err)
	}
	s.Do(t, "HSET", wire.CheckpointKey("ab", 1), wire.CkptEpoch, "2", wire.CkptReplID, "r", wire.CkptOffset, "77",
		wire.CkptDB, "3", wire.CkptState, wire.CkptStateStream, wire.CkptSourceOffset, "80", wire.CkptSourceTime, "9")
	want := Checkpoint{Epoch: 2, ReplID: "r", Offset: 77, DB: 3, State: wire.CkptStateStream, SourceOffset: 80, SourceTimeMS: 9}
	if got, ok, err := c.Checkpoint(ctx, "ab", 1); !ok || err != nil || got != want {
		t.Errorf("checkpoint: got %+v %v %v", got, ok, err)
	}
	s.Do(t, "SADD", wire.PendingKey("ab", 1), "0:a", "3:b") // beside the checkpoint, or counted in it
	if got, _, err := c.Checkpoint(ctx, "ab", 1); err != nil || got.Pending != 2 {
		t.Errorf("checkpoint with pending keys: got %+v %v", got, err)
	}
	s.Do(t, "DEL", wire.PendingKey("ab", 1))
	s.Do(t, "HSET", wire.CheckpointKey("ab", 1), wire.CkptPending, "3")
	if got, _, err := c.Checkpoint(ctx, "ab", 1); err != nil || got.Pending != 3 {
		t.Errorf("checkpoint that counts pending keys: got %+v %v", got, err)
	}
	s.Do(t, "SET", wire.FenceKey("ab"), "2")
	s.Do(t, "SET", wire.FenceKey("abc"), "2")
	s.Do(t, "SET", "redis-sync:{06S}:ab:0:1:1:frontier", "7")
	s.Do(t, "SET", "redis-sync", "a key of the user's")
	s.Do(t, "SELECT", "3")
	s.Do(t, "SET", "redis-sync:{06S}:ab:0:staging", "half a value")
	s.Do(t, "SET", "redis-sync:{06S}:abc:0:staging", "half a value")
	s.Do(t, "SELECT", "0")
	if n, err := c.OwnKeys(ctx); n != 4 || err != nil {
		t.Errorf("own keys: got %d %v, want 4", n, err)
	}
	if n, err := c.DropPairKeys(ctx, "ab"); n != 3 || err != nil {
		t.Errorf("deleted: got %d %v, want 3", n, err)
	}
	if n, err := c.DBSize(ctx); n != 3 || err != nil {
		t.Errorf("left: got %d %v, want both fences and the user's key", n, err)
	}
	if got := s.Do(t, "SELECT", "3"); got != "OK" {
		t.Fatal(got)
	}
	if got := s.Do(t, "KEYS", "*"); fmt.Sprint(got) != "[redis-sync:{06S}:abc:0:staging]" {
		t.Errorf("left in database 3: %v", got)
	}
}

func TestWritingPairs(t *testing.T) {
	s := testredis.Start(t)
	c := mustOpen(t, s)
	for _, name := range []string{wire.ConnName("dr", 0, 3, "1:ab"), wire.ConnName("dr", 1, 3, "1:cd"), wire.ConnName("old", 0, 1, "9:ef"), "app"} {
		conn, err := testredis.Dial(s.Addr, s.Password)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Do("CLIENT", "SETNAME", name); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.WritingPairs(t.Context()); err != nil || strings.Join(got, " ") != "dr old" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCluster(t *testing.T) {
	cluster := testredis.StartCluster(t, 3, 0)
	c := mustOpen(t, cluster.Nodes[0])
	id, err := c.ClusterMyID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.ClusterNodes(t.Context())
	if err != nil || !strings.Contains(text, id) {
		t.Errorf("CLUSTER NODES: %v\n%s", err, text)
	}
	if info, err := c.ClusterInfo(t.Context()); err != nil || info["cluster_state"] != "ok" || info.Int("cluster_known_nodes") != 3 {
		t.Errorf("CLUSTER INFO: %v %v", info, err)
	}
}

func TestContextEnds(t *testing.T) {
	s := testredis.Start(t)
	c := mustOpen(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
