package testredis

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

const slotCount = 16384

// Cluster is a formed Redis Cluster.
type Cluster struct {
	// Nodes holds the masters in the order of their slots, then the replicas:
	// those of the first master, of the second, and so on, as they were at
	// the start. A failover in a test does not reorder it.
	Nodes    []*Server
	masters  int
	replicas int
}

// StartCluster forms a cluster of masters with equal shares of the slots, and
// of replicas per master, and waits until every node calls it ok and every
// replica is attached. args go to every node.
func StartCluster(t testing.TB, masters, replicas int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{masters: masters, replicas: replicas}
	own := append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000"}, args...)
	for i := range args {
		if args[i] == "--requirepass" && i+1 < len(args) {
			own = append(own, "--masterauth", args[i+1])
		}
	}
	for i := range masters * (replicas + 1) {
		s := Start(t, own...)
		// Different epochs from the start spare the nodes a collision.
		s.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		c.Nodes = append(c.Nodes, s)
	}
	for i, s := range c.Masters() {
		slots := []string{"CLUSTER", "ADDSLOTS"}
		for slot := i * slotCount / masters; slot < (i+1)*slotCount/masters; slot++ {
			slots = append(slots, strconv.Itoa(slot))
		}
		s.Do(t, slots...)
	}
	for _, s := range c.Nodes[1:] {
		c.Nodes[0].Do(t, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(s.Port))
	}
	Eventually(t, startTimeout, "every node knows all others", func() bool {
		for _, s := range c.Nodes {
			if strings.Count(s.Do(t, "CLUSTER", "NODES").(string), " connected") < len(c.Nodes) {
				return false
			}
		}
		return true
	})
	for i, s := range c.Masters() {
		id := s.Do(t, "CLUSTER", "MYID").(string)
		for _, r := range c.Replicas(i) {
			Eventually(t, startTimeout, "the replica accepts its master", func() bool {
				_, err := r.TryDo("CLUSTER", "REPLICATE", id)
				return err == nil
			})
		}
	}
	Eventually(t, startTimeout, "the cluster is ok and replicated", func() bool {
		for i, s := range c.Nodes {
			if !strings.Contains(s.Do(t, "CLUSTER", "INFO").(string), "cluster_state:ok") {
				return false
			}
			// Every node must know every slot's owner, or it would answer
			// CLUSTERDOWN to the first command.
			if len(s.Do(t, "CLUSTER", "SLOTS").([]any)) != masters {
				return false
			}
			// And every replica, or it would deny it the vote in a failover
			// ("it is a master node"). CLUSTER SLOTS leaves out replicas
			// that have not seen a byte of the stream yet.
			nodes := s.Do(t, "CLUSTER", "NODES").(string)
			if strings.Count(nodes, " slave ")+strings.Count(nodes, ",slave ") != masters*replicas {
				return false
			}
			if i >= masters && !attached(t, c.Nodes[(i-masters)/replicas], s) {
				return false
			}
		}
		return true
	})
	return c
}

// Failover makes the replica a master while its master lives, and waits until
// it says that it is one. An election can fail for want of a vote, so the
// command is repeated.
func (c *Cluster) Failover(t testing.TB, replica *Server) {
	t.Helper()
	var asked time.Time
	Eventually(t, startTimeout, "the replica takes over from its master", func() bool {
		if strings.Contains(replica.Do(t, "INFO", "replication").(string), "role:master") {
			return true
		}
		// The nodes give up a manual failover after 5 s
		// (CLUSTER_MF_TIMEOUT in cluster.h).
		if time.Since(asked) > 6*time.Second {
			asked = time.Now()
			replica.Do(t, "CLUSTER", "FAILOVER")
		}
		return false
	})
}

// Masters returns the nodes that were given slots, in slot order.
func (c *Cluster) Masters() []*Server { return c.Nodes[:c.masters] }

// Replicas returns the replicas of the i-th master.
func (c *Cluster) Replicas(i int) []*Server {
	from := c.masters + i*c.replicas
	return c.Nodes[from : from+c.replicas]
}

// Addrs returns the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, s := range c.Nodes {
		addrs[i] = s.Addr
	}
	return addrs
}

// NodeAt returns the node with this address, or nil.
func (c *Cluster) NodeAt(addr string) *Server {
	for _, s := range c.Nodes {
		if s.Addr == addr {
			return s
		}
	}
	return nil
}

// Do runs a command on the node that serves its key, following MOVED, and
// fails the test on any other error.
func (c *Cluster) Do(t testing.TB, args ...string) any {
	t.Helper()
	reply, err := c.TryDo(args...)
	if err != nil {
		t.Fatalf("cluster: %s: %v", args[0], err)
	}
	return reply
}

// TryDo is Do that returns the error.
func (c *Cluster) TryDo(args ...string) (any, error) {
	node := c.Nodes[0]
	for range 5 {
		reply, err := node.TryDo(args...)
		var refused ErrorReply
		if !errors.As(err, &refused) || !strings.HasPrefix(string(refused), "MOVED ") {
			return reply, err
		}
		fields := strings.Fields(string(refused))
		if node = c.NodeAt(fields[len(fields)-1]); node == nil {
			return nil, fmt.Errorf("redirected to a node outside of the cluster: %w", err)
		}
	}
	return nil, errors.New("five redirections")
}
