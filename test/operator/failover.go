package operator

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

const (
	masterSet    = "mymaster"
	resetPause   = 30 * time.Second // the operator's resync interval
	sentinelPort = 26379
)

// passFailover looks after a RedisFailover: one master, replicas that follow
// it, sentinels that watch it, labels that say so. As with the operator, every
// step waits for all pods to run, and labels come last.
func (o *Operator) passFailover(ctx context.Context, cr *unstructured.Unstructured) (string, error) {
	replicas := intAt(cr, 3, "spec", "redis", "replicas")
	sentinels := intAt(cr, 3, "spec", "sentinel", "replicas")
	port := intAt(cr, 6379, "spec", "redis", "port")
	secret, _, _ := unstructured.NestedString(cr.Object, "spec", "auth", "secretPath")
	password, err := o.password(ctx, cr.GetNamespace(), secret, "password")
	if err != nil {
		return "", err
	}
	labels := map[string]string{"app.kubernetes.io/name": cr.GetName(), "app.kubernetes.io/part-of": "redis-failover"}
	labels["app.kubernetes.io/component"] = "redis"
	data, err := o.nodes(ctx, cr.GetNamespace(), labels, port, password)
	if err != nil {
		return "", err
	}
	defer closeAll(data)
	labels["app.kubernetes.io/component"] = "sentinel"
	watchers, err := o.nodes(ctx, cr.GetNamespace(), labels, sentinelPort, "")
	if err != nil {
		return "", err
	}
	defer closeAll(watchers)
	if len(data) != replicas || len(watchers) != sentinels {
		return fmt.Sprintf("%d of %d redis and %d of %d sentinel pods run", len(data), replicas, len(watchers), sentinels), nil
	}
	master, waiting, err := o.ensureMaster(ctx, data, port)
	if err != nil || waiting != "" {
		return waiting, err
	}
	if cr.GetAnnotations()[sites.PauseLabelsAnnotation] != "true" {
		for _, n := range data {
			role := "slave"
			if n == master {
				role = "master"
			}
			if err := o.label(ctx, n, "redisfailovers-role", role); err != nil {
				return "", err
			}
		}
	}
	key := cr.GetNamespace() + "/" + cr.GetName()
	if waiting, err := o.ensureSentinels(ctx, key, master, watchers, replicas, sentinels, port, password); err != nil || waiting != "" {
		return waiting, err
	}
	for _, n := range data {
		info, err := n.replication(ctx)
		if err != nil {
			return "", err
		}
		if n != master && info["master_link_status"] != "up" {
			return "replica " + n.name() + " is not linked yet", nil
		}
	}
	return "", nil
}

// ensureMaster finds the master; where nobody ever was one it elects it, and
// lets the others follow it.
func (o *Operator) ensureMaster(ctx context.Context, data []*node, port int) (*node, string, error) {
	var masters, lost []*node
	var best *node
	bestOffset := int64(-1)
	followed := map[*node]string{}
	for _, n := range data {
		info, err := n.replication(ctx)
		if err != nil {
			return nil, "", err
		}
		if info["role"] == "master" {
			masters = append(masters, n)
			continue
		}
		followed[n] = info["master_host"]
		if info["master_host"] == "127.0.0.1" {
			lost = append(lost, n)
		}
		// The second pod wins a tie, so that nothing can rely on pod 0.
		offset, err := strconv.ParseInt(info["slave_repl_offset"], 10, 64)
		if err != nil {
			return nil, "", fmt.Errorf("pod %s: slave_repl_offset %q: %w", n.name(), info["slave_repl_offset"], err)
		}
		if offset > bestOffset || offset == bestOffset && n.ordinal() == 1 {
			best, bestOffset = n, offset
		}
	}
	switch {
	case len(masters) > 1:
		return nil, fmt.Sprintf("%d masters, waiting for the sentinels", len(masters)), nil
	case len(masters) == 0 && len(lost) == len(data):
		o.Log.Info("elect", "pod", best.name())
		if err := best.redis.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
			return nil, "", fmt.Errorf("pod %s: SLAVEOF NO ONE: %w", best.name(), err)
		}
		masters = []*node{best}
	case len(masters) == 0:
		return nil, "no master, waiting for the sentinels", nil
	}
	master := masters[0]
	for n, host := range followed {
		if n == master || host == master.ip() {
			continue
		}
		o.Log.Info("follow", "pod", n.name(), "master", master.name())
		if err := n.redis.ReplicaOf(ctx, master.ip(), strconv.Itoa(port)).Err(); err != nil {
			return nil, "", fmt.Errorf("pod %s: SLAVEOF: %w", n.name(), err)
		}
	}
	return master, "", nil
}

// ensureSentinels lets every sentinel watch the master, and resets those that
// count other sentinels or replicas than there are, no oftener than the
// operator does.
func (o *Operator) ensureSentinels(ctx context.Context, key string, master *node, watchers []*node, replicas, sentinels, port int, password string) (string, error) {
	quorum := strconv.Itoa(sentinels/2 + 1)
	waiting := ""
	for _, w := range watchers {
		state, err := sentinelMaster(ctx, w)
		if err != nil {
			return "", err
		}
		if state["ip"] != master.ip() {
			o.Log.Info("monitor", "sentinel", w.name(), "master", master.name())
			commands := [][]any{
				{"SENTINEL", "REMOVE", masterSet},
				{"SENTINEL", "MONITOR", masterSet, master.ip(), port, quorum},
				{"SENTINEL", "SET", masterSet, "down-after-milliseconds", 5000},
				{"SENTINEL", "SET", masterSet, "failover-timeout", 10000},
			}
			if password != "" {
				commands = append(commands, []any{"SENTINEL", "SET", masterSet, "auth-pass", password})
			}
			for _, c := range commands {
				if err := w.redis.Do(ctx, c...).Err(); err != nil && c[1] != "REMOVE" {
					return "", fmt.Errorf("sentinel %s: %v %v: %w", w.name(), c[0], c[1], err)
				}
			}
			waiting = "sentinels have just been told the master"
			continue
		}
		if state["num-other-sentinels"] != strconv.Itoa(sentinels-1) || state["num-slaves"] != strconv.Itoa(replicas-1) {
			waiting = fmt.Sprintf("sentinel %s counts %s other sentinels and %s replicas", w.name(), state["num-other-sentinels"], state["num-slaves"])
		}
	}
	switch {
	case waiting == "":
		o.lastReset[key] = time.Now()
	case o.lastReset[key].IsZero():
		o.lastReset[key] = time.Now()
	case time.Since(o.lastReset[key]) > resetPause:
		o.Log.Warn("reset sentinels", "instance", key, "reason", waiting)
		o.lastReset[key] = time.Now()
		for _, w := range watchers {
			if err := w.redis.Do(ctx, "SENTINEL", "RESET", "*").Err(); err != nil {
				return "", fmt.Errorf("sentinel %s: RESET: %w", w.name(), err)
			}
		}
	}
	return waiting, nil
}

// sentinelMaster is SENTINEL MASTER as a map; empty when the sentinel watches
// nobody.
func sentinelMaster(ctx context.Context, w *node) (map[string]string, error) {
	values, err := w.redis.Do(ctx, "SENTINEL", "MASTER", masterSet).StringSlice()
	if redis.HasErrorPrefix(err, "ERR No such master") {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sentinel %s: SENTINEL MASTER: %w", w.name(), err)
	}
	out := map[string]string{}
	for i := 0; i+1 < len(values); i += 2 {
		out[values[i]] = values[i+1]
	}
	return out, nil
}

func intAt(cr *unstructured.Unstructured, otherwise int, path ...string) int {
	if v, found, err := unstructured.NestedInt64(cr.Object, path...); err == nil && found {
		return int(v)
	}
	return otherwise
}
