// Command testcluster starts and stops real Kubernetes clusters on one machine.
// The components of the clusters are part of it: its first argument, or its
// name, selects one.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cli"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/component"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/linked"
)

func main() {
	if filepath.Base(os.Args[0]) == component.Kubectl {
		os.Exit(linked.Run(component.Kubectl, os.Args[1:]))
	}
	if len(os.Args) > 1 && component.Known(os.Args[1]) {
		os.Exit(linked.Run(os.Args[1], os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cli.NewRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		os.Exit(1)
	}
}
