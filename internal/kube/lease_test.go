package kube_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

const leasePath = "/apis/coordination.k8s.io/v1/namespaces/redis/leases/redis-sync-dr1"

func lockScene(t *testing.T) (*testkube.Server, func(holder string) kube.LockOptions, *kube.Client) {
	t.Helper()
	s := testkube.New(t)
	s.AddNamespace(t, "redis")
	c, err := kube.New(s.Loader("site-a", "redis"), kube.Options{Site: "redis-a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, func(holder string) kube.LockOptions {
		return kube.LockOptions{Namespace: "redis", Name: "redis-sync-dr1", Holder: holder, TTL: 3 * time.Second}
	}, c
}

func TestLock(t *testing.T) {
	s, opts, c := lockScene(t)
	ctx := t.Context()
	patient := opts("failover 1 by kim")
	patient.TTL = kube.DefaultLockTTL
	first, err := c.Lock(ctx, patient)
	if err != nil {
		t.Fatal(err)
	}
	first.Keep(ctx)
	_, err = c.Lock(ctx, opts("apply 2 by lee"))
	var locked *kube.LockedError
	if !errors.As(err, &locked) || fault.ExitCode(err) != fault.CodeLocked || locked.Holder != "failover 1 by kim" ||
		time.Since(locked.Since) > time.Minute || !strings.Contains(err.Error(), "redis-sync-dr1") {
		t.Errorf("held by another: %v", err)
	}
	version := s.Object(leasePath).GetResourceVersion()
	testredis.Eventually(t, 60*time.Second, "the lock is renewed", func() bool {
		return s.Object(leasePath).GetResourceVersion() != version
	})
	if holder, err := c.LockHolder(ctx, "redis", "redis-sync-dr1"); err != nil || holder == nil || holder.Holder != "failover 1 by kim" {
		t.Errorf("holder %+v, %v", holder, err)
	}
	if err := first.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Object(leasePath) != nil {
		t.Error("the lease is still there")
	}
	second, err := c.Lock(ctx, opts("apply 2 by lee"))
	if err != nil {
		t.Fatal(err)
	}
	// One that was released, or taken by another, is left alone.
	if err := first.Release(ctx); err != nil || s.Object(leasePath) == nil {
		t.Errorf("the lock of another was released: %v", err)
	}
	if err := second.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestUnlock: only the lock of who was named goes, also while that one renews it.
func TestUnlock(t *testing.T) {
	s, opts, c := lockScene(t)
	ctx := t.Context()
	lock, err := c.Lock(ctx, opts("apply 2 by lee"))
	if err != nil {
		t.Fatal(err)
	}
	lock.Keep(ctx)
	err = c.Unlock(ctx, "redis", "redis-sync-dr1", "failover 1 by kim")
	var locked *kube.LockedError
	if !errors.As(err, &locked) || locked.Holder != "apply 2 by lee" || fault.ExitCode(err) != fault.CodeLocked || s.Object(leasePath) == nil {
		t.Errorf("the lock of another: %v", err)
	}
	for range 2 { // the second time it is gone already
		if err := c.Unlock(ctx, "redis", "redis-sync-dr1", "apply 2 by lee"); err != nil || s.Object(leasePath) != nil {
			t.Errorf("its own lock: %v", err)
		}
	}
	<-lock.Lost()
}

// TestLockOfTheDead: a holder that does not renew any more loses it, one with
// a clock that is behind does not.
func TestLockOfTheDead(t *testing.T) {
	s, opts, c := lockScene(t)
	ctx := t.Context()
	old := func() {
		s.Edit(t, leasePath, func(u *unstructured.Unstructured) {
			past := time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
			if err := unstructured.SetNestedField(u.Object, past, "spec", "renewTime"); err != nil {
				t.Error(err)
			}
		})
	}
	dead, err := c.Lock(ctx, opts("failover 1 by kim"))
	if err != nil {
		t.Fatal(err)
	}
	old()
	taken, err := c.Lock(ctx, opts("failover 2 by lee"))
	if err != nil {
		t.Fatalf("the lock of the dead: %v", err)
	}
	// The dead wakes up: it is told.
	dead.Keep(ctx)
	select {
	case <-dead.Lost():
	case <-time.After(30 * time.Second):
		t.Error("the old holder was not told")
	}

	// A living one, with a clock that is an hour behind.
	end, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			old()
			select {
			case <-end:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	if _, err := c.Lock(ctx, opts("failover 3 by max")); fault.ExitCode(err) != fault.CodeLocked {
		t.Errorf("taken from a living holder: %v", err)
	}
	close(end)
	<-stopped
	_ = taken
}

// TestLockIsLostWithoutRenewal: whoever cannot renew stops in time.
func TestLockIsLostWithoutRenewal(t *testing.T) {
	s, opts, c := lockScene(t)
	l, err := c.Lock(t.Context(), opts("failover 1 by kim"))
	if err != nil {
		t.Fatal(err)
	}
	s.Deny("update", "leases")
	l.Keep(t.Context())
	select {
	case <-l.Lost():
	case <-time.After(60 * time.Second):
		t.Error("the holder was not told")
	}
}
