package pair

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	text, err := os.ReadFile("testdata/pair.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	p = p.Default()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if p.Metadata.Name != "dr1" || p.Spec.PreferredPrimary != "east" || len(p.Spec.Sites) != 2 {
		t.Errorf("parsed %+v", p)
	}
	if site, ok := p.Spec.Site("redis-b"); !ok || site.Instance.Name != "redis-b" {
		t.Errorf("a site without a name is to be named after its instance: %+v", p.Spec.Sites)
	}
	if other, ok := p.Spec.Other("east"); !ok || other.Name != "redis-b" {
		t.Errorf("the other site of east is %+v", other)
	}
	if memory := p.Spec.Replicator.Resources.Limits.Memory().String(); memory != "256Mi" {
		t.Errorf("memory limit %s", memory)
	}
}

func TestParseRefuses(t *testing.T) {
	const good = `apiVersion: redis-sync.io/v1alpha1
kind: Pair
metadata: {name: dr1}
spec:
  sites:
  - {context: a, namespace: redis, instance: {name: redis-a}}
  - {context: b, namespace: redis, instance: {name: redis-b}}
`
	if p, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	} else if err := p.Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ change, to, want string }{
		"misspelt key":         {"instance: {name: redis-a}", "instnace: {name: redis-a}", `unknown key spec.sites[0].instnace (did you mean "instance"?)`},
		"misspelt nested key":  {"{name: redis-a}", "{nam: redis-a}", `unknown key spec.sites[0].instance.nam (did you mean "name"?)`},
		"foreign key":          {"kind: Pair", "kind: Pair\nwhatever: 1", "unknown key whatever (valid keys: apiVersion, kind, metadata, spec)"},
		"twice the same key":   {"kind: Pair", "kind: Pair\nkind: Pair", "already set"},
		"other kind":           {"kind: Pair", "kind: Pod", `kind "Pod": expected "Pair"`},
		"other version":        {"v1alpha1", "v2", `expected "redis-sync.io/v1alpha1"`},
		"wrong type":           {"namespace: redis, instance: {name: redis-a}", "namespace: [redis], instance: {name: redis-a}", "namespace: expected string, got array"},
		"no YAML":              {"kind: Pair", "kind: [", "not valid YAML"},
		"no name":              {"{name: dr1}", "{}", `pair name ""`},
		"capital letters":      {"{name: dr1}", "{name: DR1}", `pair name "DR1": expected a DNS label`},
		"long name":            {"{name: dr1}", "{name: " + strings.Repeat("x", 60) + "}", "too long: at most 52 characters"},
		"long names together":  {"{name: dr1}", "{name: " + strings.Repeat("x", 52) + "}", "too long together"},
		"one site":             {"  - {context: b, namespace: redis, instance: {name: redis-b}}\n", "", "expected two sites, got 1"},
		"the same instance":    {"{context: b, namespace: redis, instance: {name: redis-b}}", "{name: x, context: a, namespace: redis, instance: {name: redis-a}}", "are the same instance"},
		"the same site name":   {"{context: b, namespace: redis, instance: {name: redis-b}}", "{context: b, namespace: redis, instance: {name: redis-a}}", `both are named "redis-a"`},
		"unknown primary":      {"spec:\n", "spec:\n  preferredPrimary: redis-x\n", `spec.preferredPrimary "redis-x": expected one of the sites "redis-a" and "redis-b"`},
		"unknown access":       {"{context: b,", "{access: {type: Tunnel}, context: b,", `access.type "Tunnel": expected NodePort`},
		"addresses of nothing": {"{context: b,", "{access: {type: Addresses}, context: b,", "needs access.addresses"},
		"no address":           {"{context: b,", "{access: {type: Addresses, addresses: {p: host}}, context: b,", `pod p: "host": expected host:port`},
		"no port":              {"{context: b,", "{access: {nodePorts: {p: 70000}}, context: b,", "70000 is not a port"},
		"no host":              {"{context: b,", "{access: {nodeAddresses: ['a b']}, context: b,", "neither an IP address nor a host name"},
		"unknown policy":       {"spec:\n", "spec:\n  staleKeys: {policy: purge}\n", `spec.staleKeys.policy "purge": expected keep, prune or refuse`},
		"share over one":       {"spec:\n", "spec:\n  staleKeys: {maxShare: 10}\n", "expected a number between 0 and 1"},
		"protection":           {"spec:\n", "spec:\n  protectStandby: fence\n", `protectStandby "fence": expected acl or none`},
		"log level":            {"spec:\n", "spec:\n  replicator: {logLevel: trace}\n", "expected debug, info or warn"},
		"negative size":        {"spec:\n", "spec:\n  replicator: {spoolDiskBytes: -1}\n", "-1 is negative"},
		"half a secret":        {"{context: b,", "{credentials: {passwordSecret: {name: x}}, context: b,", "expected name and key"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, test.change, test.to, 1)
			if text == good {
				t.Fatal("the test changes nothing")
			}
			p, err := Parse([]byte(text))
			if err == nil {
				err = p.Default().Validate()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v\nexpected %s", err, test.want)
			}
		})
	}
}

func TestParseReference(t *testing.T) {
	for text, want := range map[string]Reference{
		"site-a/redis/redis-a":                           {Context: "site-a", Namespace: "redis", Name: "redis-a"},
		"site-a/redis/RedisCluster/redis-a":              {Context: "site-a", Namespace: "redis", Kind: "RedisCluster", Name: "redis-a"},
		"arn:aws:eks:eu-west-1:1:cluster/prod/redis/r":   {Context: "arn:aws:eks:eu-west-1:1:cluster/prod", Namespace: "redis", Name: "r"},
		"east=site-a/redis/redis-a":                      {Site: "east", Context: "site-a", Namespace: "redis", Name: "redis-a"},
		"kind-a/redis/redis/redis":                       {Context: "kind-a/redis", Namespace: "redis", Name: "redis"},
		"admin@cluster.example:6443/ns/RedisFailover/rf": {Context: "admin@cluster.example:6443", Namespace: "ns", Kind: "RedisFailover", Name: "rf"},
	} {
		got, err := ParseReference(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "redis-a", "redis/redis-a", "site-a//redis-a", "site-a/redis/", "redis/RedisCluster/redis-a"} {
		if got, err := ParseReference(text); err == nil {
			t.Errorf("%q: %+v, expected an error", text, got)
		}
	}
}

func TestSiteNames(t *testing.T) {
	for _, test := range []struct {
		source, target string
		want           [2]string
	}{
		{"a/redis/redis-a", "b/redis/redis-b", [2]string{"redis-a", "redis-b"}},
		{"site-a/redis/cache", "site-b/redis/cache", [2]string{"cache-site-a", "cache-site-b"}},
		{"a/blue/cache", "a/green/cache", [2]string{"cache-blue", "cache-green"}},
		{"a@x/redis/cache", "b@x/redis/cache", [2]string{"cache-a", "cache-b"}},
		{"east=a/redis/cache", "b/redis/cache", [2]string{"east", "cache"}},
	} {
		source, err := ParseReference(test.source)
		if err != nil {
			t.Fatal(err)
		}
		target, err := ParseReference(test.target)
		if err != nil {
			t.Fatal(err)
		}
		p := FromReferences("dr1", source, target)
		if got := [2]string{p.Spec.Sites[0].Name, p.Spec.Sites[1].Name}; got != test.want {
			t.Errorf("%s, %s: sites %v, expected %v", test.source, test.target, got, test.want)
		}
		if err := p.Default().Validate(); err != nil {
			t.Errorf("%s, %s: %v", test.source, test.target, err)
		}
	}
}

func TestNames(t *testing.T) {
	long := "redis-" + strings.Repeat("x", 60) + "-leader-0"
	other := "redis-" + strings.Repeat("x", 60) + "-leader-1"
	a, b := ServiceName("dr1", long), ServiceName("dr1", other)
	if len(a) > 63 || len(b) > 63 || a == b || !isLabel(a) {
		t.Errorf("names of Services: %s (%d), %s", a, len(a), b)
	}
	if got := ServiceName("dr1", "redis-a-leader-0"); got != "dr1-redis-a-leader-0" {
		t.Errorf("name of a Service: %s", got)
	}
	if got := ReplicatorName("dr1", "redis-b", 2); got != "dr1-to-redis-b-2" {
		t.Errorf("name of a replicator: %s", got)
	}
}

// The example is the documentation of the file: it has to be valid and to
// show every key.
func TestExampleShowsEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../manifests/examples/pair.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Default().Validate(); err != nil {
		t.Fatal(err)
	}
	var check func(t *testing.T, typ reflect.Type, path string)
	check = func(t *testing.T, typ reflect.Type, path string) {
		t.Helper()
		typ = indirect(typ)
		if typ.Kind() == reflect.Slice {
			typ = indirect(typ.Elem())
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[Pair]().PkgPath() {
			return
		}
		for key, field := range jsonFields(typ) {
			if !strings.Contains(string(text), key+":") {
				t.Errorf("the example lacks %s", join(path, key))
			}
			check(t, field, join(path, key))
		}
	}
	check(t, reflect.TypeFor[Pair](), "")
}
