package topology

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestFind(t *testing.T) {
	a := loadObjects(t, fixtureCluster)
	b := loadObjects(t, "ot-v0.26.0-redisreplication-redissentinel-redis-b.yaml")
	c := loadObjects(t, fixtureFailover)
	objs := Objects{
		StatefulSets: append(append(a.StatefulSets, b.StatefulSets...), c.StatefulSets...),
		Pods:         append(append(a.Pods, b.Pods...), c.Pods...),
		Services:     append(append(a.Services, b.Services...), c.Services...),
	}
	all := Detect(objs)

	_, err := Find(all, "redis", "redis-x", "")
	var missing *NotFoundError
	if !errors.As(err, &missing) || missing.ExitCode() != 10 ||
		!strings.Contains(err.Error(), "RedisCluster/redis-a, RedisFailover/redis-b, RedisReplication/redis-b") {
		t.Errorf("unknown instance: got %v", err)
	}
	_, err = Find(all, "elsewhere", "redis-a", "")
	if err == nil || !strings.Contains(err.Error(), "it holds no Redis instance") {
		t.Errorf("unknown namespace: got %v", err)
	}
	_, err = Find(all, "redis", "redis-b", "")
	var twice *AmbiguousError
	if !errors.As(err, &twice) || !strings.Contains(err.Error(), "RedisFailover/redis-b, RedisReplication/redis-b") ||
		!strings.Contains(twice.Remedy(), "RedisFailover/redis-b") {
		t.Errorf("two kinds: got %v", err)
	}
	inst, err := Find(all, "redis", "redis-b", "redisfailover")
	if err != nil || inst.Kind != "RedisFailover" {
		t.Errorf("with the kind: got %v %v", inst.Kind, err)
	}
	inst, err = Find(all, "redis", "redis-a-leader", "")
	if err != nil || inst.Name != "redis-a" {
		t.Errorf("by the name of a StatefulSet: got %v %v", inst.Name, err)
	}
}

// TestRedisSentinelElsewhere: a RedisSentinel of another name is found
// through its resource; one that watches somebody else is not taken.
func TestRedisSentinelElsewhere(t *testing.T) {
	objs := loadObjects(t, "ot-v0.26.0-redisreplication-redissentinel-redis-b.yaml")
	for _, u := range objs.Custom {
		if u.GetKind() == "RedisSentinel" {
			if err := unstructured.SetNestedField(u.Object, "another", "spec", "redisSentinelConfig", "redisReplicationName"); err != nil {
				t.Fatal(err)
			}
		}
	}
	inst, err := Find(Detect(objs), "redis", "redis-b", "")
	if err != nil || inst.Mode != ModeReplication || inst.Sentinel != nil {
		t.Errorf("got mode %s, sentinel %+v, %v; want replication", inst.Mode, inst.Sentinel, err)
	}
}

// TestStrangersNodePort: a node port of a Service that the operator did not
// make is not taken for the instance's own.
func TestStrangersNodePort(t *testing.T) {
	objs := loadObjects(t, "ot-v0.26.0-rediscluster-redis-a-nodeport.yaml")
	for n := range objs.Services {
		if objs.Services[n].Name == "redis-a-leader-1" {
			objs.Services[n].OwnerReferences = nil
		}
	}
	inst := Detect(objs)[0]
	if inst.Pod("redis-a-leader-0").NodePort != 31000 || inst.Pod("redis-a-leader-1").NodePort != 0 {
		t.Errorf("got %+v", inst.Pods)
	}
}

// TestBitnamiMasterAndReplicas: a chart's two StatefulSets are one instance.
func TestBitnamiMasterAndReplicas(t *testing.T) {
	objs := loadObjects(t, "bitnami-redis-sentinel-redis-d.yaml")
	base := objs.StatefulSets[0]
	objs.StatefulSets, objs.Pods, objs.Services = nil, nil, objs.Services[:1]
	for _, component := range []string{"master", "replicas"} {
		s := *base.DeepCopy()
		s.Name = "redis-d-" + component
		s.Spec.Template.Labels["app.kubernetes.io/component"] = strings.TrimSuffix(component, "s")
		s.Spec.Template.Spec.Containers = s.Spec.Template.Spec.Containers[:1]
		one := int32(1)
		s.Spec.Replicas = &one
		objs.StatefulSets = append(objs.StatefulSets, s)
	}
	objs.Services[0].Name = "redis-d-master"
	objs.Services[0].Spec.Selector["app.kubernetes.io/component"] = "master"
	inst, err := Find(Detect(objs), "redis", "redis-d", "")
	if err != nil {
		t.Fatal(err)
	}
	if inst.Mode != ModeReplication || len(inst.StatefulSets) != 2 || inst.WriteService != "redis-d-master" || inst.MasterOnlyService != "" {
		t.Errorf("got %+v", inst)
	}
}
