package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeKubectl knows three Services, and no cluster site-c. It writes down what
// it is told to change.
const fakeKubectl = `#!/bin/sh
case "$*" in
*site-c*) echo "no route to host" >&2; exit 1 ;;
*"get service by-name"*type*) echo "ExternalName " ;;
*"get service by-address"*type*) echo "ClusterIP " ;;
*"get service by-address"*ports*) echo "redis" ;;
*"get service selects"*type*) echo 'ClusterIP {"app":"redis"}' ;;
*get*) echo "not found" >&2; exit 1 ;;
*) { echo "$*"; case "$*" in *apply*) cat ;; esac; } >>"$CHANGES" ;;
esac
`

// hookExample runs one of the example's hooks with a list of Services.
func hookExample(t *testing.T, hook, to, services string) (changes, output string, err error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	log := filepath.Join(dir, "changes")
	cmd := exec.Command(filepath.Join("hooks", "service", hook))
	cmd.Env = append(os.Environ(), "KUBECTL="+write("kubectl", fakeKubectl), "REDIS_SYNC_SERVICES="+write("services", services),
		"CHANGES="+log, "REDIS_SYNC_TO="+to)
	text, err := cmd.CombinedOutput()
	made, readErr := os.ReadFile(log)
	if readErr != nil && !os.IsNotExist(readErr) {
		t.Fatal(readErr)
	}
	return string(made), string(text), err
}

func TestHookExample(t *testing.T) {
	const services = `
# a comment
site-a shop by-name    redis-a redis-a.redis.svc.cluster.local
site-a shop by-name    redis-b redis-b.example.com
site-b shop by-address redis-b 10.0.0.7:6379
site-b shop by-address redis-a [fd00::7]:6380
`
	moved, output, err := hookExample(t, "after-open", "redis-b", services)
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, want := range []string{
		"--context site-a --namespace shop", "patch service by-name --dry-run=none", `{"spec":{"externalName":"redis-b.example.com"}}`,
		"--context site-b --namespace shop", "apply --server-side", "kubernetes.io/service-name: by-address", "addressType: IPv4",
		`ports: [{name: "redis", port: 6379, protocol: TCP}]`, `addresses: ["10.0.0.7"]`,
	} {
		if !strings.Contains(moved, want) {
			t.Errorf("it lacks %q:\n%s", want, moved)
		}
	}
	if strings.Contains(moved, "redis-a") || strings.Contains(moved, "fd00") {
		t.Errorf("it moved to the other site as well:\n%s", moved)
	}
	moved, _, err = hookExample(t, "after-open", "redis-a", services)
	if err != nil || !strings.Contains(moved, "addressType: IPv6") || !strings.Contains(moved, `["fd00::7"]`) || !strings.Contains(moved, "port: 6380") {
		t.Errorf("the way back: %v\n%s", err, moved)
	}
	checked, output, err := hookExample(t, "before-close", "redis-b", services)
	if err != nil || strings.Count(checked, "--dry-run=server") != 2 || strings.Contains(checked, "--dry-run=none") {
		t.Errorf("before-close: %v: %s\n%s", err, output, checked)
	}
}

// A last line without a newline is a line.
func TestHookExampleLastLine(t *testing.T) {
	const services = "site-a shop by-name redis-b one.example.com\nsite-b shop by-name redis-b two.example.com"
	moved, output, err := hookExample(t, "after-open", "redis-b", services)
	if err != nil || !strings.Contains(moved, "one.example.com") || !strings.Contains(moved, "two.example.com") {
		t.Errorf("%v: %s\n%s", err, output, moved)
	}
}

// What cannot be moved fails the hook; the rest is moved.
func TestHookExampleFails(t *testing.T) {
	for name, c := range map[string]struct{ services, want string }{
		"no line":        {"site-a shop by-name redis-a x.example.com\n", "no line for the primary redis-b"},
		"no such":        {"site-a shop other redis-b x.example.com\n", "not moved to x.example.com: service shop/other in context site-a"},
		"cluster silent": {"site-c shop by-name redis-b x.example.com\n", "not moved to x.example.com: service shop/by-name in context site-c"},
		"selector":       {"site-a shop selects redis-b 10.0.0.7:6379\n", "has a selector"},
		"no port":        {"site-a shop by-address redis-b 10.0.0.7\n", "is not ADDRESS:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			services := c.services + "site-a shop by-name redis-b last.example.com\n"
			if name == "no line" {
				services = c.services
			}
			moved, output, err := hookExample(t, "after-open", "redis-b", services)
			if err == nil || !strings.Contains(output, c.want) {
				t.Errorf("%v: %s", err, output)
			}
			if name != "no line" && !strings.Contains(moved, "last.example.com") {
				t.Errorf("the rest was not moved:\n%s", moved)
			}
		})
	}
}
