package kube

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LockOptions say which Lease is a lock, and who wants it.
type LockOptions struct {
	Namespace, Name string
	Labels          map[string]string
	Holder          string        // one run of a command: "failover 1a2b3c4d by kim@laptop"
	TTL             time.Duration // a holder that has not renewed for so long is dead; 0 = DefaultLockTTL
}

// DefaultLockTTL is how long a lock outlives a command that was killed. It is
// renewed three times in that time.
const DefaultLockTTL = 15 * time.Second

// LockedError says that somebody else holds a lock.
type LockedError struct {
	Where, Lease string
	Holder       string
	Since        time.Time // by the holder's clock
	Renewed      time.Time
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s: %s is held by %s since %s, last renewed %s",
		e.Where, e.Lease, e.Holder, e.Since.UTC().Format(time.RFC3339), e.Renewed.UTC().Format(time.RFC3339))
}

// ExitCode is that of a lock.
func (e *LockedError) ExitCode() int { return 11 }

// Remedy says what to do.
func (e *LockedError) Remedy() string {
	return "wait until that command has ended; if it is dead, the next command takes its lock over after half a minute, or with `kubectl redis-sync unlock`"
}

// Lock is a Lease that this process holds.
type Lock struct {
	client *Client
	opts   LockOptions

	mu    sync.Mutex
	lease *coordinationv1.Lease
	lost  chan struct{}
	once  sync.Once
	stop  context.CancelFunc
	done  chan struct{}
}

// Lock takes a Lease, or gives a *LockedError. A Lease whose holder seems to
// be dead is watched for its whole time, in which a living one would renew it:
// clocks differ, so the time that it carries alone does not count.
func (c *Client) Lock(ctx context.Context, opts LockOptions) (*Lock, error) {
	if opts.TTL == 0 {
		opts.TTL = DefaultLockTTL
	}
	leases := c.core.CoordinationV1().Leases(opts.Namespace)
	l := &Lock{client: c, opts: opts, lost: make(chan struct{})}
	wanted := l.spec(metav1.NowMicro())
	created, err := leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: opts.Name, Namespace: opts.Namespace, Labels: opts.Labels}, Spec: wanted,
	}, metav1.CreateOptions{FieldManager: FieldManager})
	if err == nil {
		l.lease = created
		return l, nil
	}
	if !IsAlreadyExists(err) {
		return nil, c.wrap(err, "create lease %s/%s", opts.Namespace, opts.Name)
	}
	held, err := leases.Get(ctx, opts.Name, metav1.GetOptions{})
	if IsNotFound(err) { // released a moment ago
		return nil, c.wrap(err, "take lease %s/%s", opts.Namespace, opts.Name)
	}
	if err != nil {
		return nil, c.wrap(err, "read lease %s/%s", opts.Namespace, opts.Name)
	}
	if holderOf(held) != opts.Holder && holderOf(held) != "" {
		if err := l.watchDead(ctx, held); err != nil {
			return nil, err
		}
	}
	held.Spec = l.spec(metav1.NowMicro())
	// The resourceVersion that was read: of two that take it, one is told.
	taken, err := leases.Update(ctx, held, metav1.UpdateOptions{FieldManager: FieldManager})
	if IsConflict(err) || IsNotFound(err) {
		return nil, c.lockedBy(ctx, opts, held)
	}
	if err != nil {
		return nil, c.wrap(err, "take lease %s/%s", opts.Namespace, opts.Name)
	}
	l.lease = taken
	return l, nil
}

// lockedBy makes the error of who was faster.
func (c *Client) lockedBy(ctx context.Context, opts LockOptions, last *coordinationv1.Lease) error {
	now, err := c.core.CoordinationV1().Leases(opts.Namespace).Get(ctx, opts.Name, metav1.GetOptions{})
	if err != nil {
		now = last
	}
	return c.locked(now)
}

func (c *Client) locked(lease *coordinationv1.Lease) *LockedError {
	e := &LockedError{Where: c.Where(), Lease: "lease " + lease.Namespace + "/" + lease.Name, Holder: holderOf(lease)}
	if lease.Spec.AcquireTime != nil {
		e.Since = lease.Spec.AcquireTime.Time
	}
	if lease.Spec.RenewTime != nil {
		e.Renewed = lease.Spec.RenewTime.Time
	}
	return e
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// watchDead returns when the holder of a Lease is dead for certain, or the
// error that it lives.
func (l *Lock) watchDead(ctx context.Context, held *coordinationv1.Lease) error {
	ttl := l.opts.TTL
	if s := held.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		ttl = time.Duration(*s) * time.Second
	}
	if renewed := held.Spec.RenewTime; renewed != nil && time.Since(renewed.Time) < ttl {
		return l.client.locked(held)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(ttl):
	}
	now, err := l.client.core.CoordinationV1().Leases(held.Namespace).Get(ctx, held.Name, metav1.GetOptions{})
	if err != nil {
		return l.client.wrap(err, "read lease %s/%s", held.Namespace, held.Name)
	}
	if now.ResourceVersion != held.ResourceVersion {
		return l.client.locked(now)
	}
	return nil
}

func (l *Lock) spec(now metav1.MicroTime) coordinationv1.LeaseSpec {
	seconds := int32(max(1, l.opts.TTL/time.Second)) //nolint:gosec // seconds of a lock
	return coordinationv1.LeaseSpec{HolderIdentity: &l.opts.Holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now}
}

// Keep renews the lock until Release or the end of ctx. Lost is closed when
// somebody else has it, or when it could not be renewed for its whole time.
func (l *Lock) Keep(ctx context.Context) {
	ctx, l.stop = context.WithCancel(ctx)
	l.done = make(chan struct{})
	go func() {
		defer close(l.done)
		tick := time.NewTicker(l.opts.TTL / 3)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			began := time.Now()
			switch err := l.renew(ctx); {
			case err == nil:
				last = began
			case ctx.Err() != nil:
				return
			case IsConflict(err), IsNotFound(err), time.Since(last) > l.opts.TTL:
				l.once.Do(func() { close(l.lost) })
				return
			}
		}
	}()
}

func (l *Lock) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.opts.TTL/3)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.lease.DeepCopy()
	now := metav1.NowMicro()
	next.Spec.RenewTime = &now
	renewed, err := l.client.core.CoordinationV1().Leases(next.Namespace).Update(ctx, next, metav1.UpdateOptions{FieldManager: FieldManager})
	if IsConflict(err) {
		// The answer to our own last renewal may have got lost.
		found, getErr := l.client.core.CoordinationV1().Leases(next.Namespace).Get(ctx, next.Name, metav1.GetOptions{})
		if getErr == nil && holderOf(found) == l.opts.Holder {
			l.lease = found
			return nil
		}
	}
	if err != nil {
		return err
	}
	l.lease = renewed
	return nil
}

// Lost is closed when the lock is not ours any more.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Release ends the lock. One that somebody else has by now is left alone.
func (l *Lock) Release(ctx context.Context) error {
	if l.stop != nil {
		l.stop()
		<-l.done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.client.core.CoordinationV1().Leases(l.lease.Namespace).Delete(ctx, l.lease.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &l.lease.UID, ResourceVersion: &l.lease.ResourceVersion},
	})
	if err != nil && !IsNotFound(err) && !IsConflict(err) {
		return l.client.wrap(err, "release lease %s/%s", l.lease.Namespace, l.lease.Name)
	}
	return nil
}

// LockHolder tells who holds a lock; nil when nobody does.
func (c *Client) LockHolder(ctx context.Context, namespace, name string) (*LockedError, error) {
	lease, err := c.core.CoordinationV1().Leases(namespace).Get(ctx, name, metav1.GetOptions{})
	if IsNotFound(err) {
		return nil, nil //nolint:nilnil // nobody is an answer
	}
	if err != nil {
		return nil, c.wrap(err, "read lease %s/%s", namespace, name)
	}
	return c.locked(lease), nil
}

// unlockTries bounds how often a holder that still renews its lock is overtaken.
const unlockTries = 5

// Unlock removes the lock of a holder, dead or alive. One that another has by now
// is left alone: a *LockedError names who that is.
func (c *Client) Unlock(ctx context.Context, namespace, name, holder string) error {
	leases := c.core.CoordinationV1().Leases(namespace)
	for try := 1; ; try++ {
		lease, err := leases.Get(ctx, name, metav1.GetOptions{})
		switch {
		case IsNotFound(err):
			return nil
		case err != nil:
			return c.wrap(err, "read lease %s/%s", namespace, name)
		case holderOf(lease) != holder:
			return c.locked(lease)
		}
		err = leases.Delete(ctx, name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion},
		})
		if IsConflict(err) && try < unlockTries {
			continue
		}
		if err != nil && !IsNotFound(err) {
			return c.wrap(err, "remove lease %s/%s", namespace, name)
		}
		return nil
	}
}
