// Command redis-sync-sidecar copies one shard of a Redis into another Redis,
// as sync.toml says.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" //nolint:gosec // served on localhost only, where pprof_port asks for it
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/version"
	"github.com/redis-sync/kubectl-redis-sync/sidecar"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

const usage = `usage: redis-sync-sidecar /etc/sync/sync.toml
       redis-sync-sidecar verify [flags] /etc/sync/sync.toml
       redis-sync-sidecar rescue [flags] /etc/sync/sync.toml
       redis-sync-sidecar --version

Copies one shard of a source Redis into a target Redis and keeps the copy
current. SIGTERM applies what was read and ends with 0.

verify compares all data of both and writes nothing (verify -h). rescue does the
same and then gives away what the target lacks or has otherwise (rescue -h).

Exit status: 0 drained, 1 stopped on an error, 2 bad configuration.
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "verify" {
		return runVerify(args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "rescue" {
		return runRescue(args[1:], stdout, stderr)
	}
	if len(args) != 1 || args[0] == "-h" || args[0] == "--help" {
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	if args[0] == "--version" {
		_, _ = fmt.Fprintln(stdout, "redis-sync-sidecar", version.Get().Version)
		return 0
	}
	cfg, err := config.Load(args[0])
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 2
	}
	log, err := newLogger(cfg, stdout)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 2
	}
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := copyShard(ctx, cfg, log); err != nil {
		log.Error("stopped", "error", err.Error())
		return 1
	}
	log.Info("drained")
	return 0
}

func copyShard(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	r, err := sidecar.New(cfg, version.Get().Version, log)
	if err != nil {
		return err
	}
	// The status is served until the very end, drain included.
	serveCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if port := cfg.Advanced.MetricsPort; port != 0 {
		if _, err := r.Status().Serve(serveCtx, port); err != nil {
			return err
		}
	}
	if port := cfg.Advanced.PprofPort; port != 0 {
		srv := &http.Server{Addr: "127.0.0.1:" + strconv.Itoa(port), ReadHeaderTimeout: 5 * time.Second}
		go func() {
			if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				log.Warn("pprof is not served", "error", err.Error())
			}
		}()
		defer func() { _ = srv.Close() }()
	}
	if n := cfg.Advanced.LogInterval; n > 0 {
		go r.Report(serveCtx, time.Duration(n)*time.Second)
	}
	boundMemory(cfg.Advanced.SpoolMemory)
	return r.Run(ctx)
}

// boundMemory lets the garbage collector work harder before the process takes
// what it needs twice, as it may on a busy node: what is alive is some 40 MB at
// most, and what the spool holds. GOMEMLIMIT, where it is set, decides instead.
func boundMemory(spool int64) {
	const work = 80 << 20
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(work + spool)
	}
}

func newLogger(cfg *config.Config, stdout io.Writer) (*slog.Logger, error) {
	level := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn}[cfg.Advanced.LogLevel]
	out := stdout
	if name := cfg.Advanced.LogFile; name != "" {
		if err := os.MkdirAll(cfg.Advanced.Dir, 0o750); err != nil {
			return nil, fmt.Errorf("making the working folder (advanced.dir): %w", err)
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(cfg.Advanced.Dir, name)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, fmt.Errorf("opening advanced.log_file: %w", err)
		}
		out = io.MultiWriter(stdout, f)
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})), nil
}
