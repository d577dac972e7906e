package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stats counts what happened to the commands of live writers.
type Stats struct {
	Acknowledged int64            `json:"acknowledged"` // commands with a reply that is no error
	Failed       int64            `json:"failed"`       // refused by the server: not applied
	Unknown      int64            `json:"unknown"`      // the connection broke before the reply
	ByCommand    map[string]int64 `json:"byCommand"`
	LastError    string           `json:"lastError,omitempty"`
	Running      bool             `json:"running"`
	// Steps counts, by the key that Redis keeps the same count in, the steps
	// that were acknowledged; Lost those whose outcome is not known.
	Steps map[string]int64 `json:"steps"`
	Lost  map[string]int64 `json:"lost,omitempty"`
	// First is when the first command was acknowledged.
	First time.Time `json:"first,omitzero"`
}

// Writers write to keys below "live:{w<N>}:". Each worker has its own hash
// tag, so that commands on several keys stay in one slot. The key
// live:{w<N>}:steps counts the steps that the worker knows to be done.
type Writers struct {
	Client  redis.UniversalClient
	Workers int
	First   int // number of the first worker
	Rate    int // steps a second, all workers together
	Seed    uint64

	mu    sync.Mutex
	stats Stats
}

// Run writes until ctx ends. A command that is under way then is finished.
func (w *Writers) Run(ctx context.Context) error {
	w.mu.Lock()
	w.stats = Stats{ByCommand: map[string]int64{}, Running: true, Steps: map[string]int64{}, Lost: map[string]int64{}}
	w.mu.Unlock()
	var group sync.WaitGroup
	for i := range w.Workers {
		group.Go(func() { w.work(ctx, w.First+i) })
	}
	group.Wait()
	w.mu.Lock()
	w.stats.Running = false
	w.mu.Unlock()
	return nil
}

// Stats returns a copy of the counts.
func (w *Writers) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.stats
	out.ByCommand, out.Steps, out.Lost = maps.Clone(out.ByCommand), maps.Clone(out.Steps), maps.Clone(out.Lost)
	return out
}

// CheckCounters compares the counters in Redis with the steps that were
// acknowledged. It is exact only when no outcome is unknown.
func (w *Writers) CheckCounters(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, want := range w.stats.Steps {
		got, err := w.Client.Get(ctx, key).Int64()
		if err != nil {
			return fmt.Errorf("counter %s: %w", key, err)
		}
		if got < want || w.stats.Unknown == 0 && got != want {
			return fmt.Errorf("counter %s is %d, %d steps were acknowledged", key, got, want)
		}
	}
	return nil
}

// work makes steps at the worker's share of the rate.
func (w *Writers) work(ctx context.Context, id int) {
	r := newRandom(w.Seed + uint64(id)*7919)
	tag := fmt.Sprintf("live:{w%d}:", id)
	tick := time.NewTicker(time.Second * time.Duration(w.Workers) / time.Duration(w.Rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A step outlives the end of ctx: what was begun is counted.
		step, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		w.step(step, r, tag)
		cancel()
	}
}

func (w *Writers) step(ctx context.Context, r random, tag string) {
	command := steps[r.IntN(len(steps))]
	cmds, err := command.do(ctx, w.Client, r, tag)
	if !w.count(command.name, cmds, err) {
		return
	}
	counter := tag + "steps"
	err = w.Client.Incr(ctx, counter).Err()
	acknowledged := w.count("incr", 1, err)
	var refused redis.Error
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case acknowledged:
		w.stats.Steps[counter]++
	case !errors.As(err, &refused):
		w.stats.Lost[counter]++
	}
}

// count books a result and reports whether the command was acknowledged.
func (w *Writers) count(name string, commands int, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	var refused redis.Error
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		if w.stats.First.IsZero() {
			w.stats.First = time.Now()
		}
		w.stats.Acknowledged += int64(commands)
		w.stats.ByCommand[name] += int64(commands)
		return true
	case errors.As(err, &refused):
		w.stats.Failed++
	default:
		w.stats.Unknown++
	}
	w.stats.LastError = name + ": " + err.Error()
	return false
}
