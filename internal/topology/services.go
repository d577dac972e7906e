package topology

import (
	"fmt"
	"maps"
	"sort"

	corev1 "k8s.io/api/core/v1"
)

// findServices fills what depends on the Services of the namespace: how to
// reach the instance for writing, and each pod alone.
func (d *detector) findServices(inst *Instance, dr *draft) {
	var services []corev1.Service
	for _, s := range d.objs.Services {
		if s.Namespace == inst.Namespace && s.Labels[labelManagedBy] != valueOurs {
			services = append(services, s)
		}
	}
	sort.Slice(services, func(i, j int) bool { return services[i].Name < services[j].Name })

	var general []corev1.Service // that select data pods, by whatever labels
	for _, s := range services {
		port := servicePort(&s, inst.Port)
		if port == nil {
			continue
		}
		if pod := s.Spec.Selector[labelPodName]; pod != "" {
			if p := inst.Pod(pod); p != nil {
				p.Service, p.Address = s.Name, clusterIP(&s)
				if inst.owns(&s) { // a stranger's may be gone tomorrow
					p.NodePort = port.NodePort
				}
				inst.exposedBy(&s)
			}
			continue
		}
		if masters := mastersSelector(&s); masters != nil {
			if inst.MasterOnlyService == "" && selectsData(masters, dr) {
				inst.MasterOnlyService = s.Name
				inst.MasterOnlyAddress = address(&s, port)
				inst.exposedBy(&s)
			}
			continue
		}
		if roleByLabel(s.Spec.Selector) != RoleReplica && selectsData(s.Spec.Selector, dr) {
			general = append(general, s)
			inst.exposedBy(&s)
		}
	}
	inst.WriteService, inst.WriteAddress = inst.MasterOnlyService, inst.MasterOnlyAddress
	if inst.Mode == ModeCluster || inst.Mode == ModeStandalone || inst.WriteService == "" && staticMaster(general, dr) != nil {
		if s := pickGeneral(general, inst, dr); s != nil {
			inst.WriteService, inst.WriteAddress = s.Name, address(s, servicePort(s, inst.Port))
		}
	}
}

// owns reports whether the instance's operator or chart made the Service.
func (i *Instance) owns(s *corev1.Service) bool {
	if owner := controllerOf(&s.ObjectMeta); owner != nil {
		return owner.Kind == i.Kind && owner.Name == i.Name
	}
	return i.Operator == OperatorNone && (s.Labels[labelInstance] == i.Name || s.Labels["release"] == i.Name)
}

// pickGeneral prefers the Service that is named as the first workload or the
// instance, then any that is not headless.
func pickGeneral(general []corev1.Service, inst *Instance, dr *draft) *corev1.Service {
	if s := staticMaster(general, dr); s != nil {
		return s
	}
	var preferred []string
	for _, load := range dr.data {
		preferred = append(preferred, load.meta.Name)
	}
	preferred = append([]string{inst.Name + "-leader", inst.Name}, preferred...)
	for _, name := range preferred {
		for i := range general {
			if general[i].Name == name && !headless(&general[i]) {
				return &general[i]
			}
		}
	}
	for i := range general {
		if !headless(&general[i]) {
			return &general[i]
		}
	}
	return nil
}

// staticMaster finds the Service of a chart whose master never moves: it
// selects the pods of the workload of component "master" (or "primary").
func staticMaster(general []corev1.Service, dr *draft) *corev1.Service {
	if dr.operator != OperatorNone {
		return nil
	}
	for i := range general {
		switch general[i].Spec.Selector[labelComponent] {
		case "master", "primary":
			if !headless(&general[i]) {
				return &general[i]
			}
		}
	}
	return nil
}

// mastersSelector gives the selector of a masters-only Service without its
// role label; nil when the Service is not one.
func mastersSelector(s *corev1.Service) map[string]string {
	for _, l := range roleLabels {
		if s.Spec.Selector[l.key] == l.primary {
			rest := maps.Clone(s.Spec.Selector)
			delete(rest, l.key)
			return rest
		}
	}
	return nil
}

// selectsData reports whether a selector selects data pods by their template.
func selectsData(selector map[string]string, dr *draft) bool {
	for _, load := range dr.data {
		if matches(selector, load.template.Labels) {
			return true
		}
	}
	return false
}

// servicePort finds the port of a Service that leads to the server's port.
func servicePort(s *corev1.Service, port int) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.TargetPort.IntValue() == port {
			return p
		}
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		switch p.TargetPort.String() {
		case "redis", "tcp-redis", "client", "redis-client", "valkey", "tcp-valkey":
			return p
		}
		if int(p.Port) == port && p.TargetPort.IntValue() == 0 && p.TargetPort.StrVal == "" {
			return p
		}
	}
	return nil
}

func headless(s *corev1.Service) bool { return clusterIP(s) == "" }

func clusterIP(s *corev1.Service) string {
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		return ""
	}
	return s.Spec.ClusterIP
}

func address(s *corev1.Service, port *corev1.ServicePort) string {
	if headless(s) || port == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d", clusterIP(s), port.Port)
}

// exposedBy remembers the widest way in which any Service exposes it.
func (i *Instance) exposedBy(s *corev1.Service) {
	rank := map[string]int{"": 0, "ClusterIP": 1, "NodePort": 2, "LoadBalancer": 3}
	kind := string(s.Spec.Type)
	if kind == "" {
		kind = "ClusterIP"
	}
	if rank[kind] > rank[i.Access] {
		i.Access = kind
	}
}
