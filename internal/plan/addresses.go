package plan

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// Pending stands for a port or an address that the API server chooses when
// the Service is created. Only a plan shows it; apply knows the value.
const Pending = "ASSIGNED-ON-APPLY"

// podService is our Service for one pod.
func (l Link) podService(side Side, pod string, port int, access pair.AccessType) (*unstructured.Unstructured, error) {
	known := side.Services[pod]
	service := manifests.Service{
		Name:       pair.ServiceName(l.Pair, pod),
		Namespace:  side.Site.Namespace,
		Labels:     pair.SiteLabels(l.Pair, side.Site.Name),
		Pod:        pod,
		Type:       corev1.ServiceTypeNodePort,
		PortName:   "redis",
		Port:       port,
		TargetPort: port,
	}
	switch access {
	case pair.AccessClusterIP:
		service.Type = corev1.ServiceTypeClusterIP
	case pair.AccessLoadBalancer:
		service.Type = corev1.ServiceTypeLoadBalancer
	default:
		service.NodePort = known.NodePort
		if chosen := side.Site.Access.NodePorts[pod]; chosen != 0 {
			service.NodePort = chosen
		}
	}
	return service.Render()
}

// reusesOperatorService tells a pod that a NodePort Service of the operator
// itself reaches.
func (s Side) reusesOperatorService(pod topology.Pod) bool {
	return s.Access == pair.AccessNodePort && pod.NodePort != 0
}

// candidates are the addresses of all data pods of the source, in the order
// in which the replicator of a shard should ask them: the shard's replicas
// (a replicator on a primary upsets operators and Sentinel), its primary, then
// the others, which matter after a failover or a move of slots.
func (s Side) candidates(shard pair.ShardState) []string {
	var order []string
	if len(shard.Pods) > 0 {
		order = append(order, shard.Pods[1:]...)
		order = append(order, shard.Pods[0])
	}
	for _, pod := range s.Instance.Pods {
		if !slices.Contains(order, pod.Name) {
			order = append(order, pod.Name)
		}
	}
	var addresses []string
	for _, name := range order {
		addresses = append(addresses, s.addressesOf(name)...)
	}
	return addresses
}

// addressesOf are the addresses that reach one data pod from the other site.
func (s Side) addressesOf(name string) []string {
	port := strconv.Itoa(s.Instance.Port)
	switch s.Access {
	case pair.AccessAddresses:
		if address := s.Site.Access.Addresses[name]; address != "" {
			return []string{address}
		}
		return nil
	case pair.AccessClusterIP:
		return []string{net.JoinHostPort(orPending(s.Services[name].ClusterIP), port)}
	case pair.AccessLoadBalancer:
		return []string{net.JoinHostPort(orPending(s.LoadBalancers[name]), port)}
	}
	i := slices.IndexFunc(s.Instance.Pods, func(p topology.Pod) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	pod := s.Instance.Pods[i]
	nodePort := s.Services[name].NodePort
	if chosen := s.Site.Access.NodePorts[name]; chosen != 0 {
		nodePort = chosen
	}
	if s.reusesOperatorService(pod) {
		nodePort = pod.NodePort
	}
	portText := Pending
	if nodePort != 0 {
		portText = strconv.Itoa(int(nodePort))
	}
	hosts := s.Site.Access.NodeAddresses
	if len(hosts) == 0 && pod.HostIP != "" {
		hosts = []string{pod.HostIP}
	}
	var addresses []string
	for _, host := range hosts {
		addresses = append(addresses, net.JoinHostPort(host, portText))
	}
	return addresses
}

func orPending(address string) string {
	if address == "" {
		return Pending
	}
	return address
}

// ownServices names the pods of the target that need a ClusterIP Service of
// ours: the data pods where no Service of the operator is sure to reach the
// writable side, and the Sentinels where theirs is headless. The replicator
// gets addresses, not names: it asks each candidate for its role.
func (s Side) ownServices() (data, sentinels []string) {
	inst := s.Instance
	if inst.Sentinel != nil && inst.Sentinel.Address == "" {
		sentinels = append(sentinels, inst.Sentinel.Pods...)
	}
	needed := false
	switch inst.Mode {
	case topology.ModeCluster, topology.ModeStandalone:
		needed = inst.WriteAddress == ""
	case topology.ModeReplication:
		// A Service that selects by a role label is wrong exactly during a
		// failover, and one for all pods is wrong most of the time.
		needed = true
	case topology.ModeSentinel:
	}
	if needed {
		for _, pod := range inst.Pods {
			data = append(data, pod.Name)
		}
	}
	return data, sentinels
}

// targetAddresses are what [target] of sync.toml says about where to write.
func (s Side) targetAddresses() (address string, candidates, sentinels []string) {
	inst := s.Instance
	port := strconv.Itoa(inst.Port)
	data, sentinelPods := s.ownServices()
	for _, pod := range data {
		candidates = append(candidates, net.JoinHostPort(orPending(s.Services[pod].ClusterIP), port))
	}
	if inst.Mode == topology.ModeSentinel && inst.Sentinel != nil {
		sentinelPort := strconv.Itoa(inst.Sentinel.Port)
		for _, pod := range sentinelPods {
			sentinels = append(sentinels, net.JoinHostPort(orPending(s.Services[pod].ClusterIP), sentinelPort))
		}
		if len(sentinelPods) == 0 {
			sentinels = []string{inst.Sentinel.Address}
		}
	}
	if len(candidates) == 0 {
		// What selects by a role label is still a hint: the replicator checks
		// the role of whoever answers.
		return cmp.Or(inst.WriteAddress, inst.MasterOnlyAddress), nil, sentinels
	}
	return candidates[0], candidates, sentinels
}

// Endpoint is an address that reaches one data pod from the other site.
type Endpoint struct {
	Pod  string
	Host string
	Port int
	// Exists: what forwards to the pod is there already. A new one has a port
	// only after the apply (Port 0).
	Exists bool
}

// Endpoints are the addresses of all data pods, as far as they are known.
func (s Side) Endpoints() []Endpoint {
	var endpoints []Endpoint
	for _, pod := range s.Instance.Pods {
		for _, address := range s.addressesOf(pod.Name) {
			host, portText, err := net.SplitHostPort(address)
			if err != nil || host == Pending {
				continue
			}
			port, err := strconv.Atoi(portText)
			endpoints = append(endpoints, Endpoint{Pod: pod.Name, Host: host, Port: port, Exists: err == nil})
		}
	}
	return endpoints
}
