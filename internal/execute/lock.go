package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// Locks keep other commands from changing a pair at the same time: one Lease
// beside each copy of the record that can be reached. The record itself, of
// which every write names the version that it replaces, is what stops a
// command that slept; the locks tell the next one before it begins.
type Locks struct {
	held   []*kube.Lock
	cancel context.CancelCauseFunc
	done   bool
}

// errLockLost is the cause of a context that ends because somebody else has
// the lock.
var errLockLost = errors.New("the lock of this pair is lost: another command took it over, or it could not be renewed in time")

// releaseTimeout bounds the end of a lock, also after an interruption.
const releaseTimeout = 10 * time.Second

// Lock takes the locks of a pair at the sites that answer. The context that
// it returns ends when one of them is lost. A *kube.LockedError (exit code 11)
// names who holds one.
func Lock(ctx context.Context, s *Session, op Operation) (context.Context, *Locks, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &Locks{cancel: cancel}
	for _, party := range lockPlaces(s) {
		lock, err := party.Kube.Lock(ctx, kube.LockOptions{
			Namespace: party.Site.Namespace, Name: pair.RecordName(s.Name), Labels: pair.SiteLabels(s.Name, party.Site.Name),
			Holder: fmt.Sprintf("%s %s by %s", op.Verb, op.ID, op.By),
		})
		if err != nil {
			return ctx, nil, errors.Join(err, l.Release(ctx))
		}
		l.held = append(l.held, lock)
		lock.Keep(ctx)
		go func() {
			select {
			case <-lock.Lost():
				cancel(fault.Wrap(fault.CodeLocked, "look at status, and run this command again", errLockLost))
			case <-ctx.Done():
			}
		}()
	}
	return ctx, l, nil
}

// lockPlaces are the sites that answer, one of two that share a namespace.
func lockPlaces(s *Session) []*Party {
	var places []*Party
	for _, party := range s.InOrder() {
		if party.Err != nil || party.Kube == nil {
			continue
		}
		shared := slices.ContainsFunc(places, func(other *Party) bool {
			return other.ID.Same(party.ID) && other.Site.Namespace == party.Site.Namespace
		})
		if !shared {
			places = append(places, party)
		}
	}
	return places
}

// HeldLock is a lock that somebody holds at a site.
type HeldLock struct {
	Party  *Party
	Holder *kube.LockedError
}

// LockHolders tells who holds the locks of a pair at the sites that answer.
func LockHolders(ctx context.Context, s *Session) ([]HeldLock, error) {
	var held []HeldLock
	for _, party := range lockPlaces(s) {
		holder, err := party.Kube.LockHolder(ctx, party.Site.Namespace, pair.RecordName(s.Name))
		if err != nil {
			return nil, err
		}
		if holder != nil {
			held = append(held, HeldLock{party, holder})
		}
	}
	return held, nil
}

// Release ends the locks; a second call does nothing.
func (l *Locks) Release(ctx context.Context) error {
	if l == nil || l.done {
		return nil
	}
	l.done = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	var errs []error
	for _, lock := range l.held {
		errs = append(errs, lock.Release(ctx))
	}
	return errors.Join(errs...)
}

// Event tells what a command did to a pair, as an Event about each copy of the
// record. It is for people who look at the cluster: the journal of the record
// is what counts, and a user who may not write Events does without.
func (r *Records) Event(ctx context.Context, op Operation, warning bool, reason, message string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	for _, c := range r.copies {
		writer, ok := c.cluster.(eventWriter)
		if !ok || c.live == nil {
			continue
		}
		err := writer.CreateEvent(ctx, kube.Event{
			Regarding: kube.Ref{GVK: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Namespace: c.namespace, Name: pair.RecordName(r.pair), UID: c.live.UID},
			Warning:   warning, Reason: reason, Message: fmt.Sprintf("%s (%s %s by %s)", message, op.Verb, op.ID, op.By), At: time.Now(),
		})
		if err != nil {
			klog.V(2).InfoS("no event was written", "err", err)
		}
	}
}

type eventWriter interface {
	CreateEvent(ctx context.Context, e kube.Event) error
}
