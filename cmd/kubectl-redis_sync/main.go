// Command kubectl-redis_sync is the kubectl plugin `kubectl redis-sync`.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // cloud and exec credentials of kubeconfigs

	"github.com/redis-sync/kubectl-redis-sync/plugin"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(plugin.Execute(plugin.NewOptions(streams), os.Args[1:]))
}
