package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/compare"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

const verifyUsage = `usage: redis-sync-sidecar verify [flags] /etc/sync/sync.toml

Compares all data of the source that the file names, whatever shard it is for,
with the target. Prints lines of JSON: progress, and at the end the result or
the error.

Exit status: 0 both hold the same, 5 they differ, 4 the time is over, 1 error,
2 bad configuration or flags.

`

// Exit statuses of verify; the plugin's own for the same.
const (
	exitError   = 1
	exitConfig  = 2
	exitTimeout = 4
	exitDiffers = 5
)

// progressEvery is how often progress is printed.
const progressEvery = time.Second

// errTime is the cause of a context whose time is over.
var errTime = errors.New("the time is over")

func runVerify(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, verifyUsage)
		flags.PrintDefaults()
	}
	var o compare.Options
	mode := flags.String("mode", string(wire.VerifyFull), "full: every key; sample: some of each side, chosen at random")
	flags.IntVar(&o.SampleKeys, "sample", wire.DefaultVerifySample, "keys of each side, with --mode sample")
	flags.IntVar(&o.Rounds, "rounds", wire.DefaultVerifyRounds, "how often keys that differ are read, the first time included")
	flags.DurationVar(&o.TTLTolerance, "ttl-tolerance", wire.DefaultVerifyTTLTolerance, "by how much deadlines may differ")
	flags.IntVar(&o.Samples, "names", wire.DefaultVerifyNames, "keys to name of every kind of difference")
	flags.StringVar(&o.Source, "source-site", "", "name of the source's site")
	flags.BoolVar(&o.Apart, "apart", false, "nothing is copied from the source to the target: read every key once, and look at no position")
	timeout := flags.Duration("timeout", wire.DefaultVerifyTimeout, "how long it may take")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitConfig
	}
	o.Mode = wire.VerifyMode(*mode)
	if flags.NArg() != 1 || o.Mode != wire.VerifyFull && o.Mode != wire.VerifySample || o.SampleKeys < 1 || o.Rounds < 1 {
		flags.Usage()
		return exitConfig
	}
	out := json.NewEncoder(stdout)
	out.SetEscapeHTML(false)
	cfg, err := config.Load(flags.Arg(0))
	if err != nil {
		return fail(out, exitConfig, err)
	}
	// What is alive is little, and what is read is much.
	debug.SetGCPercent(400)
	o.Log = slog.New(slog.NewTextHandler(stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("%w: %v", errTime, *timeout))
	defer cancel()
	return verifyData(ctx, cfg, o, out)
}

func verifyData(ctx context.Context, cfg *config.Config, o compare.Options, out *json.Encoder) int {
	last := printProgress(&o, out)
	result, err := compare.Run(ctx, cfg, o)
	if err != nil {
		return failCompare(ctx, out, last, err)
	}
	if err := out.Encode(wire.VerifyLine{Result: result}); err != nil {
		return exitError
	}
	if !result.Equal() {
		return exitDiffers
	}
	return 0
}

// printProgress lets a comparison say how far it is, and gives what it said last.
func printProgress(o *compare.Options, out *json.Encoder) *wire.VerifyProgress {
	printed := time.Now()
	var last wire.VerifyProgress
	o.Progress = func(p wire.VerifyProgress) {
		last = p
		if time.Since(printed) >= progressEvery {
			printed = time.Now()
			_ = out.Encode(wire.VerifyLine{Progress: &p}) // who does not read it misses nothing
		}
	}
	return &last
}

func failCompare(ctx context.Context, out *json.Encoder, last *wire.VerifyProgress, err error) int {
	if !errors.Is(context.Cause(ctx), errTime) {
		return fail(out, exitError, err)
	}
	return fail(out, exitTimeout, fmt.Errorf("timed out (%w) in round %d, after %d of about %d keys, of which %d differed: %w",
		context.Cause(ctx), last.Round, last.Done, last.Total, last.Suspects, err))
}

func fail(out *json.Encoder, code int, err error) int {
	_ = out.Encode(wire.VerifyLine{Error: err.Error(), TimedOut: code == exitTimeout}) // the exit status says it too
	return code
}
