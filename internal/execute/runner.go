package execute

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// Operation says who runs which verb.
type Operation struct {
	ID      string
	Verb    pair.Verb
	By      string
	Version string
	Started time.Time
}

// NewOperation starts an operation now.
func NewOperation(verb pair.Verb, by, version string) (Operation, error) {
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		return Operation{}, fmt.Errorf("making an operation id: %w", err)
	}
	return Operation{ID: hex.EncodeToString(id), Verb: verb, By: by, Version: version, Started: time.Now()}, nil
}

// Step is one thing that a verb does. It can be repeated: a verb that stopped
// in the middle does it again.
type Step struct {
	Name string
	Do   func(ctx context.Context) error
	// Waits: the step changes nothing and may take long, so an interruption
	// ends it. Any other step is done to its end.
	Waits bool
}

// Progress is told what a verb does, so that a person can follow it.
type Progress interface {
	StepStarted(name string)
	StepEnded(name string, err error, took time.Duration)
	// Shards is called whenever the state of the replicators was read.
	Shards(shards []ShardProgress)
}

// Runner does steps, with a journal line in the record before and after each.
type Runner struct {
	Operation Operation
	Records   *Records
	Record    *pair.Record
	Progress  Progress
}

// Run does the steps in order and stops at the first error, or before the
// next step when ctx has ended.
func (r *Runner) Run(ctx context.Context, steps ...Step) error {
	for _, step := range steps {
		if cause := context.Cause(ctx); errors.Is(cause, errLockLost) {
			return fmt.Errorf("stopped before the step %q: %w", step.Name, cause)
		}
		if ctx.Err() != nil {
			return fault.Wrap(fault.CodeInterrupted, "run the same command again to go on",
				fmt.Errorf("stopped before the step %q: %w", step.Name, context.Cause(ctx)))
		}
		if err := r.one(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) one(ctx context.Context, step Step) error {
	if err := r.Note(ctx, "begin: "+step.Name); err != nil {
		return err
	}
	r.Progress.StepStarted(step.Name)
	start := time.Now()
	work := ctx
	if !step.Waits {
		work = context.WithoutCancel(ctx)
	}
	err := step.Do(work)
	r.Progress.StepEnded(step.Name, err, time.Since(start))
	if err != nil {
		return err
	}
	return r.Note(ctx, "done: "+step.Name)
}

// Note adds a journal line and saves the record as it is now, also when the
// user has interrupted: the record must say what was done.
func (r *Runner) Note(ctx context.Context, text string) error {
	ctx = context.WithoutCancel(ctx)
	op := r.Operation
	r.Record.Journal = append(r.Record.Journal, pair.JournalLine{
		At: time.Now().UTC().Truncate(time.Second), Operation: op.ID, Verb: op.Verb, By: op.By, Text: text,
	})
	return r.Records.Save(ctx, r.Record)
}

// Finish writes the phase that the verb ended in.
func (r *Runner) Finish(ctx context.Context, phase pair.Phase, failedStep, result string) error {
	op := r.Operation
	r.Record.Phase, r.Record.FailedStep = phase, failedStep
	r.Record.Body.LastOperation = pair.Operation{
		ID: op.ID, Verb: op.Verb, By: op.By, Version: op.Version,
		Started: op.Started.UTC().Format(time.RFC3339), Finished: time.Now().UTC().Format(time.RFC3339), Result: result,
	}
	err := r.Note(ctx, "ended: "+result)
	reason := "Ended"
	if phase == pair.PhaseFailed {
		reason = "Failed"
	}
	r.Records.Event(ctx, op, phase == pair.PhaseFailed, reason, string(phase)+": "+result)
	return err
}
