package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// The streaming libraries print errors of connections that they also return,
// or that come of our own closing them: details for -v=4, not for everybody.
func init() {
	utilruntime.ErrorHandlers = []utilruntime.ErrorHandler{
		func(_ context.Context, err error, msg string, keysAndValues ...any) {
			klog.V(4).InfoS(msg, append([]any{"err", err}, keysAndValues...)...)
		},
	}
}

// FieldManager owns the fields that we set by server-side apply.
const FieldManager = "kubectl-redis-sync"

// Bounds of one request. A verb asks many small things; a site that does not
// answer must not hold it for long.
const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 30 * time.Second
	clientQPS      = 200
	clientBurst    = 400
)

// ConfigLoader finds the API server and the credentials; it is the part of
// cli-runtime's RESTClientGetter that is needed here.
type ConfigLoader interface {
	ToRESTConfig() (*rest.Config, error)
	ToRawKubeConfigLoader() clientcmd.ClientConfig
}

// Options of a Client.
type Options struct {
	Site      string // name for error texts; "" says the context only
	Context   string // name of the context that the loader uses; "" = the current one
	UserAgent string
}

// Client talks to the API server of one site. It may be used concurrently.
type Client struct {
	site      string
	context   string
	namespace string
	config    *rest.Config
	core      kubernetes.Interface
	dynamic   dynamic.Interface
	discovery discovery.DiscoveryInterface
	forwards  *forwarder
}

// New returns a client for what the loader finds. It sends nothing.
func New(loader ConfigLoader, opts Options) (*Client, error) {
	contextName := opts.Context
	if contextName == "" {
		raw, err := loader.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, &ConfigError{Site: opts.Site, Err: err}
		}
		contextName = raw.CurrentContext
	}
	namespace, _, err := loader.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, &ConfigError{Site: opts.Site, Context: contextName, Err: err}
	}
	config, err := loader.ToRESTConfig()
	if err != nil {
		return nil, &ConfigError{Site: opts.Site, Context: contextName, Err: err}
	}
	config = rest.CopyConfig(config)
	if opts.UserAgent != "" {
		config.UserAgent = opts.UserAgent
	}
	config.QPS, config.Burst = clientQPS, clientBurst
	if config.Timeout == 0 {
		config.Timeout = requestTimeout
	}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	// The API server's warnings (deprecations...) are for the author of a
	// manifest, not for the user of a verb.
	config.WarningHandler = rest.NoWarnings{}
	return newForConfig(config, opts.Site, contextName, namespace)
}

func newForConfig(config *rest.Config, site, contextName, namespace string) (*Client, error) {
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, &ConfigError{Site: site, Context: contextName, Err: err}
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, &ConfigError{Site: site, Context: contextName, Err: err}
	}
	c := &Client{
		site: site, context: contextName, namespace: namespace,
		config: config, core: core, dynamic: dyn, discovery: core.Discovery(),
	}
	c.forwards = newForwarder(c)
	return c, nil
}

// WithSite returns the same client under another site name for error texts.
func (c *Client) WithSite(site string) *Client {
	d := *c
	d.site = site
	return &d
}

// Site is the name given for error texts.
func (c *Client) Site() string { return c.site }

// Context is the name of the kubeconfig context in use.
func (c *Client) Context() string { return c.context }

// Namespace is the namespace that the kubeconfig and the flags select.
func (c *Client) Namespace() string { return c.namespace }

// Server is the URL of the API server.
func (c *Client) Server() string { return c.config.Host }

// Close ends the connections to pods that DialPod keeps.
func (c *Client) Close() { c.forwards.close() }

// Ping asks the API server for its version and returns it.
func (c *Client) Ping(ctx context.Context) (string, error) {
	version, err := serverVersion(ctx, c.core.Discovery())
	if err != nil {
		return "", c.wrap(err, "ask the API server at %s for its version", c.Server())
	}
	return version, nil
}

// wrap names the site, the context and what was tried.
func (c *Client) wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Where: c.Where(), Op: fmt.Sprintf(format, args...), Err: err}
}

// Where is how error texts name the site: `site redis-a (context "site-a")`.
func (c *Client) Where() string {
	switch {
	case c.site == "":
		return fmt.Sprintf("context %q", c.context)
	case c.context == "":
		return "site " + c.site
	default:
		return fmt.Sprintf("site %s (context %q)", c.site, c.context)
	}
}

// errNoServer stands for a pod that cannot be forwarded to any more.
var errNoServer = errors.New("the client is closed")
