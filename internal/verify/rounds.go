package verify

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
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

// suspect records a difference of the first round; the caller holds mu.
func (r *run) suspect(key suspectKey, v verdict, compared bool) {
	if known := r.suspects[key]; known != nil {
		known.compared = known.compared || compared
		return
	}
	if len(r.suspects) < r.opts.MaxSuspects {
		r.suspects[key] = &suspect{last: v, compared: compared}
		return
	}
	r.result.NotRechecked++
	r.settle(key, v, v.kind, compared)
}

// recheck reads the suspects again until there are none, until all of them
// stand still, or until the last round.
func (r *run) recheck(ctx context.Context) error {
	for round := 2; round <= r.opts.Rounds; round++ {
		if (len(r.suspects) == 0 || r.allStill()) && (r.result.Functions.equal() || round > stillRounds+1) {
			return nil
		}
		select {
		case <-time.After(r.opts.Interval):
		case <-ctx.Done():
			return ctx.Err()
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
	if r.result.Functions.equal() {
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
	sortSamples(r.result.Samples)
	perKind := map[Kind]int{}
	kept := r.result.Samples[:0]
	for _, s := range r.result.Samples {
		if perKind[s.Kind]++; perKind[s.Kind] <= r.opts.Samples {
			kept = append(kept, s)
		}
	}
	r.result.Samples = kept
}

// settle counts a difference for good.
func (r *run) settle(key suspectKey, v verdict, kind Kind, compared bool) {
	*r.result.count(kind)++
	r.result.typeResult(v.typ).Differ++
	if compared {
		r.result.EqualKeys-- // conclude adds all that were compared
	}
	// More than what is printed is kept, and cut after sorting; without a
	// bound it would hold every key.
	if len(r.result.Samples) < r.opts.MaxSuspects {
		r.result.Samples = append(r.result.Samples, Sample{
			Kind: kind, DB: key.db, Key: escape(key.key), Type: v.typ, Detail: v.detail,
		})
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
