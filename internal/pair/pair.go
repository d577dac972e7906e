package pair

import corev1 "k8s.io/api/core/v1"

// APIVersion and Kind head a pair.yaml.
const (
	APIVersion = "redis-sync.io/v1alpha1"
	Kind       = "Pair"
)

// Pair is the content of a pair.yaml.
type Pair struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       Spec     `json:"spec"`
}

// Metadata names the pair.
type Metadata struct {
	Name string `json:"name"`
}

// Spec is what the user wants of a pair.
type Spec struct {
	Sites            []Site         `json:"sites"`            // exactly two
	PreferredPrimary string         `json:"preferredPrimary"` // the first primary, and the one that failback returns to
	StaleKeys        StaleKeys      `json:"staleKeys,omitzero"`
	ProtectStandby   ProtectStandby `json:"protectStandby,omitempty"`
	Replicator       Replicator     `json:"replicator,omitzero"`
}

// Site is one Redis instance and the way to it.
type Site struct {
	Name        string       `json:"name"`
	Kubeconfig  string       `json:"kubeconfig,omitempty"` // a file of this machine; never recorded
	Context     string       `json:"context,omitempty"`
	Namespace   string       `json:"namespace"`
	Instance    InstanceRef  `json:"instance"`
	Access      Access       `json:"access,omitzero"`
	Credentials *Credentials `json:"credentials,omitempty"` // nil: found from the operator's own objects
	TLS         *TLS         `json:"tls,omitempty"`
}

// InstanceRef names an instance. Kind is needed only where two kinds share
// the name.
type InstanceRef struct {
	Name string `json:"name"`
	Kind string `json:"kind,omitempty"`
}

// AccessType says how the replicators of the other site reach the data pods.
type AccessType string

// The ways to reach a data pod.
const (
	AccessNodePort     AccessType = "NodePort"     // any network where the nodes' addresses are reachable
	AccessClusterIP    AccessType = "ClusterIP"    // both sites in one cluster
	AccessLoadBalancer AccessType = "LoadBalancer" // one load balancer per data pod
	AccessAddresses    AccessType = "Addresses"    // addresses that somebody else provides
)

// Access says how the data pods of a site are reached from the other site.
type Access struct {
	Type          AccessType        `json:"type,omitempty"`          // default: ClusterIP inside one cluster, else NodePort
	NodeAddresses []string          `json:"nodeAddresses,omitempty"` // instead of the nodes' own addresses (NAT)
	NodePorts     map[string]int32  `json:"nodePorts,omitempty"`     // by pod; chosen by the cluster when absent
	Addresses     map[string]string `json:"addresses,omitempty"`     // by pod, host:port; with type Addresses
}

// Credentials point at Secrets in the site's namespace.
type Credentials struct {
	Username string     `json:"username,omitempty"` // "" is the default user
	Password *SecretKey `json:"passwordSecret,omitempty"`
}

// SecretKey is one key of a Secret.
type SecretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// TLS overrides what the operator's objects say about TLS. The Secret holds
// ca.crt and, for mutual TLS, tls.crt and tls.key.
type TLS struct {
	Enabled    bool   `json:"enabled"`
	Secret     string `json:"secret,omitempty"`
	ServerName string `json:"serverName,omitempty"`
}

// StaleKeysPolicy says what happens to keys of the target that the source
// does not have.
type StaleKeysPolicy string

// The policies. The zero value means: not chosen, a target that holds keys is
// refused.
const (
	StaleKeysUnset  StaleKeysPolicy = ""
	StaleKeysRefuse StaleKeysPolicy = "refuse"
	StaleKeysKeep   StaleKeysPolicy = "keep"
	StaleKeysPrune  StaleKeysPolicy = "prune"
)

// StaleKeys is the policy and its brake.
type StaleKeys struct {
	Policy   StaleKeysPolicy `json:"policy,omitempty"`
	MaxShare *float64        `json:"maxShare,omitempty"` // 0..1 of the target's keys; 1 acknowledges any share; default 0.1
}

// ProtectStandby says how the standby is kept from being written to by
// applications.
type ProtectStandby string

// The ways to protect a standby.
const (
	ProtectUnset ProtectStandby = ""     // as acl, where the servers have ACLs
	ProtectACL   ProtectStandby = "acl"  // only the replicators may write; refused where the servers have no ACLs
	ProtectNone  ProtectStandby = "none" // not at all, by choice
)

// Replicator tunes the replicator's Deployment and sync.toml.
type Replicator struct {
	Image                string                      `json:"image,omitempty"` // default: the one of this version of the plugin
	ImagePullSecrets     []string                    `json:"imagePullSecrets,omitempty"`
	Resources            corev1.ResourceRequirements `json:"resources,omitzero"`
	NodeSelector         map[string]string           `json:"nodeSelector,omitempty"`
	LogLevel             string                      `json:"logLevel,omitempty"`             // debug, info or warn
	SpoolMemoryBytes     int64                       `json:"spoolMemoryBytes,omitempty"`     // 0: the replicator's default
	SpoolDiskBytes       int64                       `json:"spoolDiskBytes,omitempty"`       // 0: the replicator's default
	MaxBytesPerSecond    int64                       `json:"maxBytesPerSecond,omitempty"`    // 0: no limit
	MaxCommandsPerSecond int64                       `json:"maxCommandsPerSecond,omitempty"` // 0: no limit
}

// Role of a site.
type Role string

// The roles.
const (
	RolePrimary Role = "primary" // serves writes
	RoleStandby Role = "standby" // is kept as the copy
)

// Site gives the site of that name.
func (s Spec) Site(name string) (Site, bool) {
	for _, site := range s.Sites {
		if site.Name == name {
			return site, true
		}
	}
	return Site{}, false
}

// Other gives the site that is not name.
func (s Spec) Other(name string) (Site, bool) {
	if _, known := s.Site(name); !known {
		return Site{}, false
	}
	for _, site := range s.Sites {
		if site.Name != name {
			return site, true
		}
	}
	return Site{}, false
}
