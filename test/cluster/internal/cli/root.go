// Package cli is the command line of the test clusters.
package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/host"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/machine"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

const long = `Start and stop real Kubernetes clusters on this machine, as root, without Docker
and without pulling images.

Each cluster is a site: one machine, with its own processes, network and disk,
that runs etcd, the API server, the controllers, the scheduler, kubelet,
kube-proxy, containerd and a provisioner of volumes. Sites reach each other's
NodePorts and API servers through a router, and so does this machine; pod and
service addresses lead nowhere outside their site. Images are imported with
"load-image"; use the pull policy Never or IfNotPresent.

kubeconfig: the contexts SITE (administrator), SITE-viewer and SITE-noaccess
(users without any right, for tests to bind).`

// NewRoot returns the command with all its verbs.
func NewRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "testcluster",
		Short:         "Real Kubernetes clusters on one machine",
		Long:          long,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newUp(), newDown(), newStatus(), newStart(), newStop(), newCut(), newRestore(),
		newLoadImage(), newExec(), newLogs(), newKubeconfig(), newKubectl(), newMachine(),
	)
	return root
}

// newMachine is how the program calls itself to become process 1 of a machine.
func newMachine() *cobra.Command {
	return &cobra.Command{
		Use:    machine.Verb + " SITE INDEX",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			s := site.Site{Name: args[0]}
			if _, err := fmt.Sscan(args[1], &s.Index); err != nil {
				return fmt.Errorf("index of site %s: %w", s.Name, err)
			}
			return machine.Init(s)
		},
	}
}

// asRoot guards the verbs that change something.
func asRoot(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := host.RequireRoot(); err != nil {
			return err
		}
		unlock, err := lock()
		if err != nil {
			return err
		}
		defer unlock()
		return run(cmd, args)
	}
}

// open returns the sites of the given names; "all" is all of them.
func open(names []string) ([]site.Site, error) {
	if len(names) == 1 && names[0] == "all" {
		return site.All()
	}
	var sites []site.Site
	for _, name := range names {
		s, err := site.Open(name)
		if err != nil {
			return nil, err
		}
		sites = append(sites, s)
	}
	return sites, nil
}

// reporter prints one line per step; lines of sites in parallel do not mix,
// because each is one write.
func reporter(s site.Site, format string, args ...any) {
	fmt.Fprintf(os.Stdout, s.Name+": "+format+"\n", args...)
}
