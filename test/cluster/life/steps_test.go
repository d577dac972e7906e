//go:build clusters

package life

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// tolerate, as the first argument of run, makes a failure none.
const tolerate = "\x00"

// client opens a connection for each request: an old one would outlive a cut.
var client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// run runs a verb of the program under test.
func run(t *testing.T, verb string, args ...string) {
	t.Helper()
	may := len(args) > 0 && args[0] == tolerate
	if may {
		args = args[1:]
	}
	began := time.Now()
	out, err := exec.Command("../testcluster", append([]string{verb}, args...)...).CombinedOutput()
	if err != nil && !may {
		t.Fatalf("testcluster %s %s: %v\n%s", verb, strings.Join(args, " "), err, out)
	}
	t.Logf("%s %s: %.1fs", verb, strings.Join(args, " "), time.Since(began).Seconds())
}

func opened(t *testing.T, name string) site.Site {
	t.Helper()
	s, err := site.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var built string

// web builds the program of the pods, once.
func web(t *testing.T) string {
	t.Helper()
	if built != "" {
		return built
	}
	dir, err := os.MkdirTemp("", "life")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "web")
	cmd := exec.Command("go", "build", "-o", file, "./web")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	built = file
	return built
}

func kubectl(s site.Site, args ...string) (string, error) {
	path, err := exec.Command("../testcluster", "kubectl").Output()
	if err != nil {
		return "", err
	}
	args = append([]string{"--kubeconfig", config.Kubeconfig(), "--context", s.Name, "--namespace", "life"}, args...)
	out, err := exec.Command(strings.TrimSpace(string(path)), args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

func deploy(t *testing.T, s site.Site) {
	t.Helper()
	if _, err := kubectl(s, "apply", "--filename=web.yaml"); err != nil {
		t.Fatal(err)
	}
	if _, err := kubectl(s, "rollout", "status", "statefulset/web", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
}

// fromPod asks an address from inside the site's pod.
func fromPod(s site.Site, addr string) error {
	_, err := kubectl(s, "exec", "web-0", "--", "/web", "get", "http://"+addr)
	return err
}

// get asks the site's NodePort from the host.
func get(s site.Site) error { return holds(s, "") }

// holds wants both volumes of the site's pod to hold a value.
func holds(s site.Site, value string) error {
	resp, err := client.Get("http://" + s.NodeIP() + port)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if strings.Count(string(body), "value="+value) != 2 {
		return fmt.Errorf("volumes of %s: %s", s.Name, body)
	}
	return nil
}

// forward checks what kubelet and containerd stream to the host.
func forward(t *testing.T, s site.Site) {
	if out, err := kubectl(s, "logs", "web-0"); err != nil || !strings.Contains(out, "serving") {
		t.Errorf("logs: %s, %v", out, err)
	}
	path, err := exec.Command("../testcluster", "kubectl").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(strings.TrimSpace(string(path)), "--kubeconfig", config.Kubeconfig(), "--context", s.Name,
		"--namespace", "life", "port-forward", "web-0", ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}()
	var local int
	if _, err := fmt.Fscanf(out, "Forwarding from 127.0.0.1:%d", &local); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	eventually(t, func() error {
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", local))
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(45 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func await(t *testing.T, lines <-chan string) {
	t.Helper()
	select {
	case <-lines:
	case <-time.After(30 * time.Second):
		t.Fatal("no line came")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
