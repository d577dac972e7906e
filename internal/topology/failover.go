package topology

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// finishFailover completes a RedisFailover of spotahome's operator or of one
// of its forks, which keep the same group and kind.
func (d *detector) finishFailover(inst *Instance, dr *draft) {
	set := sentinelSet
	withSentinel := d.hasFailoverSentinel(inst)
	if cr := dr.custom; cr != nil {
		if enabled, ok, _ := unstructured.NestedBool(cr.Object, "spec", "sentinel", "enabled"); ok {
			inst.Operator = OperatorSpotahomeFork
			withSentinel = withSentinel && enabled
		}
		if own, ok, _ := unstructured.NestedBool(cr.Object, "spec", "sentinel", "disableMyMaster"); ok {
			inst.Operator = OperatorSpotahomeFork
			if own {
				set = inst.Name
			}
		}
		for key := range cr.GetAnnotations() {
			if strings.HasPrefix(key, "redis-failover.freshworks.com/") {
				inst.Operator = OperatorSpotahomeFork
			}
		}
		d.readFailoverResource(inst, cr)
	}
	for _, load := range dr.data {
		if load.template.Labels[labelPowerhome] != "" {
			inst.Operator = OperatorSpotahomeFork
		}
	}
	if !withSentinel {
		return
	}
	inst.Mode = ModeSentinel
	s := &Sentinel{Port: sentinelPort, MasterSet: set}
	if svc := d.objs.service(inst.Namespace, "rfs-"+inst.Name); svc != nil {
		s.Service = svc.Name
		s.Address = address(svc, sentinelServicePort(svc, sentinelPort))
	}
	for _, p := range d.objs.podsMatching(inst.Namespace, failoverLabels(inst.Name, "sentinel")) {
		s.Pods, s.PodIPs = append(s.Pods, p.Name), append(s.PodIPs, p.Status.PodIP)
	}
	inst.Sentinel = s
}

// hasFailoverSentinel reports whether the operator made Sentinels: forks can
// leave them out.
func (d *detector) hasFailoverSentinel(inst *Instance) bool {
	if d.objs.service(inst.Namespace, "rfs-"+inst.Name) != nil {
		return true
	}
	for _, dep := range d.objs.Deployments {
		if dep.Namespace == inst.Namespace && dep.Name == "rfs-"+inst.Name {
			return true
		}
	}
	return false
}

func (d *detector) readFailoverResource(inst *Instance, cr *unstructured.Unstructured) {
	if inst.Password == nil {
		if name, ok, _ := unstructured.NestedString(cr.Object, "spec", "auth", "secretPath"); ok && name != "" {
			inst.Password = &SecretRef{Name: name, Key: "password"}
		}
	}
	if port, ok, _ := unstructured.NestedInt64(cr.Object, "spec", "redis", "port"); ok && port > 0 && len(inst.Pods) == 0 {
		inst.Port = int(port)
	}
	if host, ok, _ := unstructured.NestedString(cr.Object, "spec", "bootstrapNode", "host"); ok && host != "" {
		inst.find(SeverityWarning, "instance "+inst.Ref(), "remove spec.bootstrapNode before it becomes a target",
			"replicates from %s (spec.bootstrapNode), so none of its pods is a master", host)
	}
	renames, _, _ := unstructured.NestedSlice(cr.Object, "spec", "redis", "customCommandRenames")
	for _, r := range renames {
		rename, ok := r.(map[string]any)
		if !ok {
			continue
		}
		inst.find(SeverityWarning, "instance "+inst.Ref(),
			"remove it from spec.redis.customCommandRenames if a verb fails on it",
			"renames the command %v", rename["from"])
	}
}

func failoverLabels(name, component string) map[string]string {
	return map[string]string{labelName: name, labelComponent: component, labelPartOf: valueFailover}
}
