package kube_test

import (
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
)

// fixedConfig replaces what a loader finds.
type fixedConfig struct {
	*testkube.Loader
	config *rest.Config
}

func (f fixedConfig) ToRESTConfig() (*rest.Config, error) { return f.config, nil }

func TestNewFindsContextAndNamespace(t *testing.T) {
	s := testkube.New(t)
	c, err := kube.New(s.Loader("ctx-a", "redis"), kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Context() != "ctx-a" || c.Namespace() != "redis" || !strings.HasPrefix(c.Server(), "http://127.0.0.1:") {
		t.Errorf("got %q %q %q", c.Context(), c.Namespace(), c.Server())
	}
	if c.Where() != `context "ctx-a"` || c.WithSite("redis-a").Where() != `site redis-a (context "ctx-a")` {
		t.Errorf("got %q and %q", c.Where(), c.WithSite("redis-a").Where())
	}
	if v, err := c.Ping(t.Context()); err != nil || v != "v1.34.0-test" {
		t.Errorf("got %q %v", v, err)
	}
}
