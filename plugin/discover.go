package plugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

const discoverLong = `Lists the Redis instances of a namespace or of a whole cluster: which operator
or chart made them, their shape, and which pods are primaries right now.

The primaries are what Redis itself says, asked through the API server. Labels
of pods and Services with such labels are late during failovers: a label that
says something else is shown in NOTES and never used.

With a name, the command fails when there is no such instance or when it cannot
be examined. KIND/NAME picks one of several kinds with the same name.

RBAC (in the namespace; in a ClusterRole for --all-namespaces)
  ""            pods, services                 get, list
  ""            secrets                        get (the instance's password)
  ""            pods/portforward               get, create
  apps          statefulsets, deployments      list
  redis.redis.opstreelabs.in, databases.spotahome.com, valkey.io, hyperspike.io
                their instances                list (optional)

EXIT STATUS
  0    done
  1    error, or the name is ambiguous
  10   no such instance
  12   authentication or RBAC`

const discoverExample = `  # the instances of the current context and namespace
  kubectl redis-sync discover

  # those of a whole cluster
  kubectl redis-sync discover -A --context site-a

  # one instance, everything that is known about it
  kubectl redis-sync discover redis-a -n redis -o yaml

  # one of several kinds with the same name
  kubectl redis-sync discover RedisFailover/redis-b -n redis`

// discoverOptions of one run of discover.
type discoverOptions struct {
	genericiooptions.IOStreams
	userAgent string
	loader    *genericclioptions.ConfigFlags

	namespace     string
	allNamespaces bool
	kind, name    string // "" lists all
	output        string
}

// NewDiscoverCommand gives the verb discover.
func NewDiscoverCommand(o *Options) *cobra.Command {
	d := &discoverOptions{IOStreams: o.IOStreams, userAgent: o.UserAgent, loader: o.ConfigFlags}
	cmd := &cobra.Command{
		Use:     "discover [[KIND/]NAME]",
		Short:   "List Redis instances, their shape and their current primaries",
		Long:    discoverLong,
		Example: discoverExample,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.complete(args); err != nil {
				return err
			}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&d.allNamespaces, "all-namespaces", "A", false, "list the instances of all namespaces")
	cmd.Flags().StringVarP(&d.output, "output", "o", "table", "table, wide, json or yaml")
	return cmd
}

func (d *discoverOptions) complete(args []string) error {
	switch d.output {
	case "table", "wide", "json", "yaml":
	default:
		return fmt.Errorf("unknown output %q: use table, wide, json or yaml", d.output)
	}
	if len(args) == 1 {
		d.name = args[0]
		if kind, name, ok := strings.Cut(args[0], "/"); ok {
			d.kind, d.name = kind, name
		}
		if d.allNamespaces {
			return fmt.Errorf("a name is looked up in one namespace: leave out --all-namespaces, or the name")
		}
	}
	if d.allNamespaces {
		return nil
	}
	namespace, _, err := d.loader.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return &kube.ConfigError{Err: err}
	}
	d.namespace = namespace
	return nil
}

func (d *discoverOptions) run(ctx context.Context) error {
	client, err := kube.New(d.loader, kube.Options{Context: value(d.loader.Context), UserAgent: d.userAgent})
	if err != nil {
		return err
	}
	defer client.Close()
	if d.name != "" {
		inst, err := discovery.Discover(ctx, client, d.namespace, d.name, d.kind)
		if err != nil {
			return err
		}
		return d.print([]topology.Instance{inst})
	}
	all, err := discovery.List(ctx, client, d.namespace)
	if err != nil {
		return err
	}
	return d.print(all)
}
