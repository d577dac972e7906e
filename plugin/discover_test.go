package plugin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

func runDiscover(t *testing.T, s *testkube.Server, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	o := NewOptions(streams)
	kubeconfig := s.Kubeconfig(t, "site-a", "redis")
	o.ConfigFlags.KubeConfig = &kubeconfig
	root := NewRootCommand(o)
	root.SetArgs(append([]string{"discover"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

// squeeze makes columns independent of their width.
func squeeze(table string) string {
	var lines []string
	for line := range strings.Lines(table) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestDiscoverTable(t *testing.T) {
	s := testkube.New(t)
	s.RunCluster(t)
	f := s.RunFailover(t)
	version := f.Pods[0].Do(t, "INFO", "server").(string)
	version = strings.Split(strings.Split(version, "redis_version:")[1], "\r\n")[0]
	// A label that was left behind by a failover.
	s.Edit(t, "/api/v1/namespaces/redis/pods/redis-a-leader-1", func(u *unstructured.Unstructured) {
		labels := u.GetLabels()
		labels["redis-role"] = "slave"
		u.SetLabels(labels)
	})

	stdout, stderr, err := runDiscover(t, s)
	if err != nil || stderr != "" {
		t.Fatalf("got %v, %q", err, stderr)
	}
	want := strings.ReplaceAll(`NAMESPACE NAME KIND OPERATOR MODE SHARDS PRIMARIES ACCESS AUTH VERSION NOTES
redis redis-a RedisCluster ot cluster 3 redis-a-leader-0,redis-a-leader-1,redis-a-leader-2 ClusterIP password @ stale label: redis-a-leader-1 (says replica, is primary)
redis redis-b RedisFailover spotahome sentinel 1 rfr-redis-b-1 ClusterIP password @`, "@", version)
	if got := squeeze(stdout); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	stdout, _, err = runDiscover(t, s, "redis-b", "-o", "wide")
	wide := "6379 rfr-redis-b-0+rfr-redis-b-2 redis-b-auth/password rfrm-redis-b rfs-redis-b:26379/mymaster"
	if err != nil || !strings.Contains(squeeze(stdout), wide) {
		t.Errorf("wide: got %v\n%s", err, stdout)
	}
}

func TestDiscoverMachineFormats(t *testing.T) {
	s := testkube.New(t)
	s.RunFailover(t)
	for format, decode := range map[string]func([]byte, *instanceList) error{
		"json": func(raw []byte, into *instanceList) error { return json.Unmarshal(raw, into) },
		"yaml": func(raw []byte, into *instanceList) error { return yaml.UnmarshalStrict(raw, into) },
	} {
		stdout, stderr, err := runDiscover(t, s, "-A", "-o", format)
		var list instanceList
		if err != nil || stderr != "" || decode([]byte(stdout), &list) != nil {
			t.Fatalf("%s: %v %q\n%s", format, err, stderr, stdout)
		}
		if list.Kind != "InstanceList" || len(list.Items) != 1 || list.Items[0].Shards[0].Slots.String() != "0-16383" {
			t.Errorf("%s: got %+v", format, list)
		}
		if strings.Contains(stdout, testkube.FailoverPassword) {
			t.Errorf("%s: the output holds a password", format)
		}
	}
	stdout, _, err := runDiscover(t, s, "-n", "default", "-o", "json")
	if err != nil || !strings.Contains(stdout, `"items": []`) {
		t.Errorf("nothing found: got %v %s", err, stdout)
	}
}

func TestDiscoverRefusals(t *testing.T) {
	s := testkube.New(t)
	s.AddNamespace(t, "redis")
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"unknown name":      {[]string{"redis-x"}, 10, `context "site-a": no Redis instance "redis-x" in namespace redis`},
		"unknown namespace": {[]string{"redis-x", "-n", "nope"}, 10, "there is no such namespace"},
		"unknown context":   {[]string{"--context", "site-z"}, 1, "site-z"},
		"unknown output":    {[]string{"-o", "xml"}, 1, `unknown output "xml"`},
		"name and all":      {[]string{"redis-x", "-A"}, 1, "leave out --all-namespaces"},
		"two names":         {[]string{"a", "b"}, 1, "at most 1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, _, err := runDiscover(t, s, test.args...)
			if err == nil || fault.ExitCode(err) != test.code || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got exit code %d: %v", fault.ExitCode(err), err)
			}
			if stdout != "" {
				t.Errorf("standard output: %q", stdout)
			}
		})
	}
	stdout, stderr, err := runDiscover(t, s)
	if err != nil || stdout != "" || stderr != "no Redis instance found in namespace redis\n" {
		t.Errorf("nothing there: got %q %q %v", stdout, stderr, err)
	}
}

func TestNotesOfInstance(t *testing.T) {
	inst := topology.Instance{Namespace: "redis", Name: "a", Kind: "Redis", Pods: []topology.Pod{
		{Name: "a-0", RoleSaid: topology.RolePrimary, Role: topology.RoleReplica},
	}}
	inst.Findings = []topology.Finding{
		{Severity: topology.SeverityWarning, Object: "pod redis/a-1", Message: "is not ready"},
		{Severity: topology.SeverityWarning, Object: "pod redis/a-0", Message: "stale label: it says primary, Redis says replica"},
		{Severity: topology.SeverityError, Object: "instance Redis redis/a", Message: "no master"},
	}
	want := "error: no master; stale label: a-0 (says primary, is replica); pod a-1: is not ready"
	if got := notesOf(&inst, true); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	inst.Findings[2].Message = strings.Repeat("é", 300)
	if got := []rune(notesOf(&inst, false)); len(got) != notesWidth || !strings.HasSuffix(string(got), "...") {
		t.Errorf("got %d characters: %s", len(got), string(got))
	}
	if got := escapeCell("a\tb\n\x1b[2Jc"); strings.ContainsAny(got, "\t\n\x1b") {
		t.Errorf("got %q", got)
	}
}

// TestDiscoverExitCode: a pod's refusal reaches the exit code through all the
// layers.
func TestDiscoverExitCode(t *testing.T) {
	s := testkube.New(t)
	s.RunFailover(t)
	s.Deny("create", "pods/portforward")
	_, _, err := runDiscover(t, s, "redis-b")
	var coded interface{ ExitCode() int }
	if !errors.As(err, &coded) || coded.ExitCode() != fault.CodeAuth || fault.Remedy(err) == "" {
		t.Errorf("got %v", err)
	}
}
