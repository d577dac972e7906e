package topology

import (
	"cmp"
	"slices"
	"sort"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// KindStatefulSet is the Kind of an instance that no operator manages.
const KindStatefulSet = "StatefulSet"

// Detect finds the Redis instances among the objects, sorted by namespace,
// name and kind. What an instance is comes from the owner references of its
// StatefulSets, or from their labels where they have none; the custom
// resource, where it may be read, adds what only it knows.
func Detect(objs Objects) []Instance {
	d := detector{objs: objs, drafts: map[draftKey]*draft{}}
	for i := range objs.Custom {
		d.addCustom(&objs.Custom[i])
	}
	for i := range objs.StatefulSets {
		d.addStatefulSet(&objs.StatefulSets[i])
	}
	for i := range objs.Deployments {
		d.addDeployment(&objs.Deployments[i])
	}
	d.linkSentinels()
	out := make([]Instance, 0, len(d.drafts))
	for _, dr := range d.drafts {
		out = append(out, d.finish(dr))
	}
	slices.SortFunc(out, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

type draftKey struct{ namespace, kind, name string }

// draft is an instance while its objects are being collected.
type draft struct {
	key          draftKey
	operator     Operator
	mode         Mode
	apiVersion   string
	uid          string
	custom       *unstructured.Unstructured
	data         []workload // that run the data pods
	sentinel     *workload  // with its own pods (OT)
	sentinelKind *unstructured.Unstructured
	container    []string // likely names of the data container
}

// workload is a StatefulSet, or a Deployment that stands for one.
type workload struct {
	meta     metav1.ObjectMeta
	template corev1.PodTemplateSpec
	replicas int32
	stateful bool
}

type detector struct {
	objs      Objects
	drafts    map[draftKey]*draft
	sentinels []sentinelWorkload
}

// sentinelWorkload is a StatefulSet of Sentinels of a RedisSentinel resource.
type sentinelWorkload struct {
	namespace, name string // of the RedisSentinel
	load            workload
}

func (d *detector) draft(namespace, kind, name string, operator Operator, mode Mode) *draft {
	key := draftKey{namespace, kind, name}
	dr, ok := d.drafts[key]
	if !ok {
		dr = &draft{key: key, operator: operator, mode: mode}
		d.drafts[key] = dr
	}
	return dr
}

// addCustom makes an instance of a custom resource, so that one without pods
// is seen too.
func (d *detector) addCustom(u *unstructured.Unstructured) {
	ns, name, group := u.GetNamespace(), u.GetName(), groupOf(u.GetAPIVersion())
	var dr *draft
	switch group + "/" + u.GetKind() {
	case GroupOT + "/RedisCluster":
		dr = d.draft(ns, "RedisCluster", name, OperatorOT, ModeCluster)
	case GroupOT + "/RedisReplication":
		dr = d.draft(ns, "RedisReplication", name, OperatorOT, ModeReplication)
	case GroupOT + "/Redis":
		dr = d.draft(ns, "Redis", name, OperatorOT, ModeStandalone)
	case GroupSpotahome + "/RedisFailover":
		dr = d.draft(ns, "RedisFailover", name, OperatorSpotahome, ModeReplication)
	case GroupValkey + "/ValkeyCluster":
		dr = d.draft(ns, "ValkeyCluster", name, OperatorValkey, ModeCluster)
	case GroupHyperspike + "/Valkey":
		dr = d.draft(ns, "Valkey", name, OperatorHyperspike, ModeCluster)
	default:
		return // a RedisSentinel is part of another instance
	}
	dr.custom, dr.apiVersion, dr.uid = u, u.GetAPIVersion(), string(u.GetUID())
}

func (d *detector) addStatefulSet(s *appsv1.StatefulSet) {
	if s.Labels[labelManagedBy] == valueOurs {
		return
	}
	load := workload{meta: s.ObjectMeta, template: s.Spec.Template, replicas: 1, stateful: true}
	if s.Spec.Replicas != nil {
		load.replicas = *s.Spec.Replicas
	}
	if owner := controllerOf(&s.ObjectMeta); owner != nil {
		d.addOwned(load, owner)
		return
	}
	d.addByLabels(load)
}

// addOwned places a workload by the kind and name of its owner: both
// operators set it in every version.
func (d *detector) addOwned(load workload, owner *metav1.OwnerReference) {
	ns, labels := load.meta.Namespace, load.template.Labels
	var dr *draft
	switch groupOf(owner.APIVersion) + "/" + owner.Kind {
	case GroupOT + "/RedisCluster":
		dr = d.draft(ns, owner.Kind, owner.Name, OperatorOT, ModeCluster)
	case GroupOT + "/RedisReplication":
		dr = d.draft(ns, owner.Kind, owner.Name, OperatorOT, ModeReplication)
		if labels[labelStaticRole] == "sentinel" {
			dr.sentinel = &load
			return
		}
	case GroupOT + "/RedisSentinel":
		d.sentinels = append(d.sentinels, sentinelWorkload{ns, owner.Name, load})
		return
	case GroupOT + "/Redis":
		dr = d.draft(ns, owner.Kind, owner.Name, OperatorOT, ModeStandalone)
	case GroupSpotahome + "/RedisFailover":
		dr = d.draft(ns, owner.Kind, owner.Name, OperatorSpotahome, ModeReplication)
		dr.container = []string{"redis"}
	case GroupHyperspike + "/Valkey":
		dr = d.draft(ns, owner.Kind, owner.Name, OperatorHyperspike, ModeCluster)
	case GroupValkey + "/ValkeyNode":
		d.addValkeyNode(load)
		return
	default:
		return // of an operator that we do not know: its objects are not ours to guess
	}
	if dr.apiVersion == "" {
		dr.apiVersion, dr.uid = owner.APIVersion, string(owner.UID)
	}
	dr.data = append(dr.data, load)
}

// addValkeyNode collects the nodes of a ValkeyCluster: each has a workload of
// its own, owned by a ValkeyNode, and names its cluster in a label.
func (d *detector) addValkeyNode(load workload) {
	name := load.template.Labels[labelValkeyOf]
	if name == "" {
		return
	}
	dr := d.draft(load.meta.Namespace, "ValkeyCluster", name, OperatorValkey, ModeCluster)
	dr.container = []string{"server"}
	if dr.apiVersion == "" {
		dr.apiVersion = GroupValkey + "/v1alpha1"
	}
	dr.data = append(dr.data, load)
}

func (d *detector) addDeployment(dep *appsv1.Deployment) {
	owner := controllerOf(&dep.ObjectMeta)
	if owner == nil || groupOf(owner.APIVersion)+"/"+owner.Kind != GroupValkey+"/ValkeyNode" {
		return // Sentinels of a RedisFailover are found by the name rfs-<name>
	}
	d.addValkeyNode(workload{meta: dep.ObjectMeta, template: dep.Spec.Template, replicas: 1})
}

// finish turns a draft into an instance.
func (d *detector) finish(dr *draft) Instance {
	inst := Instance{
		Namespace: dr.key.namespace, Name: dr.key.name, Kind: dr.key.kind,
		APIVersion: dr.apiVersion, ResourceUID: dr.uid, Operator: dr.operator, Mode: dr.mode,
		Port: DefaultPort,
	}
	sort.Slice(dr.data, func(i, j int) bool { return dr.data[i].meta.Name < dr.data[j].meta.Name })
	for _, load := range dr.data {
		if load.stateful {
			inst.StatefulSets = append(inst.StatefulSets, OwnerUID{Name: load.meta.Name, UID: string(load.meta.UID)})
			if at := load.meta.CreationTimestamp.Time; at.After(inst.MadeAt) {
				inst.MadeAt = at
			}
		}
	}
	d.describe(&inst, dr)
	d.addPods(&inst, dr)
	switch dr.operator {
	case OperatorOT:
		d.finishOT(&inst, dr)
	case OperatorSpotahome:
		d.finishFailover(&inst, dr)
	case OperatorValkey:
		d.finishValkey(&inst, dr)
	case OperatorHyperspike:
		d.finishHyperspike(&inst, dr)
	default:
		d.finishChart(&inst, dr)
	}
	d.findServices(&inst, dr)
	d.explain(&inst)
	return inst
}

// describe reads port, password and TLS from the pod template: what the pods
// really run with, whatever the custom resource says by now.
func (d *detector) describe(inst *Instance, dr *draft) {
	if len(dr.data) == 0 {
		return
	}
	load := dr.data[0]
	spec := &load.template.Spec
	c := dataContainer(spec, append(dr.container, load.meta.Name)...)
	if c == nil && len(spec.Containers) > 0 {
		c = &spec.Containers[0]
	}
	if c == nil {
		return
	}
	inst.Container = c.Name
	inst.Port = portOf(c)
	inst.Password = passwordRef(spec, c)
	inst.TLS, inst.TLSSecret = tlsOf(spec, c)
}

func (d *detector) addPods(inst *Instance, dr *draft) {
	for _, load := range dr.data {
		var pods []corev1.Pod
		if load.stateful {
			pods = d.objs.podsOf(inst.Namespace, load.meta.Name)
		} else {
			pods = d.objs.podsMatching(inst.Namespace, load.template.Labels)
		}
		for i := range pods {
			p := &pods[i]
			inst.Pods = append(inst.Pods, Pod{
				Name: p.Name, IP: p.Status.PodIP, HostIP: p.Status.HostIP,
				Ready: podReady(p), RoleSaid: roleByLabel(p.Labels),
			})
		}
	}
	sort.Slice(inst.Pods, func(i, j int) bool { return inst.Pods[i].Name < inst.Pods[j].Name })
}

// explain adds the findings that need no Redis.
func (d *detector) explain(inst *Instance) {
	if len(inst.Pods) == 0 {
		inst.find(SeverityError, "instance "+inst.Ref(),
			"see what its operator and the events of its StatefulSets say",
			"has no data pod")
		return
	}
	for _, p := range inst.Pods {
		if !p.Ready {
			inst.find(SeverityWarning, inst.podRef(p.Name), "", "is not ready")
		}
	}
}
