package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Options of Open.
type Options struct {
	Pair string
	// Vault keeps what the standing protection has to remember; nil: this site
	// is never protected, and writes go as the instance's own user.
	Vault *Vault
}

// Site is one instance at work. It may be used concurrently.
type Site struct {
	session *discovery.Session
	inst    topology.Instance
	opts    Options

	mu      sync.Mutex
	pods    map[string]*link // as the instance's own user
	writers map[string]*link // as the user that may write
}

type link struct {
	mu     sync.Mutex
	client *redisx.Client
}

// Open takes an instance over; it connects to nobody yet. Close ends the
// session too.
func Open(session *discovery.Session, opts Options) *Site {
	return &Site{
		session: session, inst: session.Instance(), opts: opts,
		pods: map[string]*link{}, writers: map[string]*link{},
	}
}

// Close ends the connections.
func (s *Site) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, links := range []map[string]*link{s.pods, s.writers} {
		for _, l := range links {
			l.mu.Lock()
			if l.client != nil {
				errs = append(errs, l.client.Close())
				l.client = nil
			}
			l.mu.Unlock()
		}
	}
	s.session.Close()
	return errors.Join(errs...)
}

// Instance is what the site was opened for.
func (s *Site) Instance() topology.Instance { return s.inst }

func linkOf(s *Site, links map[string]*link, pod string) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if links[pod] == nil {
		links[pod] = &link{}
	}
	return links[pod]
}

// on runs f with the connection to a pod, once more over a new one when it
// broke: f can be repeated.
func (l *link) on(ctx context.Context, connect func() (*redisx.Client, error), f func(*redisx.Client) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.client != nil
	for {
		if l.client == nil {
			client, err := connect()
			if err != nil {
				return err
			}
			l.client = client
		}
		err := f(l.client)
		if !redisx.IsUnreachable(err) {
			return err
		}
		_ = l.client.Close() // it is broken
		l.client = nil
		if !kept || ctx.Err() != nil {
			return err
		}
		kept = false
	}
}

// pod runs f on a data pod as the instance's own user.
func (s *Site) pod(ctx context.Context, name string, f func(*redisx.Client) error) error {
	if p := s.inst.Pod(name); p == nil || p.IP == "" {
		return fmt.Errorf("%s: pod %s/%s does not run", s.session.Client().Where(), s.inst.Namespace, name)
	}
	return linkOf(s, s.pods, name).on(ctx, func() (*redisx.Client, error) { return s.session.NewClient(ctx, name, 1) }, f)
}

// write runs f on a data pod as the user that may write there: the dedicated
// one, or the instance's own on a pod that does not know that one.
func (s *Site) write(ctx context.Context, name string, f func(*redisx.Client) error) error {
	password := ""
	if s.opts.Vault != nil {
		password = s.opts.Vault.Password()
	}
	if password == "" {
		return s.pod(ctx, name, f)
	}
	err := linkOf(s, s.writers, name).on(ctx, func() (*redisx.Client, error) {
		return s.session.NewClientAs(ctx, name, discovery.Credentials{Username: wire.SyncUser, Password: password})
	}, f)
	if redisx.IsAuth(err) || isOldAuth(err) {
		return s.pod(ctx, name, f)
	}
	return err
}

// isOldAuth knows servers before 6.0, whose AUTH takes no user.
func isOldAuth(err error) bool {
	return err != nil && strings.Contains(err.Error(), "wrong number of arguments for 'auth' command")
}

// Holder runs f on the primary that holds a key, as the user that may write
// there.
func (s *Site) Holder(ctx context.Context, key string, f func(*redisx.Client) error) error {
	pod, err := s.holder(key)
	if err != nil {
		return err
	}
	return s.write(ctx, pod, f)
}

func (s *Site) holder(key string) (pod string, err error) {
	slot := topology.KeySlot(key)
	for _, shard := range s.inst.Shards {
		if shard.Slots.Contains(slot) && shard.Primary != "" {
			return shard.Primary, nil
		}
	}
	return "", fmt.Errorf("%s: %s: its primary is not known", s.session.Client().Where(), s.inst.Ref())
}

// podError is what went wrong on one pod.
type podError struct {
	Pod string
	Err error
}

// PodsError says on which pods a call did not do its work; on the others it
// did.
type PodsError struct {
	What string
	Pods []podError
}

func (e *PodsError) Error() string {
	texts := make([]string, 0, len(e.Pods))
	for _, p := range e.Pods {
		texts = append(texts, p.Err.Error())
	}
	return e.What + ": " + strings.Join(texts, "; ")
}

// Unwrap gives the errors of the pods.
func (e *PodsError) Unwrap() []error {
	errs := make([]error, 0, len(e.Pods))
	for _, p := range e.Pods {
		errs = append(errs, p.Err)
	}
	return errs
}

// Unreachable tells whether every pod of the error gave no answer at all.
func (e *PodsError) Unreachable() bool {
	return !slices.ContainsFunc(e.Pods, func(p podError) bool { return !noAnswer(p.Err) })
}

// each runs f on every data pod at the same time. Its error is a *PodsError.
func (s *Site) each(ctx context.Context, what string, f func(pod string, c *redisx.Client) error) error {
	errs := make([]error, len(s.inst.Pods))
	var group sync.WaitGroup
	for i, p := range s.inst.Pods {
		group.Go(func() {
			errs[i] = s.pod(ctx, p.Name, func(c *redisx.Client) error { return f(p.Name, c) })
		})
	}
	group.Wait()
	failed := &PodsError{What: what}
	for i, p := range s.inst.Pods {
		if errs[i] != nil {
			failed.Pods = append(failed.Pods, podError{p.Name, errs[i]})
		}
	}
	if len(failed.Pods) == 0 {
		return nil
	}
	return failed
}
