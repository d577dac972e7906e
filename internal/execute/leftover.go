package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
)

// leftover is what keeps applications from writing to the primary although no
// switch is under way: a command that came too late, or somebody's hand.
type leftover struct {
	found  *Found // the primary, with its vault
	window *guard.Window
	pods   map[string]string // why, by pod
}

// observeLeftover asks the pods of the primary of an established pair.
func (w *World) observeLeftover(ctx context.Context, finder Finder) error {
	record := w.Session.Record
	if !w.Established || record.Switching() != nil {
		return nil
	}
	found := *w.Source
	var err error
	if found.Vault, err = openVault(ctx, found.Party, w.Session.Name); err != nil {
		return err
	}
	site, err := finder.Guard(ctx, &found)
	if err != nil {
		return err
	}
	state, err := site.Observe(ctx)
	if err = errors.Join(err, site.Close()); err != nil {
		return err
	}
	w.leftover = leftover{found: &found, pods: map[string]string{}}
	for _, pod := range state.Pods {
		switch {
		case pod.Err != nil: // it takes no writes now in any case
		case pod.WritesClosed:
			w.leftover.pods[pod.Pod] = "refuses writes since a switch that is not under way any more"
		case pod.Protected:
			w.leftover.pods[pod.Pod] = "is protected as a standby, but its site is the primary"
		}
	}
	if len(w.leftover.pods) > 0 {
		// Another pair's switch may need the primary closed.
		others, err := otherPairs(ctx, w.Session.Name, found.Party, found.Instance.Name)
		if err != nil {
			return err
		}
		for _, other := range others {
			if other.is(other.record.Standby()) { // a chain of pairs: the other one protects it
				w.leftover.pods = nil
				return nil
			}
			if err := other.switching(found.Party.Site.Name, found.Instance.Name); err != nil {
				return err
			}
		}
	}
	if last := record.Body.Switch; last != nil && last.From == record.Primary && len(last.Window) > 0 {
		if err := json.Unmarshal(last.Window, &w.leftover.window); err != nil {
			return fmt.Errorf("what the record says of the closing: %w", err)
		}
	}
	return nil
}

// leftoverChanges shows it like objects.
func (w *World) leftoverChanges() []plan.Change {
	site, namespace := w.Source.Party.Site.Name, w.Source.Party.Site.Namespace
	var changes []plan.Change
	for _, pod := range w.Source.Instance.Pods {
		if why := w.leftover.pods[pod.Name]; why != "" {
			changes = append(changes, plan.Change{
				Site: site, Kind: writesKind, Namespace: namespace, Name: pod.Name, Action: plan.ActionUpdate, Reason: why,
			})
		}
	}
	return changes
}

// writesKind is how a plan shows whether a pod takes writes.
const writesKind = "Writes"

// openPrimary gives the step that lets applications write to the primary.
func (a *applier) openPrimary() []Step {
	left := a.world.leftover
	if len(left.pods) == 0 {
		return nil
	}
	return []Step{{Name: "let applications write to site " + left.found.Party.Site.Name, Do: func(ctx context.Context) error {
		site, err := a.finder.Guard(ctx, left.found)
		if err != nil {
			return err
		}
		notes, err := site.Unprotect(ctx)
		if err == nil {
			err = site.OpenWrites(ctx, left.window)
		}
		err = errors.Join(err, site.Close())
		if len(notes) > 0 {
			err = errors.Join(err, a.runner.Note(ctx, strings.Join(notes, "; ")))
		}
		return err
	}}}
}
