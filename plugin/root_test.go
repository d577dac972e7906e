package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

func TestHelp(t *testing.T) {
	run(t, "--help").want(t, 0, "kubectl redis-sync [command]", "EXIT STATUS", "130  interrupted")
	for _, cmd := range NewRootCommand(NewOptions(genericiooptions.NewTestIOStreamsDiscard())).Commands() {
		help := run(t, cmd.Name(), "--help").want(t, 0, "kubectl redis-sync "+cmd.Name())
		if strings.Contains(help.out, "redis_sync") {
			t.Errorf("the help of %s shows the name of the binary", cmd.Name())
		}
		switch cmd.Name() {
		case "plan", "apply", "status", "delete", "discover":
			help.want(t, 0, "RBAC", "EXIT STATUS", "Examples:")
		}
	}
}

// What is wrong with the command line is said before any cluster is asked.
func TestFlags(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	const refs = " --source a/redis/redis-a --target b/redis/redis-b"
	broken := filepath.Join(t.TempDir(), "pair.yaml")
	if err := os.WriteFile(broken, []byte("apiVersion: redis-sync.io/v1alpha1\nkind: Pair\nmetadata: {name: dr1}\nspec: {stes: []}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"plan":                              "expected the name of one pair, got 0 arguments",
		"plan a b":                          "got 2 arguments",
		"plan DR1" + refs:                   `pair name "DR1"`,
		"plan dr1 --source a/redis/redis-a": "missing [target]",
		"plan dr1 -f x --source a/b/c --target d/e/f":                 "none of the others can be",
		"plan dr1 --source redis-a --target b/redis/redis-b":          `--source: "redis-a": expected CONTEXT/NAMESPACE/NAME`,
		"plan dr1 --stale-keys purge" + refs:                          `"purge": expected keep, prune or refuse`,
		"plan dr1 --stale-keys-max-share 5" + refs:                    "expected a number between 0 and 1",
		"plan dr1 --access Tunnel" + refs:                             `access.type "Tunnel"`,
		"plan dr1 --node-address x=1.2.3.4" + refs:                    "--node-address x: no such site",
		"plan dr1 --node-address redis-a=1:2:3" + refs:                "neither an IP address nor a host name",
		"plan dr1 -o xml" + refs:                                      `--output "xml": expected wide, json, yaml`,
		"apply dr1 -o yaml" + refs:                                    `--output "yaml": expected json`,
		"status dr1 -w -o json":                                       "--watch does not go with -o json",
		"plan dr1 --bogus" + refs:                                     "unknown flag: --bogus",
		"plan dr1 --color sometimes" + refs:                           `--color "sometimes": expected auto, always or never`,
		"nonsense":                                                    `unknown command "nonsense"`,
		"plan dr1 -f " + broken:                                       `unknown key spec.stes (did you mean "sites"?)`,
		"plan dr2 -f " + broken:                                       "unknown key",
		"plan dr1 -f /does/not/exist":                                 "no such file",
		"status dr1":                                                  "the kubeconfig has no current context",
		"status dr1 --context nowhere":                                `"nowhere"`,
		"plan dr1" + refs:                                             `context "a" does not exist`,
		"plan dr1 --source a/redis/x --target a/redis/RedisCluster/x": "the target is the source itself",
	} {
		code := fault.CodeError
		if strings.Contains(line, "a/redis/RedisCluster/x") {
			code = fault.CodeRefused
		}
		run(t, strings.Fields(line)...).want(t, code, want)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	r := run(t, "status", "dr1", "-o", "json")
	var got struct {
		Error, Remedy string
		ExitCode      int
	}
	if err := json.Unmarshal([]byte(r.errOut), &got); err != nil || got.ExitCode != r.code || got.Error == "" || got.Remedy == "" {
		t.Errorf("%v: %q", err, r.errOut)
	}
}

// A server can put anything into an error text; a terminal must not obey it.
func TestErrorsAreEscaped(t *testing.T) {
	var out bytes.Buffer
	printError(&out, fault.New(1, "do\x1b[2J", "said \x1b]0;evil\x07"), false)
	if strings.ContainsRune(out.String(), '\x1b') || !strings.Contains(out.String(), "try: do") {
		t.Errorf("printed %q", out.String())
	}
	out.Reset()
	printError(&out, silentError{2}, false)
	if out.Len() > 0 {
		t.Errorf("a silent error printed %q", out.String())
	}
}

func TestVersionNeedsNoCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	run(t, "version").want(t, 0, "Client:", "Replicator image:", "redis-sync-sidecar:dev")
	r := run(t, "version", "-o", "json").want(t, 0)
	var got versionReport
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Client.SidecarImage == "" {
		t.Errorf("%v: %s", err, r.out)
	}
	run(t, "--version").want(t, 0, "version")
}

func TestLineProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.StepEnded("make things", nil, time.Second)
	p.StepEnded("break things", errors.New("x"), time.Second)
	shard := execute.ShardProgress{Slots: "0-16383", Phase: "FullSync", Keys: 1, TotalKeys: 10}
	p.Shards([]execute.ShardProgress{shard})
	shard.Keys = 2
	p.Shards([]execute.ShardProgress{shard}) // the same phase, at once: nothing to say
	shard.InSync = true
	p.Shards([]execute.ShardProgress{shard})
	p.Shards([]execute.ShardProgress{shard})
	p.Close()
	want := `ok make things (1.0 s)
x  break things: failed after 1.0 s
   shard 0 (0-16383): FullSync, 1 of about 10 keys
   shard 0 (0-16383): in sync, 2 of about 10 keys
`
	if out.String() != want {
		t.Errorf("printed\n%s\nexpected\n%s", out.String(), want)
	}
}

func TestBarShare(t *testing.T) {
	for _, test := range []struct {
		shard execute.ShardProgress
		want  int64
	}{
		{execute.ShardProgress{}, 0},
		{execute.ShardProgress{Keys: 50, TotalKeys: 100}, 500},
		{execute.ShardProgress{Keys: 500, TotalKeys: 100}, 999},
		{execute.ShardProgress{Bytes: 25, TotalBytes: 100, Keys: 1, TotalKeys: 100}, 250},
		{execute.ShardProgress{InSync: true}, 1000},
	} {
		if got := share(test.shard); got != test.want {
			t.Errorf("%+v: %d, expected %d", test.shard, got, test.want)
		}
	}
}

func TestPrintStatus(t *testing.T) {
	report := &execute.StatusReport{
		Pair: "dr1", Phase: pair.PhaseInSync, Live: pair.PhaseFailed, Epoch: 2, Primary: "a", Standby: "b",
		Sites: []execute.SiteReport{{Name: "a", Role: pair.RolePrimary, Reachable: true}, {Name: "b", Role: pair.RoleStandby}},
		Shards: []execute.ReplicatorState{
			{Shard: 0, Slots: "0-99", Pod: "p0", Status: &wire.Status{Phase: wire.PhaseStreaming, InSync: true, LagBytes: 2048, Source: wire.SourceStatus{Address: "h:1", Role: "slave"}}},
			{Shard: 1, Slots: "100-16383", Problem: "no pod\x1b[2J yet"},
		},
		Verbs:    []pair.Legality{{Verb: pair.VerbPlan, Legal: true}, {Verb: pair.VerbFailover, Why: "no copy"}},
		Findings: []topology.Finding{{Severity: topology.SeverityError, Object: "replicator x", Message: "stopped\x1b[2J", Remedy: "start it"}},
	}
	for _, wide := range []bool{false, true} {
		streams, _, out, _ := genericiooptions.NewTestIOStreams()
		if err := printStatus(NewOptions(streams), report, wide); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		for _, want := range []string{"Failed (record: InSync), epoch 2, a -> b", "2.0 KiB/0.0s", "h:1 (slave)", "not running", "try: start it", "Possible now: plan\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("lacks %q:\n%s", want, text)
			}
		}
		if strings.ContainsRune(text, '\x1b') {
			t.Errorf("printed an escape sequence of somebody else:\n%q", text)
		}
		if strings.Contains(text, "not failover: no copy") != wide {
			t.Errorf("wide %v:\n%s", wide, text)
		}
	}
}

func TestColour(t *testing.T) {
	changes := []plan.Change{{Site: "a", Action: plan.ActionDelete, Kind: "Service", Name: "x", Reason: "why"}}
	for mode, coloured := range map[string]bool{"auto": false, "never": false, "always": true} {
		streams, _, out, _ := genericiooptions.NewTestIOStreams()
		o := NewOptions(streams)
		o.Color = mode
		if err := printChanges(o, execute.PlanSite{Name: "a"}, changes, false); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "\x1b[31mdelete") != coloured || !strings.Contains(out.String(), "Service/x why") {
			t.Errorf("%s: %q", mode, out.String())
		}
	}
}

func TestConfirm(t *testing.T) {
	o := NewOptions(genericiooptions.IOStreams{In: strings.NewReader("y\n"), Out: io.Discard, ErrOut: io.Discard})
	if err := o.confirm(true, "?"); err != nil {
		t.Errorf("with --yes: %v", err)
	}
	if err := o.confirm(false, "?"); fault.ExitCode(err) != fault.CodeRefused {
		t.Errorf("a pipe cannot confirm: %v", err)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB", 1 << 60: "1024.0 PiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, expected %s", n, got, want)
		}
	}
}
