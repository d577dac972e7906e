package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// suspectKey names a key that differs.
type suspectKey struct {
	db  int
	key string
}

// suspect is a key that differed in every round so far.
type suspect struct {
	last     verdict
	compared bool // it counts among Result.Compared
	still    int  // rounds in a row in which neither side changed
}

// stillRounds is the number of rounds in a row in which both sides must stay
// as they are before a difference counts as settled: the target may be behind.
const stillRounds = 2

// maxNameBytes bounds the names of all suspects together.
const maxNameBytes = 64 << 20

// suspect records a difference of the first round; the caller holds mu.
func (r *run) suspect(key suspectKey, v verdict, compared bool) {
	if known := r.suspects[key]; known != nil {
		known.compared = known.compared || compared
		return
	}
	if len(r.suspects) < r.opts.MaxSuspects && r.nameBytes+len(key.key) <= maxNameBytes {
		r.suspects[key] = &suspect{last: v, compared: compared}
		r.nameBytes += len(key.key)
		return
	}
	if r.opts.Rounds > 1 {
		r.result.NotRechecked++
	}
	r.settle(key, v, v.kind, compared)
}

// recheck reads the suspects again until there are none, until all of them
// stand still at equal positions, or until the last round.
func (r *run) recheck(ctx context.Context) error {
	r.result.Positions = r.opts.Barrier != nil
	for round := 2; round <= r.opts.Rounds; round++ {
		settled := len(r.suspects) == 0 || r.allStill() && r.result.PositionsWhy == ""
		if settled && (r.result.Functions.Equal() || round > stillRounds+1) {
			return nil
		}
		if err := r.between(ctx); err != nil {
			return err
		}
		r.result.Rounds = round
		r.progress = Progress{Round: round, Total: int64(len(r.suspects))}
		if err := r.again(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) allStill() bool {
	for _, s := range r.suspects {
		if s.still < stillRounds {
			return false
		}
	}
	return true
}

// betweenBarriers is the pause before a round when the target's position says
// when it can be read: long enough not to see one moment twice.
const betweenBarriers = 100 * time.Millisecond

// between waits before a further round. What was read of the source in the
// round before is then applied to the target, as far as that can be known.
func (r *run) between(ctx context.Context) error {
	pause := r.opts.Interval
	if r.opts.Barrier != nil && r.result.PositionsWhy == "" {
		why, err := r.opts.Barrier(ctx)
		if err != nil {
			return err
		}
		if why == "" {
			pause = min(pause, betweenBarriers)
		} else {
			r.result.Positions, r.result.PositionsWhy = false, why
		}
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again reads every suspect once more.
func (r *run) again(ctx context.Context) error {
	pending := map[int][]string{}
	for key := range r.suspects {
		pending[key.db] = append(pending[key.db], key.key)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.Workers)
	for db, keys := range pending {
		for len(keys) > 0 {
			n := min(len(keys), r.opts.BatchKeys)
			part := keys[:n]
			keys = keys[n:]
			group.Go(func() error {
				verdicts, err := r.judge.compare(groupCtx, db, part)
				if err != nil {
					return err
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				for i, v := range verdicts {
					r.update(suspectKey{db, part[i]}, v)
				}
				r.report(len(part))
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if r.result.Functions.Equal() {
		return nil
	}
	functions, err := compareFunctions(ctx, r.source, r.target)
	r.result.Functions = functions
	return err
}

// update takes the verdict of a further round; the caller holds mu.
func (r *run) update(key suspectKey, v verdict) {
	s := r.suspects[key]
	switch {
	case v.kind == "":
		delete(r.suspects, key)
		return
	case v.source == s.last.source && v.target == s.last.target && v.kind == s.last.kind:
		s.still++
	default:
		s.still = 0
	}
	s.last = v
}

// conclude counts what is left of the suspects.
func (r *run) conclude() {
	for key, s := range r.suspects {
		kind := s.last.kind
		// With a single round there was nothing to compare with.
		if s.still == 0 && r.result.Rounds > 1 {
			kind = Unsettled
		}
		r.settle(key, s.last, kind, s.compared)
	}
	r.result.EqualKeys += r.result.Compared
	for _, kind := range wire.VerifyKinds {
		r.result.Samples = append(r.result.Samples, r.firstSamples(kind)...)
	}
}

// firstSamples gives those of one kind that come first.
func (r *run) firstSamples(kind Kind) []Sample {
	list := r.samples[kind]
	slices.SortFunc(list, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.DB, b.DB), strings.Compare(a.Key, b.Key))
	})
	return list[:min(len(list), r.opts.Samples)]
}

// settle counts a difference for good.
func (r *run) settle(key suspectKey, v verdict, kind Kind, compared bool) {
	*counter(r.result, kind)++
	typeResult(r.result, v.typ).Differ++
	if compared {
		r.result.EqualKeys-- // conclude adds all that were compared
	}
	// Which ones come first is known at the end only; all of them would be
	// too many to keep.
	r.samples[kind] = append(r.samples[kind], Sample{
		Kind: kind, DB: key.db, Key: escape(key.key), Type: v.typ, Detail: v.detail,
	})
	if len(r.samples[kind]) >= 2*r.opts.Samples+1000 {
		r.samples[kind] = r.firstSamples(kind)
	}
}

func sameDeadline(a, b, tolerance int64) bool {
	if a == noDeadline || b == noDeadline {
		return a == b
	}
	return max(a-b, b-a) <= tolerance
}

// deadlines says how two deadlines differ.
func deadlines(source, target int64) string {
	switch {
	case target == noDeadline:
		return "no TTL on the target"
	case source == noDeadline:
		return "a TTL on the target only"
	case target > source:
		return fmt.Sprintf("expires %v later on the target", time.Duration(target-source)*time.Millisecond)
	}
	return fmt.Sprintf("expires %v earlier on the target", time.Duration(source-target)*time.Millisecond)
}
