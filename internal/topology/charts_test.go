package topology

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// statefulSet makes a StatefulSet with its pods; the owner is optional.
func statefulSet(name string, replicas int32, labels map[string]string, owner *metav1.OwnerReference, containers ...corev1.Container) Objects {
	s := appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "redis", Name: name, Labels: labels}}
	if owner != nil {
		s.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	s.Spec.Replicas = &replicas
	s.Spec.Template.Labels = labels
	s.Spec.Template.Spec.Containers = containers
	objs := Objects{StatefulSets: []appsv1.StatefulSet{s}}
	yes := true
	for i := range replicas {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "redis", Name: fmt.Sprintf("%s-%d", name, i), Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: name, Controller: &yes}},
		}}
		p.Status.PodIP, p.Status.HostIP = fmt.Sprintf("10.244.0.%d", i+1), "192.168.0.1"
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		objs.Pods = append(objs.Pods, p)
	}
	return objs
}

func service(name, clusterIP string, selector map[string]string, ports ...int32) corev1.Service {
	s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "redis", Name: name}}
	s.Spec.ClusterIP, s.Spec.Selector = clusterIP, selector
	for _, port := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: port, TargetPort: intstr.FromInt32(port)})
	}
	return s
}

func secretEnv(name, secret, key string) corev1.EnvVar {
	ref := &corev1.SecretKeySelector{Key: key}
	ref.Name = secret
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: ref}}
}

// TestRedisHAChart: Sentinels name the address of a Service per pod there.
func TestRedisHAChart(t *testing.T) {
	labels := map[string]string{"app": "redis-ha", "release": "cache"}
	objs := statefulSet("cache-redis-ha-server", 3, labels, nil,
		corev1.Container{
			Name: "redis", Image: "public.ecr.aws/docker/library/redis:8.2", Command: []string{"redis-server"},
			Env:   []corev1.EnvVar{secretEnv("AUTH", "cache-auth", "auth")},
			Ports: []corev1.ContainerPort{{Name: "redis", ContainerPort: 6379}},
		},
		corev1.Container{
			Name: "sentinel", Image: "redis:8.2", Command: []string{"redis-sentinel"},
			Ports: []corev1.ContainerPort{{Name: "sentinel", ContainerPort: 26379}},
		})
	objs.Services = []corev1.Service{service("cache-redis-ha", "None", labels, 6379, 26379)}
	for i := range 3 {
		pod := fmt.Sprintf("cache-redis-ha-server-%d", i)
		objs.Services = append(objs.Services, service(fmt.Sprintf("cache-redis-ha-announce-%d", i), fmt.Sprintf("10.96.0.%d", i+10),
			map[string]string{"release": "cache", labelPodName: pod}, 6379, 26379))
	}
	inst, err := Find(Detect(objs), "redis", "cache", "")
	if err != nil {
		t.Fatal(err)
	}
	if inst.Mode != ModeSentinel || inst.Kind != KindStatefulSet || inst.Password == nil || *inst.Password != (SecretRef{"cache-auth", "auth"}) ||
		inst.Container != "redis" || inst.Sentinel.Service != "cache-redis-ha" || inst.Sentinel.Address != "" || len(inst.Sentinel.Pods) != 3 {
		t.Errorf("got %+v %+v", inst, inst.Sentinel)
	}
	answers := sentinelAnswers(inst, "cache-redis-ha-server-2")
	for pod := range answers.Sentinels {
		answers.Sentinels[pod] = SentinelAnswer{Host: "10.96.0.12", Port: 6379}
	}
	got := Resolve(inst, answers)
	if len(got.Findings) != 0 || len(got.Shards) != 1 || got.Shards[0].Primary != "cache-redis-ha-server-2" {
		t.Errorf("got %+v %+v", got.Shards, got.Findings)
	}
}

func TestHyperspike(t *testing.T) {
	yes := true
	labels := map[string]string{labelName: "valkey", labelComponent: "valkey", labelInstance: "cache"}
	owner := &metav1.OwnerReference{APIVersion: "hyperspike.io/v1", Kind: "Valkey", Name: "cache", UID: "u", Controller: &yes}
	objs := statefulSet("cache", 6, labels, owner, corev1.Container{Name: "valkey", Image: "ghcr.io/hyperspike/valkey:8.0"})
	objs.Services = []corev1.Service{service("cache", "10.96.0.9", labels, 6379), service("cache-headless", "None", labels, 6379)}
	inst, err := Find(Detect(objs), "redis", "cache", "valkey")
	if err != nil {
		t.Fatal(err)
	}
	if inst.Mode != ModeCluster || inst.Operator != OperatorHyperspike || len(inst.Pods) != 6 || inst.WriteService != "cache" ||
		inst.Password == nil || *inst.Password != (SecretRef{"cache", "password"}) || inst.ResourceUID != "u" {
		t.Errorf("got %+v", inst)
	}
}

// TestPlainStatefulSet: whatever runs redis-server is an instance; what does
// not is none, be it called redis.
func TestPlainStatefulSet(t *testing.T) {
	objs := statefulSet("cache", 1, map[string]string{"app": "cache"}, nil,
		corev1.Container{Name: "main", Image: "registry.example/base:1", Command: []string{"redis-server", "--port", "6379"}})
	for name, c := range map[string]corev1.Container{
		"redis-exporter": {Name: "redis", Image: "oliver006/redis_exporter:v1", Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9121}}},
		"redis-ui":       {Name: "redis", Image: "example/redisinsight:2", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8001}}},
		"a-sentinel":     {Name: "s", Image: "redis:7", Command: []string{"redis-sentinel", "/etc/sentinel.conf"}},
	} {
		other := statefulSet(name, 1, map[string]string{"app": name}, nil, c)
		objs.StatefulSets = append(objs.StatefulSets, other.StatefulSets...)
		objs.Pods = append(objs.Pods, other.Pods...)
	}
	all := Detect(objs)
	if len(all) != 1 || all[0].Name != "cache" || all[0].Mode != ModeStandalone || all[0].Password != nil || all[0].Container != "main" {
		t.Errorf("got %+v", all)
	}
	clustered := statefulSet("shards", 6, map[string]string{"app": "shards"}, nil,
		corev1.Container{Name: "main", Image: "valkey/valkey:8", Command: []string{"valkey-server", "--cluster-enabled", "yes"}})
	if all := Detect(clustered); len(all) != 1 || all[0].Mode != ModeCluster {
		t.Errorf("got %+v", all)
	}
	off := statefulSet("three", 3, map[string]string{"app": "three"}, nil,
		corev1.Container{Name: "main", Image: "redis:7", Command: []string{"redis-server", "--cluster-enabled", "no"}})
	if all := Detect(off); len(all) != 1 || all[0].Mode != ModeReplication {
		t.Errorf("got %+v", all)
	}
}

// TestPasswordFile: newer Bitnami charts mount the password as a file.
func TestPasswordFile(t *testing.T) {
	objs := statefulSet("cache-master", 1, map[string]string{labelName: "redis", labelInstance: "cache", labelComponent: "master"}, nil,
		corev1.Container{
			Name: "redis", Image: "docker.io/bitnami/redis:8",
			Env:          []corev1.EnvVar{{Name: "REDIS_PASSWORD_FILE", Value: "/opt/bitnami/redis/secrets/redis-password"}, {Name: "REDIS_PORT", Value: "6380"}},
			VolumeMounts: []corev1.VolumeMount{{Name: "redis-password", MountPath: "/opt/bitnami/redis/secrets/"}},
		})
	objs.StatefulSets[0].Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "redis-password", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: "cache-redis", Items: []corev1.KeyToPath{{Key: "redis-pass", Path: "redis-password"}}},
	}}}
	inst, err := Find(Detect(objs), "redis", "cache", "")
	if err != nil || inst.Password == nil || *inst.Password != (SecretRef{"cache-redis", "redis-pass"}) || inst.Port != 6380 {
		t.Errorf("got %+v, %v", inst, err)
	}
}
