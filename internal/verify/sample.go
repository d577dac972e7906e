package verify

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// sample compares keys that RANDOMKEY gives: of the source with the target,
// and of the target with the source. Every database of every server gives as
// many as its share of the keys is, and one at least.
func (r *run) sample(ctx context.Context, source, target databases) error {
	r.progress.Total = int64(r.opts.SampleKeys)
	return r.work(ctx, func(ctx context.Context, out chan<- batch) error {
		draws, ctx := errgroup.WithContext(ctx)
		for _, part := range []struct {
			side       *side
			dbs        databases
			fromTarget bool
		}{{r.source, source, false}, {r.target, target, true}} {
			total := part.dbs.total()
			for node, dbs := range part.dbs {
				for db, count := range dbs {
					draws.Go(func() error {
						return r.draw(ctx, part.side, node, db, share(r.opts.SampleKeys, count.keys, total), func(keys []string) error {
							if part.fromTarget {
								r.mu.Lock()
								r.result.Target.Keys += int64(len(keys))
								r.mu.Unlock()
							}
							return send(ctx, out, batch{db: db, keys: keys, fromTarget: part.fromTarget})
						})
					})
				}
			}
		}
		return draws.Wait()
	})
}

// share is n times keys/total, rounded up.
func share(n int, keys, total int64) int {
	if total == 0 {
		return 0
	}
	return int((int64(n)*keys + total - 1) / total)
}

// draw hands on up to n different keys of one database of one server.
func (r *run) draw(ctx context.Context, s *side, node, db, n int, take func([]string) error) error {
	seen := map[string]bool{}
	for drawn := 0; drawn < n; {
		commands := make([][]string, min(n-drawn, r.opts.BatchKeys))
		for i := range commands {
			commands[i] = []string{"RANDOMKEY"}
		}
		drawn += len(commands)
		replies, err := s.ask(ctx, node, db, commands)
		if err != nil {
			return err
		}
		var keys []string
		for _, reply := range replies {
			if refused, ok := reply.(error); ok {
				return s.refusal(node, "RANDOMKEY", refused)
			}
			if reply == nil {
				continue // the database is empty by now
			}
			key, err := asString(reply)
			if err != nil {
				return fmt.Errorf("verify: site %s: %s: RANDOMKEY: %w", s.Name, s.Nodes[node].Name(), err)
			}
			if !seen[key] && !strings.HasPrefix(key, wire.KeyPrefix) {
				seen[key] = true
				keys = append(keys, key)
			}
		}
		if err := take(keys); err != nil {
			return err
		}
	}
	return nil
}
