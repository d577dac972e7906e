// Package docs_test keeps the documents true: what they list is compared with
// the code, and the commands that they show are run through the real parser.
package docs_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/status"
)

var update = flag.Bool("update", false, "rewrite the generated parts of the documents")

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section gives the part of a document below a heading.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut("\n"+text, "\n"+heading)
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	if body, _, ok := strings.Cut(rest, "\n## "); ok {
		return body
	}
	return rest
}

// rows gives the words in backquotes of the first column of all tables.
func rows(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		first, _, _ := strings.Cut(line[1:], "|")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// same compares two lists without order and says what only one of them has.
func same(t *testing.T, what string, documented, real []string) {
	t.Helper()
	for _, name := range real {
		if !slices.Contains(documented, name) {
			t.Errorf("%s: %s is not documented", what, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(real, name) {
			t.Errorf("%s: %s is documented and does not exist", what, name)
		}
	}
}

// tags lists the names that a struct's fields have in a format, nested ones
// with dots.
func tags(typ reflect.Type, format, prefix string) []string {
	var names []string
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get(format), ",")
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			names = append(names, tags(inner, format, prefix+name+".")...)
			continue
		}
		names = append(names, prefix+name)
	}
	return names
}

func TestSyncTOML(t *testing.T) {
	text := read(t, "sync-toml.md")
	var documented []string
	for _, table := range []string{"link", "source", "target", "advanced"} {
		for _, key := range rows(section(t, text, "## ["+table+"]")) {
			documented = append(documented, table+"."+key)
		}
	}
	documented = append(documented, rows(section(t, text, "## Top level"))...)
	same(t, "sync-toml.md", documented, tags(reflect.TypeFor[wire.SyncFile](), "toml", ""))
}

func TestStatusFields(t *testing.T) {
	body := section(t, read(t, "status.md"), "## /status")
	fields, phases, ok := strings.Cut(body, "| phase |")
	if !ok {
		t.Fatal("no table of phases")
	}
	same(t, "status.md", rows(fields), tags(reflect.TypeFor[wire.Status](), "json", ""))
	var real []string
	for _, p := range []wire.Phase{
		wire.PhaseStarting, wire.PhaseConnecting, wire.PhaseFullSync, wire.PhaseCatchingUp,
		wire.PhaseStreaming, wire.PhaseDraining, wire.PhaseFenced, wire.PhaseFailed,
	} {
		real = append(real, string(p))
	}
	same(t, "status.md, phases", rows(phases), real)
}

func TestMetrics(t *testing.T) {
	scraped := scrape(t, status.New(wire.Status{Pair: "p", Site: "s"}).Handler())
	same(t, "status.md, metrics", rows(section(t, read(t, "status.md"), "## Metrics")), scraped)
}

func TestExitCodes(t *testing.T) {
	source := read(t, "../internal/fault/fault.go")
	var real []string
	for _, m := range regexp.MustCompile(`(?m)^\tCode\w+\s+= (\d+)`).FindAllStringSubmatch(source, -1) {
		real = append(real, m[1])
	}
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(section(t, read(t, "status.md"), "## Exit codes"), -1) {
		documented = append(documented, m[1])
	}
	same(t, "status.md, exit codes", documented, real)
}

const rbacBegin, rbacEnd = "<!-- rbac:begin -->\n", "<!-- rbac:end -->"

// TestRBACTable compares the README's table with the ClusterRoles.
func TestRBACTable(t *testing.T) {
	const file = "../README.md"
	text := read(t, file)
	before, rest, ok := strings.Cut(text, rbacBegin)
	got, after, ok2 := strings.Cut(rest, rbacEnd)
	if !ok || !ok2 {
		t.Fatal("README.md lacks the marks of the table")
	}
	want := rbacTable(t)
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("the README's table differs from manifests/rbac (go test ./docs -update):\n%s\nwant\n%s", got, want)
	}
	if err := os.WriteFile(file, []byte(before+rbacBegin+want+rbacEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rbacVerbs are the columns, in the order in which a user meets the verbs.
var rbacVerbs = []string{"discover", "plan", "apply", "status", "verify", "pause", "start", "failover", "failback", "recover", "cancel", "resume", "delete"}

func rbacTable(t *testing.T) string {
	t.Helper()
	// resource -> verb of ours -> verb of Kubernetes -> sides
	cells := map[string]map[string]map[string][]string{}
	for _, verb := range rbacVerbs {
		roles, err := manifests.Roles(verb)
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range roles {
			side := role.Labels["redis-sync.io/side"]
			eachRule(role, func(resource, kubeVerb string) {
				if cells[resource] == nil {
					cells[resource] = map[string]map[string][]string{}
				}
				if cells[resource][verb] == nil {
					cells[resource][verb] = map[string][]string{}
				}
				sides := cells[resource][verb][kubeVerb]
				if !slices.Contains(sides, side) {
					cells[resource][verb][kubeVerb] = append(sides, side)
				}
			})
		}
	}
	resources := make([]string, 0, len(cells))
	for r := range cells {
		resources = append(resources, r)
	}
	slices.Sort(resources)
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |\n|---%s|\n", strings.Join(rbacVerbs, " | "), strings.Repeat("|---", len(rbacVerbs)))
	for _, resource := range resources {
		fmt.Fprintf(&b, "| %s |", resource)
		for _, verb := range rbacVerbs {
			fmt.Fprintf(&b, " %s |", cell(cells[resource][verb]))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func eachRule(role rbacv1.ClusterRole, do func(resource, verb string)) {
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				do(resource, verb)
			}
		}
	}
}

// cell lists verbs in a fixed order, those of one side apart.
func cell(verbs map[string][]string) string {
	groups := map[string][]string{}
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
		sides, ok := verbs[verb]
		if !ok {
			continue
		}
		side := ""
		if len(sides) == 1 && sides[0] != manifests.SideBoth {
			side = sides[0]
		}
		groups[side] = append(groups[side], verb)
	}
	var parts []string
	for _, side := range []string{"", manifests.SidePrimary, manifests.SideStandby} {
		if len(groups[side]) == 0 {
			continue
		}
		text := strings.Join(groups[side], " ")
		if side != "" {
			text = side + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
