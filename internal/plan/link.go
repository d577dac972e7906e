package plan

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// Link is everything that the objects of one direction of a pair depend on.
type Link struct {
	Pair   string
	Epoch  int64
	Paused bool
	Image  string
	Spec   pair.Spec

	Source Side
	Target Side
	// Shards are those of the source, by ordinal.
	Shards []pair.ShardState
	// StaleKeys is the policy in force: never the unset one.
	StaleKeys pair.StaleKeysPolicy
	// Salts of the replicators' Secrets, by shard: random bytes that are made
	// once and then read back.
	Salts map[int][]byte
}

// Side is one site with what was found there.
type Side struct {
	Site     pair.Site
	Access   pair.AccessType // in force, never empty
	Instance topology.Instance
	// Credentials of the instance and, where it has one, of its Sentinel.
	Username         string
	Password         []byte
	SentinelPassword []byte
	CA, Cert, Key    []byte
	// SyncPassword is that of the one user that may write to a protected
	// standby; empty: there is none.
	SyncPassword []byte

	// Services that reach single pods, by pod: of this pair, or the operator's
	// own. A port or an address that is not known yet is empty.
	Services map[string]pair.ServiceInfo
	// LoadBalancers are the addresses of those Services, by pod.
	LoadBalancers map[string]string
}

// ShardsOf numbers the shards that were found: a shard keeps the ordinal that the record gave to its slots.
func ShardsOf(inst topology.Instance, recorded []pair.ShardState) ([]pair.ShardState, error) {
	found := map[string]pair.ShardState{}
	var order []string
	for _, shard := range inst.Shards {
		state := pair.ShardState{Slots: shard.Slots, Pods: append([]string{shard.Primary}, shard.Replicas...)}
		found[shard.Slots.String()] = state
		order = append(order, shard.Slots.String())
	}
	if len(recorded) == 0 {
		shards := make([]pair.ShardState, 0, len(order))
		for _, slots := range order {
			shards = append(shards, found[slots])
		}
		return shards, nil
	}
	shards := make([]pair.ShardState, 0, len(recorded))
	for ordinal, old := range recorded {
		now, ok := found[old.Slots.String()]
		if !ok || len(found) != len(recorded) {
			return nil, &SlotsChangedError{Instance: inst.Name, Shard: ordinal, Slots: old.Slots.String(), Recorded: len(recorded), Found: len(found)}
		}
		now.Position = old.Position
		shards = append(shards, now)
	}
	return shards, nil
}

// SlotsChangedError says that the source was resharded since the record was
// written.
type SlotsChangedError struct {
	Instance        string
	Shard           int
	Slots           string
	Recorded, Found int
}

func (e *SlotsChangedError) Error() string {
	if e.Recorded != e.Found {
		return fmt.Sprintf("instance %s was resharded: it has %d shards now, the record has %d", e.Instance, e.Found, e.Recorded)
	}
	return fmt.Sprintf("instance %s was resharded: no shard has the slots %s of the record's shard %d any more", e.Instance, e.Slots, e.Shard)
}

// ExitCode marks the refusal.
func (e *SlotsChangedError) ExitCode() int { return 3 }

// Remedy says what to do.
func (e *SlotsChangedError) Remedy() string {
	return "delete the pair and apply it again: the new slots need a new full copy"
}

// SourceServices are our Services for the data pods of the source, sorted by
// pod. A pod that the operator's own NodePort Service reaches needs none.
func (l Link) SourceServices() ([]*unstructured.Unstructured, error) {
	if l.Source.Access == pair.AccessAddresses {
		return nil, nil
	}
	var objects []*unstructured.Unstructured
	for _, pod := range l.Source.Instance.Pods {
		if l.Source.reusesOperatorService(pod) {
			continue
		}
		object, err := l.podService(l.Source, pod.Name, l.Source.Instance.Port, l.Source.Access)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// TargetServices are our ClusterIP Services for single pods of the target,
// where its operator has no Service that surely reaches the writable side.
func (l Link) TargetServices() ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	data, sentinels := l.Target.ownServices()
	for _, group := range []struct {
		pods []string
		port int
	}{{data, l.Target.Instance.Port}, {sentinels, l.sentinelPort()}} {
		for _, pod := range group.pods {
			object, err := l.podService(l.Target, pod, group.port, pair.AccessClusterIP)
			if err != nil {
				return nil, err
			}
			objects = append(objects, object)
		}
	}
	return objects, nil
}

func (l Link) sentinelPort() int {
	if l.Target.Instance.Sentinel == nil {
		return 0
	}
	return l.Target.Instance.Sentinel.Port
}

// Replicators are the Secret, the ConfigMap and the Deployment of every
// shard, in the order in which they are to be applied.
func (l Link) Replicators() ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for ordinal := range l.Shards {
		shard, err := l.replicator(ordinal)
		if err != nil {
			return nil, fmt.Errorf("shard %d: %w", ordinal, err)
		}
		objects = append(objects, shard...)
	}
	return objects, nil
}
