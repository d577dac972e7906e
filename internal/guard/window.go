package guard

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
)

// windowReplicas is what min-replicas-to-write is set to while writes are
// closed: no server has so many replicas, and nobody else chooses it.
const windowReplicas = "900001"

// Defaults of Redis for a pod that holds our value and is not remembered.
const (
	defaultReplicas = "0"
	defaultMaxLag   = "10"
)

// Window is what CloseWrites replaced, by pod.
type Window struct {
	Pods map[string]WindowValues `json:"pods"`
}

// WindowValues are min-replicas-to-write and min-replicas-max-lag.
type WindowValues struct {
	Replicas string `json:"replicas"`
	MaxLag   string `json:"maxLag"`
}

// ReadWindow reads what CloseWrites would replace and changes nothing. It
// refuses an instance whose custom resource sets the parameter: its operator
// would set it again.
func (s *Site) ReadWindow(ctx context.Context) (*Window, error) {
	if err := s.checkResource(ctx); err != nil {
		return nil, err
	}
	return s.readWindow(ctx, nil)
}

func (s *Site) readWindow(ctx context.Context, remembered *Window) (*Window, error) {
	var mu sync.Mutex
	w := &Window{Pods: map[string]WindowValues{}}
	err := s.each(ctx, "reading min-replicas-to-write", func(pod string, c *redisx.Client) error {
		m, err := c.MinReplicas(ctx)
		if err != nil {
			return err
		}
		values := WindowValues{m.ToWrite, m.MaxLag}
		if m.ToWrite == windowReplicas {
			values = remembered.of(pod)
		}
		mu.Lock()
		defer mu.Unlock()
		w.Pods[pod] = values
		return nil
	})
	return w, err
}

// of gives what a pod had before; the defaults where nobody remembers.
func (w *Window) of(pod string) WindowValues {
	if w != nil {
		if values, ok := w.Pods[pod]; ok {
			return values
		}
	}
	return WindowValues{defaultReplicas, defaultMaxLag}
}

// CloseWrites makes every pod refuse writes (NOREPLICAS), whichever of them is
// or becomes a master; replication, Sentinel and operators go on. It gives
// back what OpenWrites needs: what was remembered, and what it replaced now.
//
// Before 7.0 scripts pass this by; there the standing protection is set as
// well, and whoever cancels has to call Unprotect too.
func (s *Site) CloseWrites(ctx context.Context, remembered *Window) (*Window, error) {
	if err := s.checkResource(ctx); err != nil {
		return nil, err
	}
	w, err := s.readWindow(ctx, remembered)
	if err != nil {
		return nil, err
	}
	const what = "closing the writes"
	var mu sync.Mutex
	old := false
	err = s.each(ctx, what, func(_ string, c *redisx.Client) error {
		info, err := c.Info(ctx, "server")
		if err != nil {
			return err
		}
		if scriptsPass(info["redis_version"]) {
			mu.Lock()
			old = true
			mu.Unlock()
		}
		m, err := c.MinReplicas(ctx)
		if err != nil {
			return err
		}
		if m.MaxLag == "0" { // it would switch the check off
			m.MaxLag = defaultMaxLag
		}
		m.ToWrite = windowReplicas
		return s.setMinReplicas(ctx, c, m)
	})
	if err == nil && old {
		err = s.Protect(ctx)
	}
	return w, err
}

// scriptsPass tells the servers whose scripts may write without replicas
// (before 7.0).
func scriptsPass(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n < 7
}

// setMinReplicas sets both parameters and reads them again.
func (s *Site) setMinReplicas(ctx context.Context, c *redisx.Client, want redisx.MinReplicas) error {
	if err := c.SetMinReplicas(ctx, want); err != nil {
		return err
	}
	now, err := c.MinReplicas(ctx)
	if err != nil {
		return err
	}
	if now.ToWrite != want.ToWrite || now.MaxLag != want.MaxLag {
		return fmt.Errorf("%s: min-replicas-to-write is %s right after it was set to %s: somebody else sets it", c.Name(), now.ToWrite, want.ToWrite)
	}
	return nil
}

// OpenWrites gives every pod back what it had before CloseWrites; nil stands
// for the defaults. A pod that does not hold our value, because it was made
// anew, keeps what it has. Where Sentinel may have written the value to the
// server's file, the file is written again.
func (s *Site) OpenWrites(ctx context.Context, w *Window) error {
	return s.each(ctx, "opening the writes", func(pod string, c *redisx.Client) error {
		now, err := c.MinReplicas(ctx)
		if err != nil {
			return err
		}
		if now.ToWrite == windowReplicas {
			values := w.of(pod)
			now.ToWrite, now.MaxLag = values.Replicas, values.MaxLag
			if err := s.setMinReplicas(ctx, c, now); err != nil {
				return err
			}
		}
		return s.rewrite(ctx, c)
	})
}

// resources are the custom resources of operators that set parameters of
// running servers, by kind.
var resources = map[string]string{
	"RedisFailover": "redisfailovers", "RedisCluster": "redisclusters", "RedisReplication": "redisreplications",
	"Redis": "redis", "ValkeyCluster": "valkeyclusters", "Valkey": "valkeys",
}

// checkResource refuses when the custom resource of the instance sets
// min-replicas-to-write, wherever in its spec: the operator would undo what is
// set here within its next pass. A user who may not read it cannot be told.
func (s *Site) checkResource(ctx context.Context) error {
	plural, known := resources[s.inst.Kind]
	group, err := schema.ParseGroupVersion(s.inst.APIVersion)
	if !known || err != nil {
		return nil //nolint:nilerr // a chart has no custom resource
	}
	list, err := s.session.Client().CustomResources(ctx, group.WithResource(plural), s.inst.Namespace)
	if kube.IsForbidden(err) || kube.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].GetName() != s.inst.Name {
			continue
		}
		if line := setsMinReplicas(list[i].Object["spec"]); line != "" {
			return fault.Refuse("take it out of the custom resource for the time of the switch",
				"%s: %s sets %q: its operator would open the writes again", s.session.Client().Where(), s.inst.Ref(), line)
		}
	}
	return nil
}

// setsMinReplicas looks for the parameter in every text of a spec.
func setsMinReplicas(node any) string {
	switch v := node.(type) {
	case string:
		for _, name := range []string{"min-replicas-", "min-slaves-"} {
			if strings.HasPrefix(strings.TrimSpace(strings.ToLower(v)), name) {
				return v
			}
		}
	case []any:
		for _, item := range v {
			if line := setsMinReplicas(item); line != "" {
				return line
			}
		}
	case map[string]any:
		for key, item := range v {
			if line := setsMinReplicas(key); line != "" {
				return line
			}
			if line := setsMinReplicas(item); line != "" {
				return line
			}
		}
	}
	return ""
}

var errNotHolder = errors.New("no reachable master holds the keys of the pair")
