package verify

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Of most databases no key has a deadline. To ask for one of each key would be
// a quarter of all commands, and is not needed: INFO keyspace counts them.

// withoutDeadlines gives the databases of the source in which no key of either
// side has a deadline, where the commands for a first look are there.
func (r *run) withoutDeadlines(source, target databases) map[int]bool {
	undated := map[int]bool{}
	if !r.source.all(func(c capabilities) bool { return c.sizeEstimate }) {
		return undated // only deadlines say which keys exist
	}
	for _, db := range source.all() {
		if r.target.has(db) && !source.dated(db) && !target.dated(db) {
			undated[db] = true
		}
	}
	return undated
}

// first is compare, without looking for deadlines where there were none when
// the comparison began. Whatever it does not find equal gets the verdict of
// compare.
func (j *judge) first(ctx context.Context, db int, keys []string) ([]verdict, error) {
	if !j.undated[db] || len(keys) == 0 {
		return j.compare(ctx, db, keys)
	}
	q := question{db: db, keys: keys, verdicts: make([]verdict, len(keys)), tgt: make([]meta, len(keys))}
	var err error
	if q.src, err = j.source.sizes(ctx, db, keys); err != nil {
		return nil, err
	}
	var small, large, rest []int
	for i := range keys {
		switch src := &q.src[i]; {
		case !src.exists:
			rest = append(rest, i)
		case src.size <= j.maxDump:
			small = append(small, i)
		default:
			large = append(large, i)
		}
	}
	if err := j.compareValues(ctx, &q, small, large); err != nil {
		return nil, err
	}
	for i := range q.verdicts {
		if q.verdicts[i].kind != "" {
			rest = append(rest, i)
		}
	}
	closer, err := j.compare(ctx, db, q.pick(rest))
	if err != nil {
		return nil, err
	}
	for k, i := range rest {
		q.verdicts[i] = closer[k]
	}
	return q.verdicts, nil
}

// lateDeadlines compares the deadlines of the databases in which there were
// none when the comparison began, and now are some.
func (r *run) lateDeadlines(ctx context.Context, source databases) error {
	if len(r.judge.undated) == 0 {
		return nil
	}
	var now [2]databases
	for i, s := range []*side{r.source, r.target} {
		var err error
		if now[i], err = s.keyspace(ctx); err != nil {
			return err
		}
	}
	late := make(databases, len(source))
	for node, dbs := range source {
		late[node] = map[int]keyCount{}
		for db, count := range dbs {
			if r.judge.undated[db] && (now[0].dated(db) || now[1].dated(db)) {
				late[node][db] = count
			}
		}
	}
	if len(late.all()) == 0 {
		return nil
	}
	r.judge.undated = nil
	r.mu.Lock()
	r.progress.Total += late.total()
	r.mu.Unlock()
	return r.work(ctx, func(ctx context.Context, out chan<- batch) error {
		scans, ctx := errgroup.WithContext(ctx)
		for node := range r.source.Nodes {
			scans.Go(func() error {
				return r.scan(ctx, r.source, node, late[node], func(db int, keys []string) error {
					return send(ctx, out, batch{db: db, keys: keys, deadlines: true})
				})
			})
		}
		return scans.Wait()
	})
}

// otherDeadlines gives those of the keys of a batch that are on both sides with
// different deadlines.
func (r *run) otherDeadlines(ctx context.Context, b batch) ([]string, error) {
	var src, tgt []meta
	err := both(ctx,
		func(ctx context.Context) (err error) { src, err = r.source.metas(ctx, b.db, b.keys, false); return err },
		func(ctx context.Context) (err error) { tgt, err = r.target.metas(ctx, b.db, b.keys, false); return err })
	if err != nil {
		return nil, err
	}
	var differ []string
	for i, key := range b.keys {
		if src[i].exists && tgt[i].exists && !sameDeadline(src[i].deadline, tgt[i].deadline, r.judge.tolerance) {
			differ = append(differ, key)
		}
	}
	return differ, nil
}
