// Package compare compares the two sides that a sync.toml names: it finds
// their masters as a replicator does, reads both (internal/verify), and uses
// the replicators' checkpoints to tell what differs from what is late.
package compare

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

// Options of Run. The zero value compares everything.
type Options struct {
	Mode         wire.VerifyMode // default full
	SampleKeys   int             // of each side, with mode sample
	Rounds       int             // at most
	TTLTolerance time.Duration
	Samples      int    // keys named of every kind
	Source       string // name of the source's site
	Progress     func(wire.VerifyProgress)
	Log          *slog.Logger
	// Apart: no replicator copies from the source to the target. Nothing is
	// late then: every key is read once, and no position is looked at.
	Apart bool
}

// Run compares. Nothing is written to either side.
func Run(ctx context.Context, cfg *config.Config, opts Options) (*wire.VerifyResult, error) {
	source, err := openSource(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer source.close()
	target, err := openTarget(ctx, cfg, opts.Log)
	if err != nil {
		return nil, err
	}
	defer target.close()
	if opts.Apart {
		return apart(ctx, cfg, source, target, opts, nil)
	}

	v := opts.forVerify(cfg)
	p := positions{cfg: cfg, source: source, target: target}
	v.Barrier = p.reached
	// What was not written between these two looks was not written between
	// the first key and the last.
	before, err := source.writes()
	if err != nil {
		return nil, err
	}
	why, err := p.reached(ctx)
	if err != nil {
		return nil, err
	}
	if why != "" {
		// It would not be another answer a moment later.
		v.Barrier = func(context.Context) (string, error) { return why, nil }
	}
	result, err := verify.Run(ctx, source.side(opts.sourceName()), target.side(siteName(cfg)), v)
	if err != nil {
		return nil, err
	}
	after, err := source.writes()
	if err != nil {
		return nil, err
	}
	result.Exact = why == "" && before == after
	if why != "" {
		result.Positions, result.PositionsWhy = false, why
	}
	return result, nil
}

func (o Options) forVerify(cfg *config.Config) verify.Options {
	v := verify.Options{
		Rounds: o.Rounds, TTLTolerance: o.TTLTolerance, Samples: o.Samples, Progress: o.Progress,
		SameValue: (&opener{dir: cfg.SyncFile.Advanced.Dir}).sameValue,
	}
	if o.Mode == wire.VerifySample {
		v.SampleKeys = o.SampleKeys
	}
	return v
}

func (o Options) sourceName() string {
	if o.Source == "" {
		return "source"
	}
	return o.Source
}

// apart compares two sides between which nothing is copied. differs gets every
// key that does; it may be nil.
func apart(ctx context.Context, cfg *config.Config, source masters, target *target, opts Options, differs func(int, string, verify.Kind) error) (*wire.VerifyResult, error) {
	v := opts.forVerify(cfg)
	// Nothing is read again: what differs is remembered only so that a key that
	// SCAN gives twice counts once.
	v.Rounds, v.Differs, v.MaxSuspects = 1, differs, 20_000
	before, err := source.writes()
	if err != nil {
		return nil, err
	}
	result, err := verify.Run(ctx, source.side(opts.sourceName()), target.side(siteName(cfg)), v)
	if err != nil {
		return nil, err
	}
	after, err := source.writes()
	if err != nil {
		return nil, err
	}
	result.Apart, result.Exact = true, before == after
	return result, nil
}

func siteName(cfg *config.Config) string {
	if cfg.Link == nil {
		return "target"
	}
	return cfg.Link.Site
}

// targetOptions are those that a replicator would connect with.
func targetOptions(cfg *config.Config, log *slog.Logger) apply.Options {
	t := cfg.SyncFile.Target
	o := apply.Options{
		Addrs: cfg.TargetAddrs, Sentinels: t.Sentinels, MasterName: t.MasterName, Conn: cfg.Target, Sentinel: cfg.Sentinel, Log: log,
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Conn.DialTimeout = 5 * time.Second
	return o
}

// errSlots says that the source is not whole.
func errSlots(format string, args ...any) error {
	return fmt.Errorf("the source cannot be compared: "+format, args...)
}
