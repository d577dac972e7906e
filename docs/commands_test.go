package docs_test

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/redis-sync/kubectl-redis-sync/plugin"
)

// scrape lists the metrics of ours that a handler serves.
func scrape(t *testing.T, handler http.Handler) []string {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	response, err := http.Get(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (redis_sync_\w+) `).FindAllStringSubmatch(string(body), -1) {
		names = append(names, m[1])
	}
	return names
}

// shellBlocks lists the lines of the fenced sh blocks of a document.
func shellBlocks(text string) []string {
	var lines []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside && line != "":
			lines = append(lines, line)
		}
	}
	return lines
}

// TestCommands takes every command that the documents show: make targets must
// exist, and verbs must parse with their flags. What remains must be in the
// list of those that the end-to-end tests run as they are.
func TestCommands(t *testing.T) {
	makefile := read(t, "../Makefile")
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range append(files, "../README.md", "../CONTRIBUTING.md") {
		for _, line := range shellBlocks(read(t, file)) {
			checked++
			args := strings.Fields(line)
			switch {
			case args[0] == "make" && len(args) == 2:
				if !regexp.MustCompile(`(?m)^` + args[1] + `:.*## `).MatchString(makefile) {
					t.Errorf("%s: %q: the Makefile has no such target", file, line)
				}
			case strings.HasPrefix(line, "kubectl redis-sync "):
				parse(t, file, line, args[2:])
			case slices.Contains(otherCommands, line):
			default:
				t.Errorf("%s: %q: nothing checks this command; run it in a test and list it here", file, line)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d commands were found in the documents", checked)
	}
}

// otherCommands are run by test/e2e.
var otherCommands = []string{
	"kubectl wait --for=condition=Available deploy -l redis-sync.io/pair=orders --context site-b -n redis",
}

// parse runs a command line through the plugin's own parser, up to where it
// would begin to act.
func parse(t *testing.T, file, line string, args []string) {
	t.Helper()
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
	root := plugin.NewRootCommand(plugin.NewOptions(streams))
	command, rest, err := root.Find(args)
	if err != nil {
		t.Errorf("%s: %q: %v", file, line, err)
		return
	}
	if command == root {
		t.Errorf("%s: %q: no such verb", file, line)
		return
	}
	if err := command.ParseFlags(rest); err != nil {
		t.Errorf("%s: %q: %v", file, line, err)
		return
	}
	if err := command.ValidateArgs(command.Flags().Args()); err != nil {
		t.Errorf("%s: %q: %v", file, line, err)
	}
}

// TestLinks follows the links between the documents.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../README.md", "../CONTRIBUTING.md") {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`).FindAllStringSubmatch(read(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
}

// TestNamedTests: a test that a document names as proof must exist.
func TestNamedTests(t *testing.T) {
	var sources strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		sources.WriteString(read(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*\\*?)`").FindAllStringSubmatch(read(t, "engine.md"), -1)
	for _, m := range names {
		prefix, isPrefix := strings.CutSuffix(m[1], "*")
		if !isPrefix {
			prefix += "("
		}
		if !strings.Contains(sources.String(), "\nfunc "+prefix) {
			t.Errorf("engine.md names %s, which does not exist", m[1])
		}
	}
	if len(names) == 0 {
		t.Error("engine.md names no test")
	}
}
