package topology

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Ports and names that the operators give to Sentinels.
const (
	sentinelPort       = 26379
	sentinelSet        = "mymaster"
	sentinelSetDefault = "myMaster" // default of the RedisSentinel resource, with this capital letter
)

// linkSentinels finds, for each RedisReplication, the RedisSentinel that
// watches it: by the name in the resource where it may be read, else by an
// equal name, else because there is only one of each.
func (d *detector) linkSentinels() {
	for _, set := range d.sentinels {
		name := ""
		cr := d.objs.custom(GroupOT, "RedisSentinel", set.namespace, set.name)
		if cr != nil {
			name, _, _ = unstructured.NestedString(cr.Object, "spec", "redisSentinelConfig", "redisReplicationName")
		} else if d.drafts[draftKey{set.namespace, "RedisReplication", set.name}] != nil {
			name = set.name
		} else if only := d.onlyReplication(set.namespace); only != "" {
			name = only
		}
		if dr := d.drafts[draftKey{set.namespace, "RedisReplication", name}]; dr != nil {
			load := set.load
			dr.sentinel, dr.sentinelKind = &load, cr
		}
	}
}

func (d *detector) onlyReplication(namespace string) string {
	name, count := "", 0
	for key := range d.drafts {
		if key.namespace == namespace && key.kind == "RedisReplication" {
			name = key.name
			count++
		}
	}
	if count != 1 {
		return ""
	}
	return name
}

func (d *detector) finishOT(inst *Instance, dr *draft) {
	if dr.custom != nil {
		d.readOTResource(inst, dr)
	}
	if dr.sentinel == nil {
		return
	}
	inst.Mode = ModeSentinel
	load := dr.sentinel
	s := &Sentinel{Port: sentinelPort, MasterSet: sentinelSet}
	c := dataContainer(&load.template.Spec, "sentinel", load.meta.Name)
	candidates := []string{load.meta.Name + "-hl", load.meta.Name, load.meta.Name + "-headless"}
	if owner := controllerOf(&load.meta); owner != nil && owner.Kind == "RedisSentinel" {
		s.MasterSet = sentinelSetDefault
		s.Password = envSecret(c, "REDIS_PASSWORD")
		candidates = []string{load.meta.Name, load.meta.Name + "-headless"}
	}
	if name, ok := envValue(c, "MASTER_GROUP_NAME"); ok && name != "" {
		s.MasterSet = name
	}
	if dr.sentinelKind != nil {
		if name, ok, _ := unstructured.NestedString(dr.sentinelKind.Object, "spec", "redisSentinelConfig", "masterGroupName"); ok && name != "" {
			s.MasterSet = name
		}
		if ref := secretIn(dr.sentinelKind, "spec", "kubernetesConfig", "redisSecret"); ref != nil && s.Password == nil {
			s.Password = ref
		}
	} else if dr.custom != nil {
		if ref := secretIn(dr.custom, "spec", "sentinel", "redisSecret"); ref != nil {
			s.Password = ref
		}
	}
	for _, name := range candidates {
		if svc := d.objs.service(inst.Namespace, name); svc != nil {
			s.Service = name
			s.Address = address(svc, sentinelServicePort(svc, sentinelPort))
			break
		}
	}
	for _, p := range d.objs.podsOf(inst.Namespace, load.meta.Name) {
		s.Pods, s.PodIPs = append(s.Pods, p.Name), append(s.PodIPs, p.Status.PodIP)
	}
	inst.Sentinel = s
}

// readOTResource adds what the custom resource knows. The pods decide where
// both speak, because a change of the resource rolls out pod by pod.
func (d *detector) readOTResource(inst *Instance, dr *draft) {
	cr := dr.custom
	if inst.Password == nil {
		inst.Password = secretIn(cr, "spec", "kubernetesConfig", "redisSecret")
	}
	if port, ok, _ := unstructured.NestedInt64(cr.Object, "spec", "port"); ok && port > 0 && len(dr.data) == 0 {
		inst.Port = int(port)
	}
	if tls, ok, _ := unstructured.NestedMap(cr.Object, "spec", "TLS"); ok {
		secret := &TLSSecret{CA: "ca.crt", Cert: "tls.crt", Key: "tls.key"}
		secret.Name, _, _ = unstructured.NestedString(tls, "secret", "secretName")
		for field, into := range map[string]*string{"ca": &secret.CA, "cert": &secret.Cert, "key": &secret.Key} {
			if v, ok := tls[field].(string); ok && v != "" {
				*into = v
			}
		}
		inst.TLS, inst.TLSSecret = true, secret
	}
	if acl, ok, _ := unstructured.NestedString(cr.Object, "spec", "acl", "secret", "secretName"); ok && acl != "" {
		inst.find(SeverityInfo, "instance "+inst.Ref(), "", "has an ACL file from secret %s; the default user is used", acl)
	}
}

func secretIn(u *unstructured.Unstructured, path ...string) *SecretRef {
	m, ok, _ := unstructured.NestedStringMap(u.Object, path...)
	if !ok || m["name"] == "" || m["key"] == "" {
		return nil
	}
	return &SecretRef{Name: m["name"], Key: m["key"]}
}
