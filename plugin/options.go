package plugin

import (
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/redis-sync/kubectl-redis-sync/internal/version"
)

// Options is what all verbs share. Tests make it with their own streams and a
// kubeconfig of their own; main makes it once.
type Options struct {
	genericiooptions.IOStreams

	// ConfigFlags are the usual flags of kubectl (--context, -n, ...). They
	// address the cluster of verbs that look at one cluster only, and give
	// the defaults of every site that does not say otherwise.
	ConfigFlags *genericclioptions.ConfigFlags

	Color     string // auto, always or never
	UserAgent string
}

// NewOptions gives options that read the usual kubeconfig.
func NewOptions(streams genericiooptions.IOStreams) *Options {
	return &Options{
		IOStreams:   streams,
		ConfigFlags: genericclioptions.NewConfigFlags(true),
		Color:       "auto",
		UserAgent:   version.Get().UserAgent(),
	}
}

// SiteFlags gives the connection flags of one site: those of the command
// line, with kubeconfig, context and namespace replaced where they are not
// empty. NewConfigFlags caches what it loaded, so each site gets its own.
func (o *Options) SiteFlags(kubeconfig, context, namespace string) *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(true)
	shared := o.ConfigFlags
	flags.CacheDir = shared.CacheDir
	flags.Impersonate, flags.ImpersonateUID, flags.ImpersonateGroup = shared.Impersonate, shared.ImpersonateUID, shared.ImpersonateGroup
	flags.Timeout = shared.Timeout
	flags.KubeConfig = override(shared.KubeConfig, kubeconfig)
	flags.Context = override(shared.Context, context)
	flags.Namespace = override(shared.Namespace, namespace)
	if context == "" || context == value(shared.Context) {
		// Flags that pick the user, the server or its certificates belong to
		// the context they were given for, not to every site.
		flags.ClusterName, flags.AuthInfoName = shared.ClusterName, shared.AuthInfoName
		flags.APIServer, flags.TLSServerName = shared.APIServer, shared.TLSServerName
		flags.Insecure, flags.CAFile = shared.Insecure, shared.CAFile
		flags.CertFile, flags.KeyFile, flags.BearerToken = shared.CertFile, shared.KeyFile, shared.BearerToken
	}
	return flags
}

func override(shared *string, own string) *string {
	if own != "" {
		return &own
	}
	copied := value(shared)
	return &copied
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
