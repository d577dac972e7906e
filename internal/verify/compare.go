package verify

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Options of a comparison. The zero value of a field means its default.
type Options struct {
	TTLTolerance   time.Duration  // by how much deadlines may differ; default 1 s
	Rounds         int            // at most, the first one included; default 6
	Interval       time.Duration  // before every further round; default 2 s; longer than the target lags
	Workers        int            // batches in work at the same time; default 4
	BatchKeys      int            // keys of one batch; default 512
	MaxDumpBytes   int64          // larger values are read in ranges; default 1 MiB
	MaxSuspects    int            // that are kept in memory for further rounds; default 200,000
	Samples        int            // keys listed of every kind; default 20
	StreamDelivery bool           // compare delivery counts of pending entries and entries-read, too
	Progress       func(Progress) // called after every batch, not concurrently

	// SampleKeys, where greater than 0, looks at that many keys of each side,
	// chosen at random, instead of all.
	SampleKeys int
	// Barrier waits until the target has applied everything that the source
	// had written when it was called. why is not empty when that did not come
	// about and waiting longer is of no use. Without a Barrier the rounds are
	// Interval apart, and that has to do.
	Barrier func(ctx context.Context) (why string, err error)
	// Differs, where not nil, is called with every key that differs in the
	// first round, from several goroutines, and maybe twice with the same one.
	Differs func(db int, key string, kind Kind) error
	// SameValue, where not nil, reports that two DUMP payloads without their
	// footers, which are not the same, are of the same value nevertheless. When
	// it cannot tell it says false: the values are then read element by element.
	// It is called by several goroutines.
	SameValue func(source, target string) bool
}

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.Rounds, 6)
	def(&o.Workers, 4)
	def(&o.BatchKeys, 512)
	def(&o.MaxSuspects, 200_000)
	def(&o.Samples, 20)
	if o.TTLTolerance <= 0 {
		o.TTLTolerance = time.Second
	}
	if o.Interval <= 0 {
		o.Interval = 2 * time.Second
	}
	if o.MaxDumpBytes <= 0 {
		o.MaxDumpBytes = 1 << 20
	}
	return o
}

// run is one comparison.
type run struct {
	opts           Options
	source, target *side
	judge          *judge
	result         *Result

	mu       sync.Mutex // guards what follows, and result
	suspects map[suspectKey]*suspect
	progress Progress
	samples  map[Kind][]Sample
	// nameBytes is the length of the names of the suspects.
	nameBytes int
	both      *tally // names of keys of the target, less those found on both sides
}

// Run compares the data of two sides.
func Run(ctx context.Context, source, target Side, opts Options) (*Result, error) {
	started := time.Now()
	opts = opts.withDefaults()
	r := &run{opts: opts, suspects: map[suspectKey]*suspect{}, samples: map[Kind][]Sample{}, both: newTally(), result: &Result{
		SchemaVersion: wire.VerifyResultSchemaVersion, StartedAt: started.UTC(), ByType: map[string]*wire.VerifyTypeResult{},
		Mode: wire.VerifyFull, TTLToleranceMS: opts.TTLTolerance.Milliseconds(),
	}}
	if opts.SampleKeys > 0 {
		r.result.Mode = wire.VerifySample
	}
	for _, s := range []Side{source, target} {
		if err := s.validate(); err != nil {
			return nil, err
		}
	}
	err := both(ctx,
		func(ctx context.Context) (err error) { r.source, err = open(ctx, source); return err },
		func(ctx context.Context) (err error) { r.target, err = open(ctx, target); return err })
	if err != nil {
		return nil, err
	}
	texts := func(c capabilities) bool { return c.texts }
	r.judge = &judge{
		source: r.source, target: r.target, tolerance: opts.TTLTolerance.Milliseconds(),
		maxDump: opts.MaxDumpBytes, delivery: opts.StreamDelivery,
		sameValue: opts.SameValue,
		texts:     r.source.all(texts) && r.target.all(texts),
	}
	if err := r.first(ctx); err != nil {
		return nil, err
	}
	if err := r.recheck(ctx); err != nil {
		return nil, err
	}
	r.conclude()
	r.result.Source.OwnKeys, r.result.Target.OwnKeys = int64(len(r.source.ours)), int64(len(r.target.ours))
	r.result.DurationMS = time.Since(started).Milliseconds()
	return r.result, nil
}

// batch is some keys of one database: of the source, to compare, or of the
// target, to look for extra ones.
type batch struct {
	db         int
	keys       []string
	fromTarget bool
	deadlines  bool // compared already, but for their deadlines
}

// first reads everything, or the sample.
func (r *run) first(ctx context.Context) error {
	r.result.Rounds, r.progress.Round = 1, 1
	source, err := r.keyspace(ctx, r.source, &r.result.Source)
	if err != nil {
		return err
	}
	target, err := r.keyspace(ctx, r.target, &r.result.Target)
	if err != nil {
		return err
	}
	if r.opts.SampleKeys > 0 {
		err = r.sample(ctx, source, target)
	} else {
		err = r.everything(ctx, source, target)
	}
	if err != nil {
		return err
	}
	if r.result.Functions, err = compareFunctions(ctx, r.source, r.target); err != nil {
		return err
	}
	r.result.Suspects = int64(len(r.suspects)) + r.result.NotRechecked
	return nil
}

// everything compares all keys of the source with the target's, and then looks
// for those that only the target has.
func (r *run) everything(ctx context.Context, source, target databases) error {
	r.judge.undated = r.withoutDeadlines(source, target)
	err := r.work(ctx, func(ctx context.Context, out chan<- batch) error {
		scans, ctx := errgroup.WithContext(ctx)
		for node := range r.source.Nodes {
			scans.Go(func() error {
				return r.scan(ctx, r.source, node, source[node], func(db int, keys []string) error {
					return send(ctx, out, batch{db: db, keys: keys})
				})
			})
		}
		for node := range r.target.Nodes {
			scans.Go(func() error {
				return r.scan(ctx, r.target, node, target[node], func(db int, keys []string) error {
					for _, key := range keys {
						r.both.subtract(db, key)
					}
					r.mu.Lock()
					defer r.mu.Unlock()
					r.result.Target.Keys += int64(len(keys))
					r.report(len(keys))
					return nil
				})
			})
		}
		return scans.Wait()
	})
	if err != nil {
		return err
	}
	if err := r.lateDeadlines(ctx, source); err != nil {
		return err
	}
	if r.both.balanced() {
		return nil
	}
	return r.work(ctx, func(ctx context.Context, out chan<- batch) error {
		scans, ctx := errgroup.WithContext(ctx)
		for node := range r.target.Nodes {
			scans.Go(func() error {
				return r.scan(ctx, r.target, node, target[node], func(db int, keys []string) error {
					keys = slices.DeleteFunc(keys, func(key string) bool { return !r.both.suspicious(db, key) })
					return send(ctx, out, batch{db: db, keys: keys, fromTarget: true})
				})
			})
		}
		return scans.Wait()
	})
}

func send(ctx context.Context, out chan<- batch, b batch) error {
	if len(b.keys) == 0 {
		return ctx.Err()
	}
	select {
	case out <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work processes the batches that feed sends.
func (r *run) work(ctx context.Context, feed func(context.Context, chan<- batch) error) error {
	batches := make(chan batch, r.opts.Workers)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		return feed(ctx, batches)
	})
	for range r.opts.Workers {
		group.Go(func() error {
			for b := range batches {
				if err := r.process(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// scan hands the keys of one server on.
func (r *run) scan(ctx context.Context, s *side, node int, dbs map[int]keyCount, take func(db int, keys []string) error) error {
	for db := range dbs {
		for cursor := "0"; ; {
			replies, err := s.ask(ctx, node, db, [][]string{{"SCAN", cursor, "COUNT", strconv.Itoa(r.opts.BatchKeys)}})
			if err != nil {
				return err
			}
			if refused, ok := replies[0].(error); ok {
				return s.refusal(node, "SCAN", refused)
			}
			var keys []string
			if cursor, keys, err = asScan(replies[0]); err != nil {
				return fmt.Errorf("verify: site %s: %s: SCAN: %w", s.Name, s.Nodes[node].Name(), err)
			}
			keys = r.withoutOurs(s, keys)
			// A server returns some more keys than it was asked for, or many.
			for part := range slices.Chunk(keys, r.opts.BatchKeys+r.opts.BatchKeys/4) {
				if err := take(db, part); err != nil {
					return err
				}
			}
			if cursor == "0" {
				break
			}
		}
	}
	return nil
}

// withoutOurs takes out the keys of ours. They are few: that the second scan of
// a target counts them again is avoided by counting names.
func (r *run) withoutOurs(s *side, keys []string) []string {
	return slices.DeleteFunc(keys, func(key string) bool {
		if !strings.HasPrefix(key, wire.KeyPrefix) {
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.ours == nil {
			s.ours = map[string]bool{}
		}
		s.ours[key] = true
		return true
	})
}

// process judges a batch of the first round.
func (r *run) process(ctx context.Context, b batch) error {
	keys, err := r.toCompare(ctx, b)
	if err != nil {
		return err
	}
	verdicts, err := r.judge.first(ctx, b.db, keys)
	if err != nil {
		return err
	}
	counted := !b.fromTarget && !b.deadlines
	for i, v := range verdicts {
		if counted && v.typ != typeNone && v.kind != Missing {
			r.both.add(b.db, keys[i])
		}
		if v.kind != "" && r.opts.Differs != nil {
			if err := r.opts.Differs(b.db, keys[i], v.kind); err != nil {
				return err
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if counted {
		r.result.Source.Keys += int64(len(keys))
		r.result.Compared += int64(len(keys))
	}
	if !b.fromTarget {
		r.report(len(b.keys))
	}
	for i, v := range verdicts {
		if counted && v.typ != typeNone {
			typeResult(r.result, v.typ).Compared++
		}
		if v.kind != "" {
			r.suspect(suspectKey{b.db, keys[i]}, v, !b.fromTarget)
		}
	}
	return nil
}

// toCompare gives the keys of a batch that are to be compared.
func (r *run) toCompare(ctx context.Context, b batch) ([]string, error) {
	switch {
	case b.deadlines:
		return r.otherDeadlines(ctx, b)
	case !b.fromTarget:
		return b.keys, nil
	}
	present, err := r.source.exist(ctx, b.db, b.keys)
	if err != nil {
		return nil, err
	}
	var extra []string
	for i, ok := range present {
		if !ok {
			extra = append(extra, b.keys[i])
		}
	}
	return extra, nil
}

// report calls Progress; the caller holds mu.
func (r *run) report(keys int) {
	r.progress.Done += int64(keys)
	r.progress.Suspects = len(r.suspects)
	if r.opts.Progress != nil {
		r.opts.Progress(r.progress)
	}
}
