package execute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// DeleteOptions of Delete.
type DeleteOptions struct {
	Operation Operation
	Purge     bool // the fence as well
	KeepKeys  bool // leave every key of ours in the target
	Timeout   time.Duration
	Progress  Progress
}

// DeleteResult says what is gone and what is not.
type DeleteResult struct {
	Pair    string   `json:"pair"`
	Deleted []string `json:"deleted"` // "site redis-a: service redis/dr1-redis-a-leader-0"
	Keys    int      `json:"keys"`    // of ours, removed from the target
	Remains []string `json:"remains,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// Doomed is one object that a delete removes.
type Doomed struct {
	Site  string
	party *Party
	ref   kube.Ref
}

// String names the object and its site.
func (d Doomed) String() string { return fmt.Sprintf("site %s: %s", d.Site, d.ref) }

// ListDoomed lists what a delete of the pair removes at the sites that answer,
// the record last.
func ListDoomed(ctx context.Context, s *Session) ([]Doomed, error) {
	var doomed []Doomed
	var records []Doomed
	seen := map[string]bool{}
	for _, party := range s.InOrder() {
		if party.Err != nil {
			continue
		}
		owned, err := party.Cluster.ListOwned(ctx, party.Site.Namespace, s.Name)
		if err != nil {
			return nil, fmt.Errorf("listing the objects of pair %s: %w", s.Name, err)
		}
		for i := range owned {
			uid := fmt.Sprint(party.ID, owned[i].GetUID()) // both sites may share a namespace
			if seen[uid] {
				continue
			}
			seen[uid] = true
			item := Doomed{Site: party.Site.Name, party: party, ref: refOf(&owned[i])}
			if isRecord(&owned[i], s.Name) {
				records = append(records, item)
			} else {
				doomed = append(doomed, item)
			}
		}
	}
	return append(doomed, records...), nil
}

// deleter is one run of Delete.
type deleter struct {
	session *Session
	finder  Finder
	opts    DeleteOptions
	result  *DeleteResult
	errs    []error
	// keepVault: the protection is not undone, and the Secret that tells how
	// to stays.
	keepVault bool
}

// Delete removes everything of a pair from the sites that answer: first the
// replicators, then what they leave in the target, then the rest, the record
// last. With something left, the record of that pair stays where it is too.
func Delete(ctx context.Context, s *Session, finder Finder, opts DeleteOptions) (*DeleteResult, error) {
	d := &deleter{session: s, finder: finder, opts: opts, result: &DeleteResult{Pair: s.Name}}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	ctx, locks, err := Lock(ctx, s, opts.Operation)
	if err != nil {
		return d.result, err
	}
	err = d.underLock(ctx)
	return d.result, errors.Join(err, locks.Release(ctx))
}

func (d *deleter) underLock(ctx context.Context) error {
	s, opts := d.session, d.opts
	s.Record.Phase = pair.PhaseDeleting
	s.Records.ForgetMissing()
	runner := &Runner{Operation: opts.Operation, Records: s.Records, Record: s.Record, Progress: opts.Progress}
	if err := runner.Note(ctx, "begin: delete the pair"); err != nil {
		return err
	}
	doomed, err := ListDoomed(ctx, s)
	if err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		do   func(context.Context)
	}{
		{"stop the replicators", func(ctx context.Context) { d.deployments(ctx, doomed) }},
		{"let others write to the target again", d.unprotect},
		{"remove our keys from the target", d.keys},
		{"remove the other objects", func(ctx context.Context) { d.others(ctx, doomed) }},
	} {
		d.opts.Progress.StepStarted(phase.name)
		start, before := time.Now(), len(d.errs)
		phase.do(ctx)
		d.opts.Progress.StepEnded(phase.name, errors.Join(d.errs[before:]...), time.Since(start))
	}
	d.unreachable()
	if len(d.result.Remains) > 0 || len(d.errs) > 0 {
		return d.partial()
	}
	d.records(ctx, doomed)
	if len(d.errs) > 0 {
		return d.partial()
	}
	return nil
}

func (d *deleter) partial() error {
	text := "not everything could be removed"
	if len(d.result.Remains) > 0 {
		text += ", there remain: " + strings.Join(d.result.Remains, "; ")
	}
	err := errors.New(text)
	if joined := errors.Join(d.errs...); joined != nil {
		err = fmt.Errorf("%s: %w", text, joined)
	}
	return fault.Wrap(fault.CodePartial, cmp.Or(fault.Remedy(err), "mend the cause and run the same command again"), err)
}

// unreachable names what cannot be removed because its site does not answer.
func (d *deleter) unreachable() {
	for _, party := range d.session.InOrder() {
		if party.Err == nil {
			continue
		}
		d.errs = append(d.errs, party.Err)
		state := d.session.Record.Body.Sites[party.Site.Name]
		d.result.Remains = append(d.result.Remains, fmt.Sprintf(
			"site %s: every object in namespace %s with the labels %s", party.Site.Name, state.Namespace, pair.Selector(d.session.Name)))
	}
}

// remove deletes objects; what fails remains.
func (d *deleter) remove(ctx context.Context, items []Doomed) {
	for _, item := range items {
		if err := item.party.Cluster.Delete(ctx, item.ref); err != nil {
			d.errs = append(d.errs, err)
			d.result.Remains = append(d.result.Remains, item.String())
			continue
		}
		d.result.Deleted = append(d.result.Deleted, item.String())
	}
}

// deployments stops the replicators first, so that nothing writes while the
// rest goes, and waits until their pods are gone.
func (d *deleter) deployments(ctx context.Context, doomed []Doomed) {
	var items []Doomed
	for _, item := range doomed {
		if item.ref.GVK.Kind == deploymentKind.Kind {
			items = append(items, item)
		}
	}
	d.remove(ctx, items)
	for _, party := range d.session.InOrder() {
		if party.Err != nil {
			continue
		}
		if err := waitNoPods(ctx, party, d.session.Name); err != nil {
			d.errs = append(d.errs, err)
			d.result.Remains = append(d.result.Remains, fmt.Sprintf("site %s: pods of the replicators", party.Site.Name))
		}
	}
}

func waitNoPods(ctx context.Context, party *Party, pairName string) error {
	return waitNoPodsOf(ctx, party, pair.Selector(pairName))
}

func waitNoPodsOf(ctx context.Context, party *Party, selector string) error {
	for {
		pods, err := party.Cluster.Pods(ctx, party.Site.Namespace, selector)
		if err == nil {
			// Deployments hand our labels to their pods but not to what others make.
			if len(pods) == 0 {
				return nil
			}
			err = fmt.Errorf("site %s: pod %s/%s is still there", party.Site.Name, pods[0].Namespace, pods[0].Name)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the replicators to end: %w", err)
		case <-time.After(pollInterval):
		}
	}
}

// keys removes the checkpoints from the target and what replicators have left
// there, and with Purge the fence.
// While a replicator may still run, nothing is touched.
func (d *deleter) keys(ctx context.Context) {
	standby := d.session.Standby()
	if standby.Err != nil || len(d.errs) > 0 || d.opts.KeepKeys {
		return
	}
	redis, err := d.openStandby(ctx, standby)
	if err == nil {
		err = d.dropKeys(ctx, redis)
	}
	switch {
	case err == nil:
	case fault.ExitCode(err) == fault.CodeNotFound:
		d.result.Notes = append(d.result.Notes, fmt.Sprintf("site %s: %v; so are the keys of the pair", standby.Site.Name, err))
	default:
		d.errs = append(d.errs, fault.Wrap(fault.CodePartial, "mend the cause and run the same command again, or leave our keys there with --keep-keys", err))
		d.result.Remains = append(d.result.Remains, fmt.Sprintf("site %s: keys redis-sync:{%s}:* and redis-sync:*:%s:*", standby.Site.Name, d.session.Name, d.session.Name))
	}
}

func (d *deleter) openStandby(ctx context.Context, standby *Party) (Redis, error) {
	found, err := d.find(ctx, standby)
	if err != nil {
		return nil, err
	}
	return d.finder.Redis(ctx, found)
}

func (d *deleter) find(ctx context.Context, standby *Party) (*Found, error) {
	inst, err := d.finder.Discover(ctx, standby)
	if err != nil {
		return nil, err
	}
	credentials, err := d.finder.Credentials(ctx, standby, inst)
	if err != nil {
		return nil, err
	}
	return &Found{Party: standby, Instance: inst, Credentials: credentials, Pair: d.session.Name}, nil
}

func (d *deleter) dropKeys(ctx context.Context, redis Redis) error {
	removed, err := redis.DropShards(ctx, d.session.Name, len(d.session.Record.Body.Shards))
	d.result.Keys = removed
	if err == nil {
		removed, err = redis.DropRest(ctx, d.session.Name)
		d.result.Keys += removed
	}
	if err == nil && d.opts.Purge {
		err = redis.DropFence(ctx, d.session.Name)
	}
	return errors.Join(err, redis.Close())
}

func (d *deleter) others(ctx context.Context, doomed []Doomed) {
	var items []Doomed
	for _, item := range doomed {
		switch {
		case item.ref.GVK.Kind == deploymentKind.Kind || d.isRecord(item):
		case d.keepVault && d.isVault(item):
			d.result.Remains = append(d.result.Remains, item.String())
		default:
			items = append(items, item)
		}
	}
	d.remove(ctx, items)
	d.waitGone(ctx, items)
}

func (d *deleter) records(ctx context.Context, doomed []Doomed) {
	var items []Doomed
	for _, item := range doomed {
		if d.isRecord(item) {
			items = append(items, item)
		}
	}
	d.remove(ctx, items)
	d.waitGone(ctx, items)
}

func (d *deleter) isRecord(item Doomed) bool {
	return item.ref.GVK.Kind == recordKind && item.ref.Name == pair.RecordName(d.session.Name)
}

// waitGone waits until the objects are gone: a finalizer may hold one.
func (d *deleter) waitGone(ctx context.Context, items []Doomed) {
	for _, item := range items {
		if err := waitGone(ctx, item); err != nil {
			d.errs = append(d.errs, err)
			d.result.Remains = append(d.result.Remains, item.String())
		}
	}
}

func waitGone(ctx context.Context, item Doomed) error {
	for {
		object, err := find(ctx, item)
		if err == nil && object == nil {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s is still there", item)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollInterval):
		}
	}
}

// find looks the object up among those with our labels, which needs no
// permission to read it by name.
func find(ctx context.Context, item Doomed) (*unstructured.Unstructured, error) {
	owned, err := item.party.Cluster.ListOwned(ctx, item.ref.Namespace, "", item.ref.GVK)
	if err != nil {
		return nil, err
	}
	for i := range owned {
		if owned[i].GetName() == item.ref.Name {
			return &owned[i], nil
		}
	}
	return nil, nil //nolint:nilnil // gone
}
