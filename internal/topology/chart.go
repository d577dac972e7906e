package topology

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What a valkey-io cluster calls its user for replication, and the variable
// with its password.
const (
	valkeyReplicationUser = "_replication"
	valkeyPrimaryAuth     = "PRIMARY_AUTH"
)

// finishValkey completes a ValkeyCluster: its operator keeps a user for
// replication, whose password is the only one that pods carry.
func (d *detector) finishValkey(inst *Instance, dr *draft) {
	if inst.Password != nil || len(dr.data) == 0 {
		return
	}
	spec := &dr.data[0].template.Spec
	if ref := envSecret(dataContainer(spec, "server"), valkeyPrimaryAuth); ref != nil {
		inst.Password, inst.Username = ref, valkeyReplicationUser
	}
}

// finishHyperspike completes a Valkey of the hyperspike operator, which keeps
// the password in a Secret of the same name unless none is wanted.
func (d *detector) finishHyperspike(inst *Instance, dr *draft) {
	if inst.Password != nil {
		return
	}
	if dr.custom != nil {
		if anonymous, ok, _ := unstructured.NestedBool(dr.custom.Object, "spec", "anonymousAuth"); ok && anonymous {
			return
		}
	}
	inst.Password = &SecretRef{Name: inst.Name, Key: "password"}
}

// addByLabels places a StatefulSet that nothing owns: made by a chart, by
// hand, or by an operator whose owner references were lost.
func (d *detector) addByLabels(load workload) {
	ns, labels := load.meta.Namespace, load.template.Labels
	switch {
	case labels[labelSetupType] != "":
		d.addOTByLabels(load)
	case labels[labelPartOf] == valueFailover && labels[labelComponent] == "redis" && labels[labelName] != "":
		dr := d.draft(ns, "RedisFailover", labels[labelName], OperatorSpotahome, ModeReplication)
		dr.container = []string{"redis"}
		dr.data = append(dr.data, load)
	case labels[labelValkeyOf] != "":
		d.addValkeyNode(load)
	default:
		d.addChart(load)
	}
}

func (d *detector) addOTByLabels(load workload) {
	ns, labels := load.meta.Namespace, load.template.Labels
	name := load.meta.Annotations[annotationOTName]
	if name == "" {
		name = load.meta.Name
		for _, suffix := range []string{"-leader", "-follower", "-sentinel"} {
			name = strings.TrimSuffix(name, suffix)
		}
	}
	var dr *draft
	switch {
	// Old versions label Sentinels as "cluster": the role tells.
	case labels[labelStaticRole] == "sentinel":
		d.sentinels = append(d.sentinels, sentinelWorkload{ns, name, load})
		return
	case labels[labelSetupType] == "cluster":
		dr = d.draft(ns, "RedisCluster", name, OperatorOT, ModeCluster)
	case labels[labelSetupType] == "replication":
		dr = d.draft(ns, "RedisReplication", name, OperatorOT, ModeReplication)
	case labels[labelSetupType] == "standalone":
		dr = d.draft(ns, "Redis", name, OperatorOT, ModeStandalone)
	default:
		return
	}
	dr.data = append(dr.data, load)
}

// addChart takes a StatefulSet for a Redis when a container of it runs one.
func (d *detector) addChart(load workload) {
	spec := &load.template.Spec
	if dataContainer(spec) == nil {
		return
	}
	labels := load.template.Labels
	name := load.meta.Name
	mode := ModeStandalone
	switch labels[labelName] {
	case "redis", "valkey":
		name = orElse(labels[labelInstance], name)
	case "redis-cluster", "valkey-cluster":
		name = orElse(labels[labelInstance], name)
		mode = ModeCluster
	default:
		// The redis-ha chart: release in a plain label, Sentinel in the pod.
		if release := labels["release"]; release != "" && hasContainer(spec, "sentinel") {
			name = release
		}
	}
	if hasContainer(spec, "sentinel") {
		mode = ModeSentinel
	} else if mode == ModeStandalone && load.replicas > 1 {
		mode = ModeReplication
	}
	if commandHas(spec, "cluster-enabled") {
		mode = ModeCluster
	}
	dr := d.draft(load.meta.Namespace, KindStatefulSet, name, OperatorNone, mode)
	if len(dr.data) > 0 && dr.mode == ModeStandalone {
		dr.mode = ModeReplication // a chart with master and replicas apart
	}
	dr.container = []string{"redis", "valkey"}
	dr.apiVersion = "apps/v1"
	dr.data = append(dr.data, load)
}

func (d *detector) finishChart(inst *Instance, dr *draft) {
	if inst.Mode != ModeSentinel || len(dr.data) == 0 {
		return
	}
	load := dr.data[0]
	s := &Sentinel{Port: sentinelPort, MasterSet: sentinelSet}
	for i := range load.template.Spec.Containers {
		c := &load.template.Spec.Containers[i]
		if c.Name != "sentinel" {
			continue
		}
		s.Password = passwordRef(&load.template.Spec, c)
		for _, p := range c.Ports {
			if strings.Contains(p.Name, "sentinel") {
				s.Port = int(p.ContainerPort)
			}
		}
		for _, name := range []string{"REDIS_MASTER_SET", "REDIS_SENTINEL_MASTER_SET"} {
			if set, ok := envValue(c, name); ok && set != "" {
				s.MasterSet = set
			}
		}
	}
	// The same pods run data and Sentinel; prefer a Service with an address.
	for _, s2 := range d.objs.Services {
		port := sentinelServicePort(&s2, s.Port)
		if s2.Namespace != inst.Namespace || port == nil || s2.Labels[labelManagedBy] == valueOurs ||
			s2.Spec.Selector[labelPodName] != "" || !matches(s2.Spec.Selector, load.template.Labels) {
			continue
		}
		if s.Service == "" || s.Address == "" && !headless(&s2) {
			s.Service, s.Address = s2.Name, address(&s2, port)
		}
	}
	for _, p := range inst.Pods {
		s.Pods, s.PodIPs = append(s.Pods, p.Name), append(s.PodIPs, p.IP)
	}
	inst.Sentinel = s
}

func sentinelServicePort(s *corev1.Service, port int) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.TargetPort.IntValue() == port || strings.Contains(p.TargetPort.String(), "sentinel") {
			return p
		}
	}
	return nil
}

func hasContainer(spec *corev1.PodSpec, name string) bool {
	for i := range spec.Containers {
		if spec.Containers[i].Name == name {
			return true
		}
	}
	return false
}

func commandHas(spec *corev1.PodSpec, word string) bool {
	for i := range spec.Containers {
		c := &spec.Containers[i]
		words := slices.Concat(c.Command, c.Args)
		for j, w := range words {
			if strings.Contains(w, word) {
				return !strings.Contains(w, word+" no") && (j+1 >= len(words) || words[j+1] != "no")
			}
		}
	}
	return false
}

func orElse(s, fallback string) string {
	if s != "" {
		return s
	}
	return fallback
}
