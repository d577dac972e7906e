package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Guard keeps others from writing to the pods of a standby. *guard.Site is the
// real one.
type Guard interface {
	Protection(ctx context.Context) ([]guard.PodProtection, error)
	Protect(ctx context.Context) error
	Unprotect(ctx context.Context) (notes []string, err error)
	Close() error
	SwitchGuard
}

var _ Guard = (*guard.Site)(nil)

// Words of pair.Body.StandbyGuard.
const (
	guardACL         = "acl"
	guardNone        = "none"
	guardUnavailable = "unavailable"
)

// protection is what is known of the protection of a standby.
type protection struct {
	wanted   bool // by choice or by default, and possible
	lift     bool // not wanted any more, and there
	word     string
	pods     []guard.PodProtection
	findings []topology.Finding
}

// openVault reads where the site keeps what its protection has to remember.
func openVault(ctx context.Context, party *Party, pairName string) (*guard.Vault, error) {
	site := party.Site
	vault, err := guard.OpenVault(ctx, party.Cluster, site.Namespace, pair.VaultName(pairName, site.Name), pair.SiteLabels(pairName, site.Name))
	if err != nil {
		return nil, fmt.Errorf("reading what protects the standby: %w", err)
	}
	return vault, nil
}

// observeProtection asks the pods of the standby who may write there.
func (w *World) observeProtection(ctx context.Context, finder Finder) error {
	vault, err := openVault(ctx, w.Target.Party, w.Session.Name)
	if err != nil {
		return err
	}
	w.Target.Vault = vault
	p := &w.protection
	choice := w.Session.Spec.ProtectStandby
	if choice == pair.ProtectNone {
		p.word, p.lift = guardNone, vault.Exists()
		return nil
	}
	site, err := finder.Guard(ctx, w.Target)
	if err != nil {
		return err
	}
	p.pods, err = site.Protection(ctx)
	if err = errors.Join(err, site.Close()); err != nil {
		return err
	}
	p.wanted, p.word = true, guardACL
	for _, pod := range p.pods {
		switch {
		case errors.Is(pod.Err, redisx.ErrNoACL):
			p.wanted, p.word = false, guardUnavailable
			p.findings = append(p.findings, w.noACL(pod, choice))
			return nil // the others run the same version
		case pod.Err != nil:
			p.findings = append(p.findings, topology.Finding{
				Severity: topology.SeverityWarning, Site: w.Target.Party.Site.Name, Object: w.podObject(pod.Pod),
				Message: "gives no answer and is not protected from other writers: " + pod.Err.Error(), Remedy: "apply again when it runs",
			})
		}
	}
	return nil
}

func (w *World) podObject(pod string) string { return "pod " + w.Target.Instance.Namespace + "/" + pod }

func (w *World) noACL(pod guard.PodProtection, choice pair.ProtectStandby) topology.Finding {
	f := topology.Finding{
		Severity: topology.SeverityWarning, Site: w.Target.Party.Site.Name, Object: w.podObject(pod.Pod),
		Message: "standby writable: " + pod.Err.Error(),
		Remedy:  "keep applications from writing there by other means; protectStandby: none says that this is known",
	}
	if choice == pair.ProtectACL {
		f.Severity, f.Remedy = topology.SeverityError, "leave protectStandby out, or allow the user ACL LIST, SETUSER and DELUSER (6.0 and later)"
	}
	return f
}

// protectionChanges shows the protection like objects.
func (w *World) protectionChanges() []plan.Change {
	target, namespace := w.Target.Party.Site.Name, w.Target.Party.Site.Namespace
	var changes []plan.Change
	if w.protection.wanted {
		change := plan.Change{
			Site: target, Kind: "Secret", Namespace: namespace, Name: pair.VaultName(w.Session.Name, target),
			Action: plan.ActionCreate, Reason: "password of the user " + wire.SyncUser + ", and what the others might run before",
		}
		if w.Target.Vault.Exists() {
			change.Action = plan.ActionNone
		}
		changes = append(changes, change)
		for _, pod := range w.protection.pods {
			change := plan.Change{Site: target, Kind: aclKind, Namespace: namespace, Name: pod.Pod, Action: plan.ActionNone, Reason: "only " + wire.SyncUser + " may write"}
			if pod.Err == nil && !pod.Holds() {
				change.Action, change.Reason = plan.ActionUpdate, "only "+wire.SyncUser+" is to write: "+pod.Why()
			}
			if pod.Err == nil {
				changes = append(changes, change)
			}
		}
	}
	if w.protection.lift {
		for _, pod := range w.Target.Instance.Pods {
			changes = append(changes, plan.Change{
				Site: target, Kind: aclKind, Namespace: namespace, Name: pod.Name, Action: plan.ActionUpdate, Reason: "every user may write again as before",
			})
		}
	}
	return changes
}

// aclKind is how a plan shows the users of a pod's server.
const aclKind = "ACL"

// keepsVault tells the Secrets that no prune removes: what a protection
// remembers is of no use to anybody else, but cannot be found out again.
func (w *World) keepsVault(object *unstructured.Unstructured) bool {
	if object.GetKind() != "Secret" {
		return false
	}
	for _, found := range []*Found{w.Source, w.Target} {
		site := found.Party.Site.Name
		if object.GetName() == pair.VaultName(w.Session.Name, site) {
			return found == w.Source || !w.protection.lift
		}
	}
	return false
}

// protection gives the step that protects the standby, or lifts it.
func (a *applier) protection() []Step {
	target := a.world.Target.Party.Site.Name
	switch {
	case a.world.protection.wanted:
		return []Step{{Name: "keep others from writing to site " + target, Do: func(ctx context.Context) error {
			note, err := a.world.protectStandby(ctx, a.finder)
			if note != "" {
				err = errors.Join(err, a.runner.Note(ctx, note))
			}
			return err
		}}}
	case a.world.protection.lift:
		return []Step{{Name: "let others write to site " + target, Do: func(ctx context.Context) error {
			notes, err := a.world.unprotectStandby(ctx, a.finder)
			for _, note := range notes {
				err = errors.Join(err, a.runner.Note(ctx, note))
			}
			return err
		}}}
	default:
		return nil
	}
}

// protectStandby protects every pod of the target that answers. A pod that
// does not is named in the note: it takes no writes now, and the next verb
// that sees it protects it.
func (w *World) protectStandby(ctx context.Context, finder Finder) (note string, err error) {
	site, err := finder.Guard(ctx, w.Target)
	if err != nil {
		return "", err
	}
	err = site.Protect(ctx)
	closeErr := site.Close()
	var pods *guard.PodsError
	if errors.As(err, &pods) && pods.Unreachable() && len(pods.Pods) < len(w.Target.Instance.Pods) {
		note, err = "not protected, no answer: "+pods.Error(), nil
	}
	if errors.Is(err, redisx.ErrNoACL) {
		err = fault.Wrap(fault.CodePartial, "allow the user ACL LIST, SETUSER and DELUSER, or choose protectStandby: none", err)
	}
	return note, errors.Join(err, closeErr)
}

func (w *World) unprotectStandby(ctx context.Context, finder Finder) ([]string, error) {
	site, err := finder.Guard(ctx, w.Target)
	if err != nil {
		return nil, err
	}
	notes, err := site.Unprotect(ctx)
	return notes, errors.Join(err, site.Close())
}

// judgeProtection says where others may write to the standby. What a
// replicator meets there is among its own findings.
func (r *StatusReport) judgeProtection(record *pair.Record) {
	site := "site " + r.Standby
	switch record.Body.StandbyGuard {
	case guardACL:
	case guardNone:
		r.finding(topology.SeverityInfo, site, "standby writable, as chosen: applications that write there are not kept from it", "")
	case guardUnavailable:
		r.finding(topology.SeverityWarning, site, "standby writable: its servers have no ACLs, or the user may not change them", "")
	default:
		r.finding(topology.SeverityInfo, site, "standby writable: applications that write there are not kept from it", "apply again")
	}
}

// unprotect gives the applications of a standby their rights back before the
// pair is forgotten.
func (d *deleter) unprotect(ctx context.Context) {
	standby := d.session.Standby()
	if standby.Err != nil || len(d.errs) > 0 {
		d.keepVault = standby.Err == nil
		return
	}
	err := d.unprotectStandby(ctx, standby)
	switch {
	case err == nil:
	case fault.ExitCode(err) == fault.CodeNotFound:
		// With the instance its users are gone.
	default:
		d.keepVault = true
		d.errs = append(d.errs, fault.Wrap(fault.CodePartial,
			"mend the cause and run the same command again, or leave the servers as they are with --keep-keys", err))
		d.result.Remains = append(d.result.Remains, fmt.Sprintf("site %s: users without @write in instance %s", standby.Site.Name, standby.Site.Instance.Name))
	}
}

func (d *deleter) unprotectStandby(ctx context.Context, standby *Party) error {
	vault, err := openVault(ctx, standby, d.session.Name)
	if err != nil || !vault.Exists() {
		return err
	}
	if d.opts.KeepKeys {
		d.result.Notes = append(d.result.Notes, fmt.Sprintf("site %s: the users of its servers are left as they are, without @write", standby.Site.Name))
		return nil
	}
	found, err := d.find(ctx, standby)
	if err != nil {
		return err
	}
	found.Vault = vault
	site, err := d.finder.Guard(ctx, found)
	if err != nil {
		return err
	}
	notes, err := site.Unprotect(ctx)
	d.result.Notes = append(d.result.Notes, notes...)
	return errors.Join(err, site.Close())
}

// isVault tells the Secret that cannot go before the protection is undone.
func (d *deleter) isVault(item Doomed) bool {
	return item.ref.GVK.Kind == "Secret" && strings.HasPrefix(item.ref.Name, pair.VaultName(d.session.Name, ""))
}
