package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/compare"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

const rescueUsage = `usage: redis-sync-sidecar rescue [flags] /etc/sync/sync.toml

Compares all data of the source that the file names, whatever shard it is for,
with the target, to which nothing is copied any more, and prints what verify
prints. Then it serves the source's version of every key that the target lacks
or has otherwise, as an RDB file, until it is ended: over HTTP, on the loopback
interface only. Values get nowhere else.

Exit status: 0 ended after the file was fetched, 4 the time is over, 1 error,
2 bad configuration or flags.

`

func runRescue(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("rescue", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, rescueUsage)
		flags.PrintDefaults()
	}
	var o compare.Options
	var h rescue.Header
	flags.DurationVar(&o.TTLTolerance, "ttl-tolerance", wire.DefaultVerifyTTLTolerance, "by how much deadlines may differ")
	header := flags.String("header", "", "what the file says of itself, as JSON")
	port := flags.Int("port", wire.RescuePort, "port to serve the file on")
	timeout := flags.Duration("timeout", wire.DefaultVerifyTimeout, "how long it may take, until the file was fetched")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitConfig
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return exitConfig
	}
	out := json.NewEncoder(stdout)
	out.SetEscapeHTML(false)
	if err := json.Unmarshal([]byte(*header), &h); err != nil {
		return fail(out, exitConfig, fmt.Errorf("--header: %w", err))
	}
	cfg, err := config.Load(flags.Arg(0))
	if err != nil {
		return fail(out, exitConfig, err)
	}
	debug.SetGCPercent(200) // what is alive is little; verify takes more, and reads faster
	o.Log, o.Source, o.Samples = slog.New(slog.NewTextHandler(stderr, nil)), h.From.Name, wire.DefaultVerifyNames
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("%w: %v", errTime, *timeout))
	defer cancel()
	// The port comes first: who reads the result may ask at once.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	if err != nil {
		return fail(out, exitError, err)
	}
	defer func() { _ = listener.Close() }()
	last := printProgress(&o, out)
	found, err := compare.FindDivergence(ctx, cfg, o, cfg.Advanced.Dir)
	if err != nil {
		return failCompare(ctx, out, last, err)
	}
	defer found.Close()
	if err := out.Encode(wire.VerifyLine{Result: found.Result}); err != nil {
		return exitError
	}
	return serveFile(ctx, listener, found, h, out)
}

// serveFile gives the file to whoever asks, until ctx ends.
func serveFile(ctx context.Context, listener net.Listener, found *compare.Divergence, h rescue.Header, out *json.Encoder) int {
	var mu sync.Mutex // the names are read by one at a time
	fetched := false
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.RescuePath, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := found.WriteFile(r.Context(), h, w); err != nil {
			_ = out.Encode(wire.VerifyLine{Error: "giving the rescue file away: " + err.Error()})
			// What was sent has no end: who reads it notices.
			panic(http.ErrAbortHandler)
		}
		fetched = true
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fail(out, exitError, err)
	case <-ctx.Done():
		_ = server.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	switch {
	case fetched:
		return 0
	case errors.Is(context.Cause(ctx), errTime):
		return fail(out, exitTimeout, errors.New("nobody fetched the rescue file in time"))
	}
	return fail(out, exitError, errors.New("ended before the rescue file was fetched"))
}
