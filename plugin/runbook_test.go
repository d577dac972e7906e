package plugin

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
)

var update = flag.Bool("update", false, "rewrite the files of testdata")

// golden compares a text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test ./plugin -run %s -update):\n%s\nwant:\n%s", path, t.Name(), got, want)
	}
}

// TestRunbook: it has the names and the commands of the pair, and the steps
// that the verbs print of themselves.
func TestRunbook(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	servers := strings.NewReplacer(host(t, s.a), "https://site-a.example.com:6443", host(t, s.b), "https://site-b.example.com:6443")
	book := func(more ...string) string {
		t.Helper()
		return servers.Replace(run(t, append([]string{"runbook", "dr1", "--context", "site-b"}, more...)...).want(t, 0).out)
	}
	text, markdown := book(), book("-o", "markdown")
	golden(t, "runbook.txt", text)
	golden(t, "runbook.md", markdown)
	run(t, "runbook", "dr1", "--context", "site-b", "-o", "yaml").want(t, fault.CodeError, "text, markdown")
	run(t, "runbook", "dr2", "--context", "site-b").want(t, fault.CodeNotFound)

	contained := func(dry result) {
		t.Helper()
		if strings.Count(dry.out, "\n") < 4 {
			t.Errorf("a dry run of few steps:\n%s", dry.out)
		}
		for line := range strings.Lines(dry.out) {
			if !strings.Contains(text, "#  "+line) {
				t.Errorf("the dry run says %q, the runbook does not", line)
			}
		}
	}
	contained(run(t, "failover", "dr1", "--context", "site-b", "--dry-run").want(t, 0))

	// Every line that is no comment is a command, which the parser takes. Both
	// forms have the same ones.
	var printed []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		printed = append(printed, line)
		if err := parses(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if !strings.Contains(markdown, "\n"+line+"\n") {
			t.Errorf("the Markdown lacks %q", line)
		}
	}
	if len(printed) < 14 {
		t.Errorf("%d commands:\n%s", len(printed), strings.Join(printed, "\n"))
	}

	// With one site away it says so, and is the same otherwise; names of
	// contexts that only this machine has go into the commands.
	dead := kubeconfig(t, map[string]string{"elsewhere": "http://127.0.0.1:1"})
	away := []string{"--site-kubeconfig", "redis-a=" + dead, "--site-context", "redis-a=elsewhere"}
	r := book(away...)
	for _, want := range []string{"# Site redis-a does not answer now", "kubectl redis-sync failover dr1 --context site-b -n redis --site-context redis-a=elsewhere --site-kubeconfig redis-a=" + dead + " --yes"} {
		if !strings.Contains(r, want) {
			t.Errorf("it lacks %q:\n%s", want, r)
		}
	}
	for line := range strings.Lines(r) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "kubectl ") {
			if err := parses(line); err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
	}
	contained(run(t, append([]string{"failover", "dr1", "--context", "site-b", "--dry-run", "--accept-data-loss"}, away...)...).want(t, 0))
}

// parses gives an error unless the command line is one of this program: the
// verb exists, and takes these flags and arguments.
func parses(line string) error {
	words, ok := strings.CutPrefix(line, "kubectl redis-sync ")
	if !ok {
		return errors.New("neither comment nor command")
	}
	root := NewRootCommand(NewOptions(genericiooptions.NewTestIOStreamsDiscard()))
	// What it would do is left out; what is checked before is not.
	for _, cmd := range root.Commands() {
		cmd.RunE = func(*cobra.Command, []string) error { return nil }
	}
	args, err := wordsOf(words)
	if err != nil {
		return err
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	switch {
	case err != nil:
		return err
	case cmd == root:
		return errors.New("it names no verb")
	case cmd.Name() == "wait":
		_, err = execute.ParseCondition(cmd.Flag("for").Value.String())
	}
	return err
}

// wordsOf gives what a shell makes of the words of a line.
func wordsOf(line string) ([]string, error) {
	text, err := exec.Command("sh", "-c", `printf '%s\0' `+line).Output() //nolint:gosec // it is to be a harmless one
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), err
}

// TestRunbookQuotes: whatever contexts and files are named, the shell gives the
// commands the names that they have here, and runs nothing else.
func TestRunbookQuotes(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	ran := filepath.Join(t.TempDir(), "ran")
	for _, name := range []string{
		"two words", "it's", "$HOME", ";touch " + ran, "$(touch " + ran + ")", "`touch " + ran + "`", "a\\", `"a`, "#a", "~", "*", "-n", "=a", "a=b,c=d", `a="b,c`, "größe", "arn:aws:eks:eu-1:123:cluster/x",
	} {
		b, a := name, "a"+name
		file := filepath.Join(t.TempDir(), "it's a $file")
		if err := os.Rename(kubeconfig(t, map[string]string{a: host(t, s.a), b: host(t, s.b)}), file); err != nil {
			t.Fatal(err)
		}
		siteA, err := ofSite("redis-a", a)
		if err != nil {
			t.Fatal(err)
		}
		r := run(t, "runbook", "dr1", "--kubeconfig", file, "--context", b, "-n", "redis", "--site-context", siteA).want(t, 0)
		lines := 0
		for line := range strings.Lines(r.out) {
			if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "kubectl ") {
				continue
			}
			lines++
			if err := parses(line); err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			words, err := wordsOf(strings.TrimPrefix(line, "kubectl redis-sync "))
			if err != nil {
				t.Fatal(err)
			}
			o := NewOptions(genericiooptions.NewTestIOStreamsDiscard())
			cmd, rest, err := NewRootCommand(o).Find(words)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil {
				t.Fatal(err)
			}
			at, site, context := b, "redis-a", a
			if cmd.Name() == "failback" {
				at, site, context = a, "redis-b", b
			}
			contexts, err := cmd.Flags().GetStringToString("site-context")
			if err != nil {
				t.Fatal(err)
			}
			if got := value(o.ConfigFlags.Context); got != at || contexts[site] != context || value(o.ConfigFlags.KubeConfig) != file || value(o.ConfigFlags.Namespace) != "redis" {
				t.Errorf("%s: context %q, sites %q", line, got, contexts)
			}
		}
		if lines < 14 {
			t.Errorf("%d commands:\n%s", lines, r.out)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a name of a context was run")
	}
	// A file of the lost site is not where the other one is.
	only := kubeconfig(t, map[string]string{"elsewhere": host(t, s.a)})
	r := run(t, "runbook", "dr1", "--context", "site-b", "--site-kubeconfig", "redis-a="+only, "--site-context", "redis-a=elsewhere").want(t, 0,
		"kubectl redis-sync failback dr1 --context site-b -n redis --site-context redis-a=elsewhere --site-kubeconfig redis-a="+only+" --yes")
	if strings.Contains(r.out, "--context elsewhere") {
		t.Errorf("it looks for the record in that file:\n%s", r.out)
	}
	for _, name := range []string{"two\nlines", "\x1b[2J", "left\u202eright"} {
		path := kubeconfig(t, map[string]string{name: host(t, s.b), "site-a": host(t, s.a)})
		run(t, "runbook", "dr1", "--kubeconfig", path, "--context", name).want(t, fault.CodeRefused, "holds a character that cannot be typed")
	}
}

// TestParses: the check of the printed commands finds what is wrong with one.
func TestParses(t *testing.T) {
	for line, good := range map[string]bool{
		"kubectl redis-sync failover dr1 --context a -n b --dry-run":       true,
		"kubectl redis-sync wait dr1 --context a -n b --for=in-sync":       true,
		"kubectl redis-sync wait dr1 --context a -n b --for=sync":          false,
		"kubectl redis-sync failover dr1 --context a -n b --no-such":       false,
		"kubectl redis-sync failover dr1 again --context a":                false,
		"kubectl redis-sync fail dr1":                                      false,
		"kubectl redis-sync --context a":                                   false,
		"kubectl get pods":                                                 false,
		"kubectl redis-sync failback dr1 --accept-data-loss --context a b": false,
	} {
		if err := parses(line); (err == nil) != good {
			t.Errorf("%q: %v", line, err)
		}
	}
}
