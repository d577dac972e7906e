// Package topology says what a Redis instance in a Kubernetes namespace is:
// which operator made it, in which mode it runs, which pods hold data, which
// slots belong together and who the masters are. It is pure: it reads
// Kubernetes objects and recorded answers of Redis and talks to nobody.
package topology

import (
	"fmt"
	"time"
)

// Mode is the shape of an instance.
type Mode string

const (
	ModeCluster     Mode = "cluster"     // Redis Cluster: slots over several masters
	ModeSentinel    Mode = "sentinel"    // one master, watched by Sentinel
	ModeReplication Mode = "replication" // one master and replicas, no Sentinel
	ModeStandalone  Mode = "standalone"  // one server
)

// Operator names who made the objects.
type Operator string

const (
	OperatorOT            Operator = "ot"             // OT-CONTAINER-KIT redis-operator
	OperatorSpotahome     Operator = "spotahome"      // spotahome redis-operator
	OperatorSpotahomeFork Operator = "spotahome-fork" // a fork of it, told by a feature
	OperatorValkey        Operator = "valkey-io"      // valkey-io valkey-operator
	OperatorHyperspike    Operator = "hyperspike"     // hyperspike valkey-operator
	OperatorNone          Operator = "none(helm)"     // a chart
)

// Instance is one Redis instance. The part above Shards comes from objects
// alone; Shards, Role and NodeID of the pods come from Redis itself.
type Instance struct {
	Namespace  string   `json:"namespace"`
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`       // RedisCluster, RedisFailover, RedisReplication, Redis, ValkeyCluster, StatefulSet (chart)
	APIVersion string   `json:"apiVersion"` // of the custom resource, as its owner reference says
	Operator   Operator `json:"operator"`
	Mode       Mode     `json:"mode"`

	Port         int        `json:"port"`
	TLS          bool       `json:"tls"`
	TLSSecret    *TLSSecret `json:"tlsSecret,omitempty"`
	Username     string     `json:"username,omitempty"` // "" is the default user
	Password     *SecretRef `json:"password,omitempty"` // nil: no authentication
	Pods         []Pod      `json:"pods"`               // data pods, sorted by name
	StatefulSets []OwnerUID `json:"statefulSets"`       // that own the data pods, sorted by name
	MadeAt       time.Time  `json:"-"`                  // when the youngest of these was made; zero if it is not said
	Sentinel     *Sentinel  `json:"sentinel,omitempty"` // mode sentinel only

	Container   string `json:"container,omitempty"`   // that runs the server in a data pod
	ResourceUID string `json:"resourceUID,omitempty"` // of the custom resource
	Access      string `json:"access,omitempty"`      // how it is exposed today: ClusterIP, NodePort or LoadBalancer

	WriteService      string `json:"writeService,omitempty"`      // a Service that reaches the instance for writing (cluster: any node)
	WriteAddress      string `json:"writeAddress,omitempty"`      // its clusterIP:port
	MasterOnlyService string `json:"masterOnlyService,omitempty"` // the operator's label-selected masters Service; stale during failovers
	MasterOnlyAddress string `json:"masterOnlyAddress,omitempty"` // its clusterIP:port

	Shards   []Shard   `json:"shards,omitempty"` // sorted by first slot; filled from Redis
	Version  string    `json:"version,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

// SecretRef points at one key of a Secret in the instance's namespace.
type SecretRef struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// TLSSecret names the Secret with the certificates of the servers.
type TLSSecret struct {
	Name string `json:"name"`
	CA   string `json:"ca"` // keys of the Secret
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// OwnerUID identifies a StatefulSet across restarts of its pods.
type OwnerUID struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Sentinel says how to ask who the master is.
type Sentinel struct {
	Service   string     `json:"service"`
	Port      int        `json:"port"`
	MasterSet string     `json:"masterSet"`
	Address   string     `json:"address,omitempty"` // clusterIP:port of the Service; "" when it is headless
	Pods      []string   `json:"pods"`
	PodIPs    []string   `json:"podIPs,omitempty"` // in the order of Pods
	Password  *SecretRef `json:"password,omitempty"`
}

// Role of a pod, in our own words.
type Role string

const (
	RolePrimary Role = "primary"
	RoleReplica Role = "replica"
	RoleUnknown Role = "" // not asked, or no answer
)

// Pod is a data pod of an instance.
type Pod struct {
	Name     string `json:"name"`
	IP       string `json:"ip,omitempty"`
	HostIP   string `json:"hostIP,omitempty"`
	Ready    bool   `json:"ready"`
	RoleSaid Role   `json:"roleByLabel,omitempty"` // what a dynamic label says; never decides
	Role     Role   `json:"role,omitempty"`        // what Redis says
	NodeID   string `json:"nodeID,omitempty"`      // CLUSTER MYID
	NodePort int32  `json:"nodePort,omitempty"`    // of an operator's own per-pod Service, to be reused

	// Service and Address are the name and the clusterIP of a Service that
	// somebody else keeps for this one pod; servers may announce that address.
	Service string `json:"service,omitempty"`
	Address string `json:"address,omitempty"`
}

// Shard is a slot range with the pods that hold it. A source that is no
// cluster is one shard with all slots.
type Shard struct {
	Index    int      `json:"index"`
	Slots    SlotSet  `json:"slots"`
	Primary  string   `json:"primary"`  // pod name
	Replicas []string `json:"replicas"` // pod names, sorted
}

// Severity of a finding.
type Severity string

const (
	SeverityInfo    Severity = "info"
	SeverityWarning Severity = "warning"
	SeverityError   Severity = "error" // a plan refuses to go on (exit code 3)
)

// Finding is something an operator should know, with what to do about it.
type Finding struct {
	Severity Severity `json:"severity"`
	Site     string   `json:"site,omitempty"`
	Object   string   `json:"object"` // "pod redis/redis-a-leader-0", "instance redis-a"
	Message  string   `json:"message"`
	Remedy   string   `json:"remedy,omitempty"`
}

// Ref is how error texts name the instance: "RedisCluster redis/redis-a".
func (i *Instance) Ref() string { return i.Kind + " " + i.Namespace + "/" + i.Name }

// Pod finds a data pod by name; nil when there is none.
func (i *Instance) Pod(name string) *Pod {
	for n := range i.Pods {
		if i.Pods[n].Name == name {
			return &i.Pods[n]
		}
	}
	return nil
}

// PrimaryPods are the primaries of the shards, in their order.
func (i *Instance) PrimaryPods() []string {
	out := make([]string, 0, len(i.Shards))
	for _, s := range i.Shards {
		out = append(out, s.Primary)
	}
	return out
}

// StalePods are the pods whose role label is not what Redis says.
func (i *Instance) StalePods() []Pod {
	var out []Pod
	for _, p := range i.Pods {
		if p.RoleSaid != RoleUnknown && p.Role != RoleUnknown && p.RoleSaid != p.Role {
			out = append(out, p)
		}
	}
	return out
}

// Errors are the findings that forbid to go on.
func Errors(findings []Finding) []Finding {
	var out []Finding
	for _, f := range findings {
		if f.Severity == SeverityError {
			out = append(out, f)
		}
	}
	return out
}

func (i *Instance) find(severity Severity, object, remedy, format string, args ...any) {
	i.Findings = append(i.Findings, Finding{
		Severity: severity, Object: object, Message: fmt.Sprintf(format, args...), Remedy: remedy,
	})
}

func (i *Instance) podRef(pod string) string { return "pod " + i.Namespace + "/" + pod }
