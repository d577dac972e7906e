package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// Session keeps connections to the pods of one instance, made through the API
// server when they are first asked for. It may be used concurrently.
type Session struct {
	client *kube.Client
	inst   topology.Instance
	cred   Credentials

	mu   sync.Mutex
	pods map[string]*sessionPod
}

type sessionPod struct {
	mu     sync.Mutex
	client *redisx.Client
}

// Open starts a session; it connects to nobody yet.
func Open(c *kube.Client, inst topology.Instance, cred Credentials) *Session {
	return &Session{client: c, inst: inst, cred: cred, pods: map[string]*sessionPod{}}
}

// Close ends the connections.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		p.mu.Lock()
		if p.client != nil {
			_ = p.client.Close()
			p.client = nil
		}
		p.mu.Unlock()
	}
}

// Instance is what the session was opened for.
func (s *Session) Instance() topology.Instance { return s.inst }

// Pod gives a client of a data pod. One connection is shared by all callers.
func (s *Session) Pod(ctx context.Context, name string) (*redisx.Client, error) {
	if s.inst.Pod(name) == nil {
		return nil, fmt.Errorf("%s: %s has no pod %s", s.client.Where(), s.inst.Ref(), name)
	}
	s.mu.Lock()
	p, ok := s.pods[name]
	if !ok {
		p = &sessionPod{}
		s.pods[name] = p
	}
	s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil {
		// A pod of the same name may be another one by now; the first
		// command on the old connection then finds out.
		if err := p.client.Ping(ctx); !redisx.IsUnreachable(err) {
			return p.client, err
		}
		_ = p.client.Close()
		p.client = nil
	}
	client, err := s.connect(ctx, name, 1)
	if err != nil {
		return nil, err
	}
	p.client = client
	return client, nil
}

// NewClient connects to a data pod anew, with up to poolSize connections; the
// caller closes it.
func (s *Session) NewClient(ctx context.Context, pod string, poolSize int) (*redisx.Client, error) {
	return s.connect(ctx, pod, poolSize)
}

// NewClientAs is NewClient with one connection, as another user.
func (s *Session) NewClientAs(ctx context.Context, pod string, cred Credentials) (*redisx.Client, error) {
	return s.connectAs(ctx, pod, cred, 1)
}

// Client is the API server that the session goes through.
func (s *Session) Client() *kube.Client { return s.client }

func (s *Session) connect(ctx context.Context, pod string, poolSize int) (*redisx.Client, error) {
	return s.connectAs(ctx, pod, s.cred, poolSize)
}

func (s *Session) connectAs(ctx context.Context, pod string, cred Credentials, poolSize int) (*redisx.Client, error) {
	secure, err := tlsConfig(ctx, s.client, s.inst)
	if err != nil {
		return nil, err
	}
	dial := dialPod(s.client, s.inst.Namespace, pod, s.inst.Port)
	options := redisx.Options{
		Name:     fmt.Sprintf("%s: pod %s/%s", s.client.Where(), s.inst.Namespace, pod),
		Username: cred.Username, Password: cred.Password, TLS: secure, PoolSize: poolSize,
	}
	client, err := redisx.Open(ctx, dial, options)
	if redisx.IsUnreachable(err) && ctx.Err() == nil {
		// The kept port-forward leads to a pod that is gone; it is dropped now.
		return redisx.Open(ctx, dial, options)
	}
	return client, err
}

func dialPod(c *kube.Client, namespace, pod string, port int) redisx.Dialer {
	return func(ctx context.Context) (net.Conn, error) { return c.DialPod(ctx, namespace, pod, port) }
}

// Primary gives a client of the primary of a shard.
func (s *Session) Primary(ctx context.Context, shard int) (*redisx.Client, error) {
	if shard < 0 || shard >= len(s.inst.Shards) {
		return nil, fmt.Errorf("%s: %s has no shard %d", s.client.Where(), s.inst.Ref(), shard)
	}
	return s.Pod(ctx, s.inst.Shards[shard].Primary)
}

// ForKey gives a client of the primary that holds a key.
func (s *Session) ForKey(ctx context.Context, key string) (*redisx.Client, error) {
	if len(s.inst.Shards) == 0 {
		return nil, fmt.Errorf("%s: %s: %w", s.client.Where(), s.inst.Ref(), errNoPrimary)
	}
	slot := topology.KeySlot(key)
	for _, shard := range s.inst.Shards {
		if shard.Slots.Contains(slot) {
			return s.Pod(ctx, shard.Primary)
		}
	}
	return nil, fmt.Errorf("%s: %s: no primary serves slot %d", s.client.Where(), s.inst.Ref(), slot)
}

var errNoPrimary = errors.New("its primary is not known")
