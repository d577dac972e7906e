// Package servers provides redis-server and valkey-server of several releases
// on one machine: it unpacks Debian's packages, each with the libraries of its
// own suite, into a folder of the user's cache and runs them from there.
// Nothing is installed. It needs apt-get and dpkg-deb, and no root.
package servers

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// Release is a server that a suite of Debian carries.
type Release struct {
	Name    string // "redis-8.0": product and the first two numbers of the version
	Suite   string
	Base    string // suite that holds the libraries, when Suite is an overlay
	Package string
}

// Releases lists what Get knows, products apart, oldest first.
var Releases = []Release{
	{Name: "redis-6.0", Suite: "bullseye", Package: "redis-server"},
	{Name: "redis-7.0", Suite: "bookworm", Package: "redis-server"},
	{Name: "redis-8.0", Suite: "trixie", Package: "redis-server"},
	{Name: "valkey-8.0", Suite: "bookworm-backports", Base: "bookworm", Package: "valkey-server"},
	{Name: "valkey-8.1", Suite: "trixie", Package: "valkey-server"},
	{Name: "valkey-9.1", Suite: "forky", Package: "valkey-server"},
}

// Names returns the names of all releases.
func Names() []string {
	names := make([]string, len(Releases))
	for i, r := range Releases {
		names[i] = r.Name
	}
	return names
}

// Valkey says whether the release is Valkey's.
func (r Release) Valkey() bool { return strings.HasPrefix(r.Name, "valkey-") }

// short is the part of the version that the name promises.
func (r Release) short() string {
	_, v, _ := strings.Cut(r.Name, "-")
	return v
}

// Binary is a server of one release, ready to run.
type Binary struct {
	Release
	Version string // full: "8.0.2"
	Path    string // takes the arguments of redis-server
}

// Get returns the server of that name, fetched first if need be. When it
// cannot be had, the test is skipped with the reason, or fails under CI=true.
func Get(t testing.TB, name string) *Binary {
	t.Helper()
	b, err := Find(t.Context(), name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("NOT RUN: needs the server %s: %v", name, err)
		}
		t.Skipf("NOT RUN: needs the server %s: %v", name, err)
	}
	return b
}

// Start runs the server as testredis.Start does, with the same meaning of
// args. It is not for parallel tests, because the choice of the binary is an
// environment variable.
func (b *Binary) Start(t testing.TB, args ...string) *testredis.Server {
	t.Helper()
	t.Setenv("TEST_REDIS_SERVER", b.Path)
	return testredis.Start(t, args...)
}

// StartCluster forms a cluster of this release as testredis.StartCluster does.
func (b *Binary) StartCluster(t testing.TB, masters, replicas int, args ...string) *testredis.Cluster {
	t.Helper()
	t.Setenv("TEST_REDIS_SERVER", b.Path)
	return testredis.StartCluster(t, masters, replicas, args...)
}

func lookup(name string) (Release, bool) {
	i := slices.IndexFunc(Releases, func(r Release) bool { return r.Name == name })
	if i < 0 {
		return Release{}, false
	}
	return Releases[i], true
}
