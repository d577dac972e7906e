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
	MaxSuspects    int            // that are kept in memory for further rounds; default 1,000,000
	Samples        int            // keys listed of every kind; default 20
	StreamDelivery bool           // compare delivery counts of pending entries and entries-read, too
	Progress       func(Progress) // called after every batch, not concurrently
}

// Progress of a running comparison.
type Progress struct {
	Round    int
	Done     int64 // keys read in this round
	Total    int64 // keys to read in this round; in the first one an estimate
	Suspects int   // keys that differ so far
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
	def(&o.MaxSuspects, 1_000_000)
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
}

// Run compares the data of two sides.
func Run(ctx context.Context, source, target Side, opts Options) (*Result, error) {
	started := time.Now()
	opts = opts.withDefaults()
	r := &run{opts: opts, suspects: map[suspectKey]*suspect{}, result: &Result{
		SchemaVersion: ResultSchemaVersion, StartedAt: started.UTC(), ByType: map[string]*TypeResult{},
	}}
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
	r.judge = &judge{
		source: r.source, target: r.target, tolerance: opts.TTLTolerance.Milliseconds(),
		maxDump: opts.MaxDumpBytes, delivery: opts.StreamDelivery,
	}
	if err := r.first(ctx); err != nil {
		return nil, err
	}
	if err := r.recheck(ctx); err != nil {
		return nil, err
	}
	r.conclude()
	r.result.DurationMS = time.Since(started).Milliseconds()
	return r.result, nil
}

// batch is some keys of one database: of the source, to compare, or of the
// target, to look for extra ones.
type batch struct {
	db         int
	keys       []string
	fromTarget bool
}

// first reads everything.
func (r *run) first(ctx context.Context) error {
	r.result.Rounds, r.progress.Round = 1, 1
	sourceDBs, err := r.keyspace(ctx, r.source, &r.result.Source)
	if err != nil {
		return err
	}
	targetDBs, err := r.keyspace(ctx, r.target, &r.result.Target)
	if err != nil {
		return err
	}
	batches := make(chan batch)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		scans, ctx := errgroup.WithContext(ctx)
		for node := range r.source.Nodes {
			scans.Go(func() error { return r.scan(ctx, r.source, node, sourceDBs, false, batches) })
		}
		for node := range r.target.Nodes {
			scans.Go(func() error { return r.scan(ctx, r.target, node, targetDBs, true, batches) })
		}
		return scans.Wait()
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
	group.Go(func() error {
		functions, err := compareFunctions(ctx, r.source, r.target)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.result.Functions = functions
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	r.result.Suspects = int64(len(r.suspects)) + r.result.NotRechecked
	return nil
}

// keyspace lists the databases that hold keys, and adds their sizes to the
// total of the progress.
func (r *run) keyspace(ctx context.Context, s *side, out *SideResult) ([]int, error) {
	out.Name = s.Name
	for i, node := range s.Nodes {
		out.Servers = append(out.Servers, node.Name())
		replies, err := s.ask(ctx, i, 0, [][]string{{"INFO", "keyspace"}})
		if err != nil {
			return nil, err
		}
		if refused, ok := replies[0].(error); ok {
			return nil, s.refusal(i, "INFO keyspace", refused)
		}
		text, err := asString(replies[0])
		if err != nil {
			return nil, fmt.Errorf("verify: site %s: %s: INFO keyspace: %w", s.Name, node.Name(), err)
		}
		for line := range strings.Lines(text) {
			name, rest, ok := strings.Cut(strings.TrimSpace(line), ":keys=")
			if !ok {
				continue
			}
			db, errDB := strconv.Atoi(strings.TrimPrefix(name, "db"))
			count, _, _ := strings.Cut(rest, ",")
			keys, errKeys := strconv.ParseInt(count, 10, 64)
			if errDB != nil || errKeys != nil {
				return nil, fmt.Errorf("verify: site %s: %s: INFO keyspace: unknown line %q", s.Name, node.Name(), line)
			}
			r.progress.Total += keys
			if !slices.Contains(out.Databases, db) {
				out.Databases = append(out.Databases, db)
			}
		}
	}
	slices.Sort(out.Databases)
	return out.Databases, nil
}

// scan sends the keys of one server to the workers.
func (r *run) scan(ctx context.Context, s *side, node int, dbs []int, fromTarget bool, out chan<- batch) error {
	counts := &r.result.Source
	if fromTarget {
		counts = &r.result.Target
	}
	for _, db := range dbs {
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
			all := len(keys)
			keys = slices.DeleteFunc(keys, func(k string) bool { return strings.HasPrefix(k, wire.KeyPrefix) })
			r.mu.Lock()
			counts.Keys += int64(len(keys))
			counts.OwnKeys += int64(all - len(keys))
			r.mu.Unlock()
			// A server may return more keys than it was asked for.
			for part := range slices.Chunk(keys, r.opts.BatchKeys) {
				select {
				case out <- batch{db, part, fromTarget}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if cursor == "0" {
				break
			}
		}
	}
	return nil
}

// process judges a batch of the first round.
func (r *run) process(ctx context.Context, b batch) error {
	keys := b.keys
	if b.fromTarget {
		present, err := r.source.exist(ctx, b.db, keys)
		if err != nil {
			return err
		}
		keys = nil
		for i, ok := range present {
			if !ok {
				keys = append(keys, b.keys[i])
			}
		}
	}
	verdicts, err := r.judge.compare(ctx, b.db, keys)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, v := range verdicts {
		if !b.fromTarget {
			r.result.Compared++
			if v.typ != "none" {
				r.result.typeResult(v.typ).Compared++
			}
		}
		if v.kind != "" {
			r.suspect(suspectKey{b.db, keys[i]}, v, !b.fromTarget)
		}
	}
	r.report(len(b.keys))
	return nil
}

// report calls Progress; the caller holds mu.
func (r *run) report(keys int) {
	r.progress.Done += int64(keys)
	r.progress.Suspects = len(r.suspects)
	if r.opts.Progress != nil {
		r.opts.Progress(r.progress)
	}
}
