package pair

import (
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// SchemaVersion is the version of the record that this build writes. A record
// of a newer version is refused; fields that are added within a version are
// kept when an older build rewrites the record.
const SchemaVersion = 1

// Record is what the clusters remember of a pair. The scalars are keys of the
// ConfigMap of their own, so that kubectl can wait for them; the rest is one
// JSON document.
type Record struct {
	Pair       string
	Phase      Phase
	FailedStep string // what failed, with PhaseFailed
	Epoch      int64  // grows with every change of role; starts at 1
	Primary    string // site name
	Paused     bool
	Body       Body
	Journal    []JournalLine

	unknown map[string]string // keys of the ConfigMap that this build does not know
	body    string            // record.json as it was read
}

// Body is record.json.
type Body struct {
	Spec          Spec                 `json:"spec"`
	Sites         map[string]SiteState `json:"sites"`
	Shards        []ShardState         `json:"shards,omitempty"`       // of the primary, by ordinal
	Image         string               `json:"image,omitempty"`        // of the replicators
	StandbyGuard  string               `json:"standbyGuard,omitempty"` // acl, none or unavailable; "" before this was known
	LastOperation Operation            `json:"lastOperation,omitzero"`
	Switch        *Switch              `json:"switch,omitempty"`   // under way, or the last one
	Revision      int64                `json:"revision,omitempty"` // counts the writes of the record; clocks differ
}

// Operation is one run of a verb.
type Operation struct {
	ID       string `json:"id"`
	Verb     Verb   `json:"verb"`
	By       string `json:"by,omitempty"`
	Version  string `json:"version,omitempty"` // of the plugin
	Started  string `json:"started,omitempty"` // RFC 3339
	Finished string `json:"finished,omitempty"`
	Result   string `json:"result,omitempty"`
}

// SiteState is how a site is recognised again, and what was created for it.
type SiteState struct {
	Cluster      ClusterIdentity        `json:"cluster"`
	Context      string                 `json:"context,omitempty"` // name of the kubeconfig context that was used
	Server       string                 `json:"server,omitempty"`  // URL of the API server, for people
	Namespace    string                 `json:"namespace"`
	Instance     string                 `json:"instance"`
	Kind         string                 `json:"kind"`
	APIVersion   string                 `json:"apiVersion,omitempty"`
	Operator     topology.Operator      `json:"operator,omitempty"`
	Mode         topology.Mode          `json:"mode"`
	StatefulSets []topology.OwnerUID    `json:"statefulSets,omitempty"`
	NodeIDs      []string               `json:"nodeIDs,omitempty"`  // cluster node ids, sorted
	Services     map[string]ServiceInfo `json:"services,omitempty"` // by pod
	Invalidated  bool                   `json:"invalidated,omitempty"`
}

// ClusterIdentity tells clusters apart: by UID where the user could read it,
// else by a hash of the cluster's CA.
type ClusterIdentity struct {
	UID    string `json:"uid,omitempty"`
	CAHash string `json:"caHash,omitempty"`
}

// ServiceInfo is the Service that reaches one data pod.
type ServiceInfo struct {
	Name      string `json:"name"`
	NodePort  int32  `json:"nodePort,omitempty"`  // asked for again whenever the Service is made anew
	ClusterIP string `json:"clusterIP,omitempty"` // with access ClusterIP
	Foreign   bool   `json:"foreign,omitempty"`   // the operator's own: reused, never changed
}

// ShardState is one source shard. Its place in the list is its ordinal.
type ShardState struct {
	Slots    topology.SlotSet  `json:"slots"`
	Pods     []string          `json:"pods"` // primary first, as last seen
	Position *PositionRecorded `json:"position,omitempty"`
}

// PositionRecorded is where a shard's replication stream was when roles were
// switched.
type PositionRecorded struct {
	ReplID string `json:"replid"`
	Offset int64  `json:"offset"`
	DB     int    `json:"db"`
}

// Standby is the name of the site that is not the primary.
func (r *Record) Standby() string {
	other, _ := r.Body.Spec.Other(r.Primary)
	return other.Name
}

// Role of a site of this pair.
func (r *Record) Role(site string) Role {
	if site == r.Primary {
		return RolePrimary
	}
	return RoleStandby
}

// Same tells whether both identities are of the same cluster; false when
// nothing is known of one of them.
func (c ClusterIdentity) Same(other ClusterIdentity) bool {
	if c.UID != "" && other.UID != "" {
		return c.UID == other.UID
	}
	return c.CAHash != "" && c.CAHash == other.CAHash
}

// Known tells whether there is anything to compare.
func (c ClusterIdentity) Known() bool { return c.UID != "" || c.CAHash != "" }
