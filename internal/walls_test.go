// Package internal_test checks the walls between the packages of this module.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/redis-sync/kubectl-redis-sync"

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath   string
	Imports      []string // its own
	Deps         []string // its own and theirs
	TestImports  []string
	XTestImports []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	readSources(t)
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v\n%s", err, failed.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// readSources opens all sources, so that go test does not take its cached
// result after one of them changed: it cannot see what `go list` reads.
func readSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == filepath.Join("..", "test") || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		_, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// in says whether a package is one of these, or below one of them. A name
// without a dot in its first element is one of this module.
func in(pkg string, names ...string) bool {
	for _, n := range names {
		if first, _, _ := strings.Cut(n, "/"); !strings.Contains(first, ".") {
			n = module + "/" + n
		}
		if pkg == n || strings.HasPrefix(pkg, n+"/") {
			return true
		}
	}
	return false
}

// replicator is what runs beside Redis: small, and with no idea of Kubernetes.
var replicator = []string{"sidecar", "cmd/redis-sync-sidecar"}

// walls says what a package must not import. why is what to do instead.
var walls = []struct {
	name     string
	of       func(pkg string) bool
	indirect bool // through other packages, too
	forbids  func(dep string) bool
	why      string
}{
	{
		"plugin", func(p string) bool { return in(p, "plugin", "cmd/kubectl-redis_sync") }, true,
		func(d string) bool { return in(d, "sidecar") },
		"the plugin and the replicator share internal/wire only",
	},
	{
		"replicator", func(p string) bool { return in(p, replicator...) }, true,
		func(d string) bool {
			return in(d, "k8s.io", "sigs.k8s.io", "github.com/spf13/cobra", "plugin", "manifests")
		},
		"the replicator knows nothing of Kubernetes and has no verbs",
	},
	{
		"replicator's own packages", func(p string) bool { return in(p, replicator...) }, true,
		func(d string) bool {
			return in(d, "internal") && !in(d, "internal/wire", "internal/redisx", "internal/verify", "internal/version", "internal/rescue",
				// What redisx itself stands on: errors, and the names of things.
				"internal/fault", "internal/topology")
		},
		"the replicator uses internal/{wire,redisx,verify,rescue,version} only",
	},
	{
		"pure packages", func(p string) bool { return in(p, "internal/pair", "internal/topology", "internal/plan") }, true,
		func(d string) bool { return in(d, "k8s.io/client-go", "github.com/redis/go-redis") },
		"pure packages get objects and answers, and return decisions",
	},
	{
		"client-go", func(p string) bool { return !in(p, "internal/kube", "internal/testkube", "cmd/kubectl-redis_sync") }, false,
		func(d string) bool { return in(d, "k8s.io/client-go") },
		"only internal/kube talks to API servers",
	},
	{
		"go-redis", func(p string) bool { return !in(p, "internal/redisx") }, false,
		func(d string) bool { return in(d, "github.com/redis/go-redis") },
		"only internal/redisx talks to Redis",
	},
	{
		"verbs and their flags", func(p string) bool { return !in(p, "plugin", "cmd/kubectl-redis_sync") }, false,
		func(d string) bool { return in(d, "github.com/spf13/cobra", "k8s.io/cli-runtime") },
		"cobra and cli-runtime live in the plugin only",
	},
	{
		"everything", func(string) bool { return true }, true,
		func(d string) bool { return in(d, "test") },
		"nothing imports the test tree",
	},
	{
		"shipped packages", func(p string) bool { return !in(p, "internal/testredis", "internal/testkube") }, false,
		func(d string) bool { return in(d, "internal/testredis", "internal/testkube") || d == "testing" },
		"what starts servers for tests belongs into tests",
	},
}

func TestWalls(t *testing.T) {
	all := packages(t)
	for _, w := range walls {
		t.Run(w.name, func(t *testing.T) {
			checked := 0
			for _, p := range all {
				if !w.of(p.ImportPath) {
					continue
				}
				checked++
				deps := p.Imports
				if w.indirect {
					deps = p.Deps
				}
				for _, d := range deps {
					if w.forbids(d) {
						t.Errorf("%s imports %s: %s", p.ImportPath, d, w.why)
					}
				}
			}
			if checked == 0 {
				t.Error("no package is behind this wall any more; mend the test")
			}
		})
	}
}

// TestTestsStayBehindTheWall holds for the imports of tests what matters most
// there: a test of the plugin must not reach into the replicator.
func TestTestsStayBehindTheWall(t *testing.T) {
	for _, p := range packages(t) {
		for _, d := range append(p.TestImports, p.XTestImports...) {
			if in(p.ImportPath, "plugin") && in(d, "sidecar") || in(p.ImportPath, "sidecar") && in(d, "plugin") || in(d, "test") {
				t.Errorf("a test of %s imports %s", p.ImportPath, d)
			}
		}
	}
}
