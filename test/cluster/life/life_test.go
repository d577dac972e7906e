//go:build clusters

// Package life tests the clusters themselves, with two of its own beside those
// that run already. It needs root and about a minute:
//
//	go test -tags clusters ./life
package life

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cgroup"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/image"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/network"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// names of the two sites; the alphabet keeps them apart from those of others.
var names = [2]string{"life-one", "life-two"}

const port = ":31880"

func TestLife(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the test clusters need root")
	}
	run(t, "down", tolerate, names[0], names[1])
	t.Cleanup(func() { run(t, "down", tolerate, names[0], names[1]) })
	run(t, "up", names[0], names[1])
	one, two := opened(t, names[0]), opened(t, names[1])
	run(t, "load-image", names[0], webImage(t))
	run(t, "load-image", names[1], webImage(t))
	deploy(t, one)
	deploy(t, two)

	t.Run("pods reach the other site by its node only", func(t *testing.T) {
		// kube-proxy follows a pod's readiness within a second or so.
		eventually(t, func() error { return fromPod(one, two.NodeIP()+port) })
		out, err := kubectl(two, "get", "pod", "web-0", "--output=jsonpath={.status.podIP}")
		if err != nil {
			t.Fatal(err)
		}
		if err := fromPod(one, out+":8080"); err == nil {
			t.Errorf("a pod of %s answers one of %s", two.Name, one.Name)
		}
	})
	t.Run("logs and port-forward", func(t *testing.T) { forward(t, one) })
	t.Run("restricted pods only", func(t *testing.T) {
		out, err := kubectl(one, "run", "bad", "--image=localhost/redis-sync-test/web:1")
		if err == nil || !strings.Contains(out, "violates PodSecurity") {
			t.Errorf("a pod without restrictions: %v: %s", err, out)
		}
	})
	t.Run("cut between two", func(t *testing.T) { cutBetween(t, one, two) })
	t.Run("cut from everything", func(t *testing.T) {
		run(t, "cut", one.Name)
		if get(one) == nil {
			t.Errorf("%s still answers", one.Name)
		}
		run(t, "restore", one.Name)
		if err := get(one); err != nil {
			t.Error(err)
		}
	})
	t.Run("power loss", func(t *testing.T) { powerLoss(t, one) })
	t.Run("crash of the machine", func(t *testing.T) {
		pid := strings.TrimSpace(read(t, filepath.Join(one.Dir(), "machine.pid")))
		if err := exec.Command("kill", "-9", pid).Run(); err != nil {
			t.Fatal(err)
		}
		run(t, "up", one.Name)
		eventually(t, func() error { return holds(one, "kept") })
	})
	t.Run("nothing is left", func(t *testing.T) {
		run(t, "down", names[0], names[1])
		for _, s := range []site.Site{one, two} {
			nothingLeft(t, s)
		}
	})
}

// cutBetween has a connection that is established before the cut stall during
// it and go on afterwards.
func cutBetween(t *testing.T, one, two site.Site) {
	ticks := make(chan string, 1000)
	stop := follow(t, one, "http://"+two.NodeIP()+port+"/tick", ticks)
	defer stop()
	await(t, ticks)
	run(t, "cut", one.Name, two.Name)
	time.Sleep(300 * time.Millisecond)
	for len(ticks) > 0 {
		<-ticks
	}
	time.Sleep(time.Second)
	if n := len(ticks); n > 0 {
		t.Errorf("%d lines came across the cut", n)
	}
	for _, pair := range [][2]site.Site{{one, two}, {two, one}} {
		if fromPod(pair[0], pair[1].NodeIP()+port) == nil {
			t.Errorf("%s reaches %s across the cut", pair[0].Name, pair[1].Name)
		}
	}
	for _, s := range []site.Site{one, two} {
		if err := get(s); err != nil {
			t.Errorf("the host does not reach %s: %v", s.Name, err)
		}
	}
	run(t, "restore", one.Name, two.Name)
	await(t, ticks)
}

// powerLoss switches a site off and on: the data of its pods stays, and nothing
// answers in between.
func powerLoss(t *testing.T, s site.Site) {
	req, err := http.NewRequest(http.MethodPut, "http://"+s.NodeIP()+port+"/kept", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("write: %v, %v", resp, err)
	}
	resp.Body.Close()
	established, err := net.Dial("tcp", s.NodeIP()+port)
	if err != nil {
		t.Fatal(err)
	}
	defer established.Close()
	run(t, "stop", s.Name)
	if err := established.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := established.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a site without power closed a connection: %v", err)
	}
	began := time.Now()
	if get(s) == nil {
		t.Error("a site without power answers")
	}
	if time.Since(began) < client.Timeout {
		t.Error("a site without power refuses connections; expected silence")
	}
	run(t, "start", s.Name)
	eventually(t, func() error { return holds(s, "kept") })
}

func nothingLeft(t *testing.T, s site.Site) {
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Errorf("folder %s: %v", s.Dir(), err)
	}
	if _, ok := network.ID(s.Netns()); ok {
		t.Errorf("network namespace %s exists", s.Netns())
	}
	roots, err := cgroup.Hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if _, err := os.Stat(filepath.Join(root, s.Cgroup())); !os.IsNotExist(err) {
			t.Errorf("control group of %s in %s: %v", s.Name, root, err)
		}
	}
	if mounts := read(t, "/proc/self/mountinfo"); strings.Contains(mounts, s.Name) {
		t.Errorf("mounts of %s:\n%s", s.Name, mounts)
	}
}

// follow sends the lines of a URL, asked for from a site's network, until stop.
func follow(t *testing.T, s site.Site, url string, lines chan<- string) (stop func()) {
	t.Helper()
	cmd := exec.Command("../testcluster", "exec", s.Name, "--", web(t), "follow", url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}
}

func webImage(t *testing.T) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "web.tar")
	if err := image.WriteProgram(archive, "localhost/redis-sync-test/web:1", web(t)); err != nil {
		t.Fatal(err)
	}
	return archive
}
