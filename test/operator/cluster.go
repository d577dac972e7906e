package operator

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

const slotCount = 16384

// passCluster looks after a RedisCluster: slots on the leaders, a follower for
// each of them, nodes that know each other's present addresses, and, on
// releases that have them, role labels and status.
func (o *Operator) passCluster(ctx context.Context, gvr schema.GroupVersionResource, cr *unstructured.Unstructured) (string, error) {
	size := intAt(cr, 3, "spec", "clusterSize")
	port := intAt(cr, 6379, "spec", "port")
	secret, _, _ := unstructured.NestedString(cr.Object, "spec", "kubernetesConfig", "redisSecret", "name")
	key, _, _ := unstructured.NestedString(cr.Object, "spec", "kubernetesConfig", "redisSecret", "key")
	password, err := o.password(ctx, cr.GetNamespace(), secret, key)
	if err != nil {
		return "", err
	}
	group := func(role string) ([]*node, error) {
		return o.nodes(ctx, cr.GetNamespace(), map[string]string{
			"app": cr.GetName() + "-" + role, "redis_setup_type": "cluster", "role": role,
		}, port, password)
	}
	leaders, err := group("leader")
	if err != nil {
		return "", err
	}
	defer closeAll(leaders)
	followers, err := group("follower")
	if err != nil {
		return "", err
	}
	defer closeAll(followers)
	if len(leaders) != size || len(followers) != size {
		return fmt.Sprintf("%d of %d leader and %d of %d follower pods run", len(leaders), size, len(followers), size), nil
	}
	c := &cluster{nodes: append(append([]*node{}, leaders...), followers...), leaders: leaders, followers: followers, port: port, log: o.Log.Info}
	waiting, err := c.mend(ctx)
	if err != nil || waiting != "" {
		return waiting, err
	}
	sts, err := o.Client.AppsV1().StatefulSets(cr.GetNamespace()).Get(ctx, cr.GetName()+"-leader", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("stateful set of the leaders: %w", err)
	}
	// Role labels came with release 0.21, together with the label "cluster".
	if _, has := sts.Spec.Template.Labels["cluster"]; has && cr.GetAnnotations()[sites.PauseLabelsAnnotation] != "true" {
		for _, n := range c.nodes {
			if !n.ready {
				continue
			}
			info, err := n.replication(ctx)
			if err != nil {
				return "", err
			}
			if err := o.label(ctx, n, "redis-role", info["role"]); err != nil {
				return "", err
			}
		}
	}
	if gvr.Version == "v1beta1" {
		return "", nil
	}
	return "", o.setReady(ctx, gvr, cr, size)
}

// setReady writes the status of a healthy cluster unless it is there.
func (o *Operator) setReady(ctx context.Context, gvr schema.GroupVersionResource, cr *unstructured.Unstructured, size int) error {
	if state, _, _ := unstructured.NestedString(cr.Object, "status", "state"); state == "Ready" {
		return nil
	}
	live := cr.DeepCopy()
	live.Object["status"] = map[string]any{
		"state": "Ready", "reason": "RedisCluster is ready",
		"readyLeaderReplicas": int64(size), "readyFollowerReplicas": int64(size),
	}
	_, err := o.Dynamic.Resource(gvr).Namespace(cr.GetNamespace()).UpdateStatus(ctx, live, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("status of %s: %w", cr.GetName(), err)
	}
	return nil
}

// cluster is what one pass sees of a Redis Cluster.
type cluster struct {
	nodes, leaders, followers []*node
	port                      int
	log                       func(msg string, args ...any)

	ids   map[*node]string
	views map[*node]map[string]nodeLine // what each node says about each id
}

// nodeLine is one line of CLUSTER NODES.
type nodeLine struct {
	ip     string
	flags  string
	master string
	linked bool
	slots  int
}

func (l nodeLine) is(flag string) bool {
	return slices.Contains(strings.Split(l.flags, ","), flag)
}

// look asks every node who it is and whom it knows.
func (c *cluster) look(ctx context.Context) error {
	c.ids, c.views = map[*node]string{}, map[*node]map[string]nodeLine{}
	for _, n := range c.nodes {
		text, err := n.redis.ClusterNodes(ctx).Result()
		if err != nil {
			return fmt.Errorf("pod %s: CLUSTER NODES: %w", n.name(), err)
		}
		view := map[string]nodeLine{}
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			f := strings.Fields(line)
			if len(f) < 8 {
				return fmt.Errorf("pod %s: CLUSTER NODES: short line %q", n.name(), line)
			}
			host, _, _ := strings.Cut(f[1], ":")
			entry := nodeLine{ip: host, flags: f[2], master: f[3], linked: f[7] == "connected", slots: len(f[8:])}
			view[f[0]] = entry
			if entry.is("myself") {
				c.ids[n] = f[0]
			}
		}
		c.views[n] = view
	}
	return nil
}

// mend does the next thing that is missing; "" means that all is well.
func (c *cluster) mend(ctx context.Context) (string, error) {
	if err := c.look(ctx); err != nil {
		return "", err
	}
	steps := []func(context.Context) (string, error){c.addSlots, c.meet, c.replicate, c.follow, c.forget, c.settled}
	for _, step := range steps {
		if waiting, err := step(ctx); err != nil || waiting != "" {
			return waiting, err
		}
	}
	return "", nil
}

// addSlots shares the slots among the leaders when no node has any.
func (c *cluster) addSlots(ctx context.Context) (string, error) {
	for _, n := range c.nodes {
		for _, line := range c.views[n] {
			if line.slots > 0 {
				return "", nil
			}
		}
	}
	share := float64(slotCount) / float64(len(c.leaders))
	for i, n := range c.leaders {
		from, to := int(float64(i)*share+0.5), int(float64(i+1)*share+0.5)-1
		if i == len(c.leaders)-1 {
			to = slotCount - 1
		}
		if err := n.redis.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
			return "", fmt.Errorf("pod %s: CLUSTER ADDSLOTSRANGE %d %d: %w", n.name(), from, to, err)
		}
		// Only a node that knows no other takes an epoch; else gossip sorts it out.
		if len(c.views[n]) == 1 {
			if err := n.redis.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
				return "", fmt.Errorf("pod %s: CLUSTER SET-CONFIG-EPOCH: %w", n.name(), err)
			}
		}
		c.log("add slots", "pod", n.name(), "from", from, "to", to)
	}
	return "slots have just been given to the leaders", nil
}

// meet introduces nodes to each other that are unknown or known by an old
// address.
func (c *cluster) meet(ctx context.Context) (string, error) {
	waiting := ""
	for _, a := range c.nodes {
		for _, b := range c.nodes {
			line, known := c.views[a][c.ids[b]]
			if a == b || known && line.ip == b.ip() && !line.is("handshake") {
				continue
			}
			c.log("meet", "pod", a.name(), "other", b.name())
			if err := a.redis.ClusterMeet(ctx, b.ip(), strconv.Itoa(c.port)).Err(); err != nil {
				return "", fmt.Errorf("pod %s: CLUSTER MEET %s: %w", a.name(), b.ip(), err)
			}
			waiting = "nodes are being introduced to each other"
		}
		if waiting != "" {
			return waiting, nil // gossip does the rest
		}
	}
	return "", nil
}

// replicate attaches a master without slots to the other pod with its number.
func (c *cluster) replicate(ctx context.Context) (string, error) {
	waiting := ""
	for i := range c.leaders {
		for _, pair := range [][2]*node{{c.followers[i], c.leaders[i]}, {c.leaders[i], c.followers[i]}} {
			n, other := pair[0], pair[1]
			mine, theirs := c.views[n][c.ids[n]], c.views[other][c.ids[other]]
			if !mine.is("master") || mine.slots > 0 || !theirs.is("master") || theirs.slots == 0 {
				continue
			}
			c.log("replicate", "pod", n.name(), "master", other.name())
			if err := n.redis.ClusterReplicate(ctx, c.ids[other]).Err(); err != nil {
				return "", fmt.Errorf("pod %s: CLUSTER REPLICATE %s: %w", n.name(), other.name(), err)
			}
			waiting = "followers have just been attached"
		}
	}
	return waiting, nil
}

// follow repeats CLUSTER REPLICATE on a replica that still dials the address
// that its master had before a restart: Redis does not correct it when it
// learns the new one by gossip.
func (c *cluster) follow(ctx context.Context) (string, error) {
	waiting := ""
	for _, n := range c.nodes {
		mine := c.views[n][c.ids[n]]
		master, known := c.views[n][mine.master]
		if !mine.is("slave") || !known {
			continue
		}
		info, err := n.replication(ctx)
		if err != nil {
			return "", err
		}
		if info["master_host"] == master.ip {
			continue
		}
		c.log("follow", "pod", n.name(), "from", info["master_host"], "to", master.ip)
		if err := n.redis.ClusterReplicate(ctx, mine.master).Err(); err != nil {
			return "", fmt.Errorf("pod %s: CLUSTER REPLICATE %s: %w", n.name(), mine.master, err)
		}
		waiting = "replicas have just been told the new addresses of their masters"
	}
	return waiting, nil
}

// forget drops nodes that are no pod any more.
func (c *cluster) forget(ctx context.Context) (string, error) {
	live := map[string]bool{}
	for _, id := range c.ids {
		live[id] = true
	}
	waiting := ""
	for _, n := range c.nodes {
		for id, line := range c.views[n] {
			if live[id] || !line.is("fail") && !line.is("noaddr") {
				continue
			}
			c.log("forget", "pod", n.name(), "node", id)
			if err := n.redis.ClusterForget(ctx, id).Err(); err != nil {
				return "", fmt.Errorf("pod %s: CLUSTER FORGET %s: %w", n.name(), id, err)
			}
			waiting = "nodes that are gone are being forgotten"
		}
	}
	return waiting, nil
}

// settled reports what keeps the cluster from serving.
func (c *cluster) settled(ctx context.Context) (string, error) {
	var notes []string
	for _, n := range c.nodes {
		text, err := n.redis.ClusterInfo(ctx).Result()
		if err != nil {
			return "", fmt.Errorf("pod %s: CLUSTER INFO: %w", n.name(), err)
		}
		if !strings.Contains(text, "cluster_state:ok") || !strings.Contains(text, fmt.Sprintf("cluster_slots_ok:%d", slotCount)) {
			notes = append(notes, n.name()+": cluster_state is not ok")
		}
		if len(c.views[n]) != len(c.nodes) {
			notes = append(notes, fmt.Sprintf("%s knows %d of %d nodes", n.name(), len(c.views[n]), len(c.nodes)))
		}
		if c.views[n][c.ids[n]].is("slave") {
			info, err := n.replication(ctx)
			if err != nil {
				return "", err
			}
			if info["master_link_status"] != "up" {
				notes = append(notes, n.name()+": not linked to its master")
			}
		}
	}
	sort.Strings(notes)
	return strings.Join(notes, ", "), nil
}
