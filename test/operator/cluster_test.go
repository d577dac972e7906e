package operator

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestClusterIsFormedAndMended forms a cluster of real servers, and mends it
// after all of them came back with other addresses.
func TestClusterIsFormedAndMended(t *testing.T) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: redis-server is not installed")
	}
	port := freePort(t)
	names := []string{"a-leader-0", "a-leader-1", "a-leader-2", "a-follower-0", "a-follower-1", "a-follower-2"}
	dirs := map[string]string{}
	for _, name := range names {
		dirs[name] = t.TempDir()
	}
	c := startNodes(t, server, 1, port, names, dirs)
	c.untilSettled(t)
	want := []string{"0-5460", "5461-10922", "10923-16383"}
	for i, n := range c.leaders {
		if got := c.slotsOf(t, n); got != want[i] {
			t.Errorf("%s has slots %s, expected %s", n.name(), got, want[i])
		}
		follower := c.followers[i]
		if master := c.views[follower][c.ids[follower]].master; master != c.ids[n] {
			t.Errorf("%s follows %s, expected %s", follower.name(), master, c.ids[n])
		}
	}
	ctx := context.Background()
	if err := c.followers[1].redis.ClusterFailover(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	c.stop(t)

	c = startNodes(t, server, 2, port, names, dirs)
	c.untilSettled(t)
	if got := c.slotsOf(t, c.followers[1]); got != want[1] {
		t.Errorf("after the failover and the restart %s has slots %q, expected %s", c.followers[1].name(), got, want[1])
	}
	for _, n := range c.nodes {
		for _, other := range c.nodes {
			if ip := c.views[n][c.ids[other]].ip; ip != other.ip() {
				t.Errorf("%s knows %s at %s, expected %s", n.name(), other.name(), ip, other.ip())
			}
			if c.views[n][c.ids[n]].master != c.ids[other] {
				continue
			}
			info, err := n.replication(ctx)
			if err != nil || info["master_host"] != other.ip() {
				t.Errorf("%s follows %s at %s, expected %s: %v", n.name(), other.name(), info["master_host"], other.ip(), err)
			}
		}
	}
	c.stop(t)
}

// testCluster is a cluster of processes, each with an address of its own on
// the loopback device.
type testCluster struct {
	*cluster
	processes []*exec.Cmd
}

func startNodes(t *testing.T, server string, generation, port int, names []string, dirs map[string]string) *testCluster {
	t.Helper()
	c := &testCluster{cluster: &cluster{port: port, log: func(msg string, args ...any) { t.Log(append([]any{msg}, args...)...) }}}
	for i, name := range names {
		ip := fmt.Sprintf("127.0.%d.%d", 50+generation, i+1)
		conf := filepath.Join(dirs[name], "nodes.conf")
		if generation > 1 { // as the image's entry point does
			if out, err := exec.Command("sed", "-i", "-e", `/myself/ s/[0-9]\{1,3\}\.[0-9]\{1,3\}\.[0-9]\{1,3\}\.[0-9]\{1,3\}/`+ip+`/`, conf).CombinedOutput(); err != nil {
				t.Fatalf("sed: %v: %s", err, out)
			}
		}
		cmd := exec.Command(server, "--port", strconv.Itoa(port), "--bind", ip, "--dir", dirs[name], "--cluster-enabled", "yes",
			"--cluster-config-file", conf, "--cluster-node-timeout", "2000", "--cluster-announce-ip", ip, "--save", "", "--appendonly", "yes")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _, _ = cmd.Process.Wait() })
		c.processes = append(c.processes, cmd)
		n := &node{
			ready: true, redis: redis.NewClient(&redis.Options{Addr: net.JoinHostPort(ip, strconv.Itoa(port)), Protocol: 2, DisableIdentity: true}),
			pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{PodIP: ip}},
		}
		t.Cleanup(func() { _ = n.redis.Close() })
		c.nodes = append(c.nodes, n)
	}
	c.leaders, c.followers = c.nodes[:3], c.nodes[3:]
	return c
}

func (c *testCluster) untilSettled(t *testing.T) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for {
		waiting, err := c.mend(context.Background())
		if waiting == "" && err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not settled: %s, %v", waiting, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// slotsOf is what a node itself says it serves.
func (c *testCluster) slotsOf(t *testing.T, n *node) string {
	t.Helper()
	text, err := n.redis.ClusterNodes(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) > 8 && strings.Contains(f[2], "myself") {
			return strings.Join(f[8:], " ")
		}
	}
	return ""
}

func (c *testCluster) stop(t *testing.T) {
	t.Helper()
	for _, p := range c.processes {
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = p.Process.Wait()
	}
}

// freePort is a port whose bus port (plus 10000) is in range.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return 20000 + l.Addr().(*net.TCPAddr).Port%20000
}
