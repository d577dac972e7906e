package plan

import (
	"cmp"
	"fmt"
	"slices"

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

// ShardsOf numbers the shards that were found: a shard keeps the ordinal that
// the record gave to its slots. After slots have moved it is the shard that
// shares most slots with the record's; the replicators match in the same way
// and have followed by themselves, so the new slots cost no copy. A shard with
// other slots has no recorded position.
func ShardsOf(inst topology.Instance, recorded []pair.ShardState) ([]pair.ShardState, error) {
	found := make([]pair.ShardState, len(inst.Shards))
	for i, shard := range inst.Shards {
		found[i] = pair.ShardState{Slots: shard.Slots, Pods: append([]string{shard.Primary}, shard.Replicas...)}
	}
	if len(recorded) == 0 {
		return found, nil
	}
	if len(found) != len(recorded) {
		return nil, &SlotsChangedError{Instance: inst.Name, Recorded: len(recorded), Found: len(found)}
	}
	shards := make([]pair.ShardState, len(recorded))
	for ordinal, k := range matchShards(recorded, found) {
		shards[ordinal] = found[k]
		if found[k].Slots.String() == recorded[ordinal].Slots.String() {
			shards[ordinal].Position = recorded[ordinal].Position
		}
	}
	return shards, nil
}

// matchShards gives the index of the found shard for each recorded one: first
// the two that share most slots, then the next two.
func matchShards(recorded, found []pair.ShardState) []int {
	type couple struct{ ordinal, found, common, first int }
	var all []couple
	for ordinal, old := range recorded {
		for k, now := range found {
			first := topology.SlotCount
			if len(now.Slots) > 0 {
				first = now.Slots[0].From
			}
			all = append(all, couple{ordinal, k, common(old.Slots, now.Slots), first})
		}
	}
	slices.SortFunc(all, func(a, b couple) int {
		return cmp.Or(cmp.Compare(b.common, a.common), cmp.Compare(a.ordinal, b.ordinal), cmp.Compare(a.first, b.first))
	})
	result := make([]int, len(recorded))
	for i := range result {
		result[i] = -1
	}
	for _, c := range all {
		if result[c.ordinal] < 0 && !slices.Contains(result, c.found) {
			result[c.ordinal] = c.found
		}
	}
	return result
}

// common is how many slots are in both sets.
func common(a, b topology.SlotSet) int {
	n := 0
	for _, x := range a {
		for _, y := range b {
			n += max(0, min(x.To, y.To)-max(x.From, y.From)+1)
		}
	}
	return n
}

// SlotsChangedError says that the source has more or fewer shards than when
// the record was written.
type SlotsChangedError struct {
	Instance        string
	Recorded, Found int
}

func (e *SlotsChangedError) Error() string {
	return fmt.Sprintf("instance %s was resharded: it has %d shards now, the record has %d", e.Instance, e.Found, e.Recorded)
}

// ExitCode marks the refusal.
func (e *SlotsChangedError) ExitCode() int { return 3 }

// Remedy says what to do.
func (e *SlotsChangedError) Remedy() string {
	return "delete the pair and apply it again: the new shards need a new full copy"
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
