// Command testagent is what runs inside the clusters of the tests: the
// operator, the loader and the writers.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/operator"
)

func main() { os.Exit(status()) }

func status() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: testagent operate|load|write")
	}
	switch args[0] {
	case "operate":
		return operate(ctx, args[1:])
	case "load":
		return fill(ctx, args[1:])
	case "write":
		return write(ctx, args[1:])
	default:
		return fmt.Errorf("unknown command %q", args[0])
	}
}

func operate(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("operate", flag.ExitOnError)
	every := flags.Duration("every", time.Second, "pause between passes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	op, err := operator.InCluster(slog.New(slog.NewTextHandler(os.Stderr, nil)), *every)
	if err != nil {
		return err
	}
	return op.Run(ctx)
}
