package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// PodProtection says how one pod is kept from being written to.
type PodProtection struct {
	Pod string
	// Gaps say who may write beside the dedicated user, or what it lacks.
	Gaps []string
	// Err is why the pod could not be asked. With redisx.ErrNoACL it cannot be
	// protected at all.
	Err error
}

// Holds tells whether the pod is protected.
func (p PodProtection) Holds() bool { return p.Err == nil && len(p.Gaps) == 0 }

// Why it does not hold, in words.
func (p PodProtection) Why() string {
	if p.Err != nil {
		return p.Err.Error()
	}
	return strings.Join(p.Gaps, ", ")
}

var errNoVault = errors.New("the protection has no place to remember what it changes")

// noAnswer tells a pod that cannot be asked now.
func noAnswer(err error) bool {
	return redisx.IsUnreachable(err) || redisx.IsRefused(err) || redisx.IsLoading(err) || kube.IsUnreachable(err) || kube.IsNotFound(err)
}

// Protection looks at every pod and changes nothing.
func (s *Site) Protection(ctx context.Context) ([]PodProtection, error) {
	if s.opts.Vault == nil {
		return nil, errNoVault
	}
	out := make([]PodProtection, len(s.inst.Pods))
	for i, p := range s.inst.Pods {
		out[i].Pod = p.Name
	}
	err := s.each(ctx, "reading the ACLs", func(pod string, c *redisx.Client) error {
		users, err := c.ACLUsers(ctx)
		if err == nil {
			out[s.indexOf(pod)].Gaps = s.missing(pod, users).Gaps
		}
		return err
	})
	var failed *PodsError
	if errors.As(err, &failed) {
		for _, p := range failed.Pods {
			out[s.indexOf(p.Pod)].Err = p.Err
		}
	}
	return out, ctx.Err()
}

func (s *Site) indexOf(pod string) int {
	for i, p := range s.inst.Pods {
		if p.Name == pod {
			return i
		}
	}
	return -1
}

func (s *Site) missing(pod string, users []redisx.ACLUser) redisx.Protection {
	return redisx.Protect(users, wire.SyncUser, s.opts.Vault.Password(), s.opts.Vault.rulesOf(pod))
}

// Protect takes @write from every user of every pod but the dedicated one,
// which it makes. What the users might run before is kept first. It does what
// it can: the error, a *PodsError, names the pods where the protection does
// not hold; with redisx.ErrNoACL in it they have no ACLs.
func (s *Site) Protect(ctx context.Context) error {
	if s.opts.Vault == nil {
		return errNoVault
	}
	if err := s.opts.Vault.MakePassword(); err != nil {
		return err
	}
	const what = "protecting the standby"
	plans, readErr := s.readPlans(ctx, what)
	before := map[string]map[string]redisx.UserRules{}
	for pod, plan := range plans {
		if len(plan.Commands) > 0 {
			before[pod] = plan.Remember
		}
	}
	if len(before) == 0 {
		return readErr
	}
	if err := s.opts.Vault.keep(ctx, before); err != nil {
		return err
	}
	var mu sync.Mutex
	after := map[string]map[string]redisx.UserRules{}
	err := s.each(ctx, what, func(pod string, c *redisx.Client) error {
		plan, ok := plans[pod]
		if !ok || len(plan.Commands) == 0 {
			return nil
		}
		if err := c.RunACL(ctx, plan.Commands); err != nil {
			return err
		}
		users, err := c.ACLUsers(ctx)
		if err != nil {
			return err
		}
		rules := maps.Clone(plan.Remember)
		for _, u := range users {
			if r, ok := rules[u.Name]; ok {
				r.After = u.Rules()
				rules[u.Name] = r
			}
		}
		if again := redisx.Protect(users, wire.SyncUser, s.opts.Vault.Password(), rules); len(again.Gaps) > 0 {
			return fmt.Errorf("%s: %s: somebody changes the ACLs at the same moment", c.Name(), strings.Join(again.Gaps, ", "))
		}
		mu.Lock()
		defer mu.Unlock()
		after[pod] = rules
		return nil
	})
	if keepErr := s.opts.Vault.keep(ctx, after); keepErr != nil {
		return keepErr
	}
	return joinPods(what, readErr, err)
}

// readPlans asks every pod what is missing there.
func (s *Site) readPlans(ctx context.Context, what string) (map[string]redisx.Protection, error) {
	var mu sync.Mutex
	plans := map[string]redisx.Protection{}
	err := s.each(ctx, what, func(pod string, c *redisx.Client) error {
		users, err := c.ACLUsers(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		plans[pod] = s.missing(pod, users)
		return nil
	})
	return plans, err
}

// joinPods makes one error of two passes over the pods; a pod that failed in
// both is named once.
func joinPods(what string, errs ...error) error {
	all := &PodsError{What: what}
	seen := map[string]bool{}
	for _, err := range errs {
		var failed *PodsError
		if !errors.As(err, &failed) {
			if err != nil {
				return errors.Join(errs...)
			}
			continue
		}
		for _, p := range failed.Pods {
			if !seen[p.Pod] {
				seen[p.Pod] = true
				all.Pods = append(all.Pods, p)
			}
		}
	}
	if len(all.Pods) == 0 {
		return nil
	}
	return all
}

// Unprotect gives every user back what it might run before, removes the
// dedicated one, which ends its connections, and forgets what was kept. Where
// Sentinel may have written the ACLs to the servers' files, these are written
// again. A pod that has no ACLs has none to undo. notes name users whose rules
// somebody changed meanwhile.
func (s *Site) Unprotect(ctx context.Context) (notes []string, err error) {
	if s.opts.Vault == nil || s.opts.Vault.empty() && !s.opts.Vault.Exists() {
		return nil, nil
	}
	var mu sync.Mutex
	done := map[string]map[string]redisx.UserRules{}
	err = s.each(ctx, "ending the protection", func(pod string, c *redisx.Client) error {
		users, err := c.ACLUsers(ctx)
		if errors.Is(err, redisx.ErrNoACL) && len(s.opts.Vault.rulesOf(pod)) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		was := map[string]string{}
		for _, u := range users {
			was[u.Name] = u.Rules()
		}
		undo := redisx.Unprotect(users, wire.SyncUser, s.opts.Vault.rulesOf(pod))
		if err := c.RunACL(ctx, undo.Commands); err != nil {
			return err
		}
		if users, err = c.ACLUsers(ctx); err != nil {
			return err
		}
		for _, u := range users {
			// A server may word the same rules in another way, but not as before.
			now := u.Rules()
			if want, ok := undo.Want[u.Name]; u.Name == wire.SyncUser || ok && now != want && now == was[u.Name] {
				return fmt.Errorf("%s: user %s is not as it was before the protection: somebody changes the ACLs at the same moment", c.Name(), u.Name)
			}
		}
		if err := s.rewrite(ctx, c); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		done[pod] = nil
		for _, note := range undo.Notes {
			notes = append(notes, "pod "+s.inst.Namespace+"/"+pod+": "+note)
		}
		return nil
	})
	if keepErr := s.opts.Vault.keep(ctx, done); keepErr != nil {
		return notes, errors.Join(err, keepErr)
	}
	return notes, err
}

// rewrite writes the configuration of a server to its file, where Sentinel
// does so too: each failover ends with CONFIG REWRITE, and then the file holds
// what we changed.
func (s *Site) rewrite(ctx context.Context, c *redisx.Client) error {
	if s.inst.Mode != topology.ModeSentinel {
		return nil
	}
	return c.ConfigRewrite(ctx)
}
