package plugin

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// siteFlags say how this machine reaches the sites of a pair. They name a
// site, never a direction: directions turn round.
type siteFlags struct {
	contexts    map[string]string
	kubeconfigs map[string]string
}

func (f *siteFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringToStringVar(&f.contexts, "site-context", nil, "kubeconfig context of a site, SITE=CONTEXT (repeatable)")
	cmd.Flags().StringToStringVar(&f.kubeconfigs, "site-kubeconfig", nil, "kubeconfig file of a site, SITE=FILE (repeatable)")
}

// definitionFlags describe a pair and its settings.
type definitionFlags struct {
	file          string
	source        string
	target        string
	sourceKind    string
	targetKind    string
	staleKeys     string
	maxShare      float64
	access        string
	nodeAddresses map[string]string
	image         string

	cmd *cobra.Command
}

func (f *definitionFlags) add(cmd *cobra.Command) {
	f.cmd = cmd
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "filename", "f", "", "pair.yaml that describes the pair")
	flags.StringVar(&f.source, "source", "", "instance that serves writes, [SITE=]CONTEXT/NAMESPACE/[KIND/]NAME")
	flags.StringVar(&f.target, "target", "", "instance that becomes its copy, [SITE=]CONTEXT/NAMESPACE/[KIND/]NAME")
	flags.StringVar(&f.sourceKind, "source-kind", "", "kind of the source, where two kinds share its name")
	flags.StringVar(&f.targetKind, "target-kind", "", "kind of the target, where two kinds share its name")
	flags.StringVar(&f.staleKeys, "stale-keys", "", "what happens to keys that only the target has: keep, prune or refuse")
	flags.Float64Var(&f.maxShare, "stale-keys-max-share", 0.1, "share of the target's keys that may be pruned; 1 acknowledges any share")
	flags.StringVar(&f.access, "access", "", "how the target's site reaches the source: NodePort, ClusterIP, LoadBalancer (default: ClusterIP inside one cluster, else NodePort)")
	flags.StringToStringVar(&f.nodeAddresses, "node-address", nil, "address of the nodes of a site as the other site sees it, SITE=ADDRESS (repeatable)")
	flags.StringVar(&f.image, "image", "", "image of the replicators (default: the one of this version)")
	cmd.MarkFlagsMutuallyExclusive("filename", "source")
	cmd.MarkFlagsMutuallyExclusive("filename", "target")
	cmd.MarkFlagsRequiredTogether("source", "target")
}

// definition gives the pair that the flags describe; nil when only its record
// does.
func (f *definitionFlags) definition(name string) (*pair.Spec, error) {
	var p pair.Pair
	switch {
	case f.file != "":
		text, err := os.ReadFile(f.file)
		if err != nil {
			return nil, err
		}
		if p, err = pair.Parse(text); err != nil {
			return nil, fmt.Errorf("%s: %w", f.file, err)
		}
		if p.Metadata.Name != name {
			return nil, fmt.Errorf("%s: the pair is named %q, the command line says %q", f.file, p.Metadata.Name, name)
		}
	case f.source != "":
		source, err := reference("--source", f.source, f.sourceKind)
		if err != nil {
			return nil, err
		}
		target, err := reference("--target", f.target, f.targetKind)
		if err != nil {
			return nil, err
		}
		p = pair.FromReferences(name, source, target)
	default:
		return nil, nil //nolint:nilnil // the record says it
	}
	p = p.Default()
	f.adjust(&p.Spec)
	for site := range f.nodeAddresses {
		if _, known := p.Spec.Site(site); !known {
			return nil, fmt.Errorf("--node-address %s: no such site; the sites are %s and %s", site, p.Spec.Sites[0].Name, p.Spec.Sites[1].Name)
		}
	}
	return &p.Spec, p.Validate()
}

func reference(flag, text, kind string) (pair.Reference, error) {
	ref, err := pair.ParseReference(text)
	if err != nil {
		return ref, fmt.Errorf("%s: %w", flag, err)
	}
	if kind != "" {
		ref.Kind = kind
	}
	return ref, nil
}

// adjust sets what the command line names and leaves the rest as it is.
func (f *definitionFlags) adjust(spec *pair.Spec) {
	changed := f.cmd.Flags().Changed
	if changed("stale-keys") {
		spec.StaleKeys.Policy = pair.StaleKeysPolicy(f.staleKeys)
	}
	if changed("stale-keys-max-share") {
		share := f.maxShare
		spec.StaleKeys.MaxShare = &share
	}
	if changed("image") {
		spec.Replicator.Image = f.image
	}
	for i := range spec.Sites {
		site := &spec.Sites[i]
		if changed("access") {
			site.Access.Type = pair.AccessType(f.access)
		}
		if address, ok := f.nodeAddresses[site.Name]; ok {
			site.Access.NodeAddresses = []string{address}
		}
	}
}

// connector makes the clients of the sites.
func (o *Options) connector() execute.Connector {
	return func(site, kubeconfig, context, namespace string) (*kube.Client, error) {
		client, err := kube.New(o.SiteFlags(kubeconfig, context, namespace), kube.Options{
			Site: site, Context: firstOf(context, value(o.ConfigFlags.Context)), UserAgent: o.UserAgent,
		})
		if err == nil && client.Context() == "" && value(o.ConfigFlags.APIServer) == "" {
			return nil, fault.New(fault.CodeError, "name a context with --context; `kubectl config get-contexts` lists them",
				"the kubeconfig has no current context")
		}
		return client, err
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// request is what every verb of a pair starts with.
func (o *Options) request(name string, verb pair.Verb, sites siteFlags) (execute.Request, error) {
	if err := pair.CheckName(name); err != nil {
		return execute.Request{}, err
	}
	return execute.Request{
		Name: name, Verb: verb, SiteContexts: sites.contexts, SiteKubeconfigs: sites.kubeconfigs,
		NamespaceGiven: value(o.ConfigFlags.Namespace) != "",
	}, nil
}

// onePair asks for exactly one argument.
func onePair(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fault.New(fault.CodeError, cmd.UseLine(), "expected the name of one pair, got %d arguments", len(args))
	}
	return nil
}
