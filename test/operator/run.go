package operator

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// Operator looks after every instance of its cluster.
type Operator struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	Log     *slog.Logger
	Every   time.Duration // pause between passes

	lastReset map[string]time.Time // of the sentinels of an instance
}

// kinds that the operator knows, each with the versions its operators served,
// newest first.
var kinds = []struct {
	group, resource, kind string
	versions              []string
}{
	{"redis.redis.opstreelabs.in", "redisclusters", "RedisCluster", []string{"v1beta2", "v1beta1"}},
	{"databases.spotahome.com", "redisfailovers", "RedisFailover", []string{"v1"}},
}

// InCluster makes an operator for the cluster it runs in.
func InCluster(log *slog.Logger, every time.Duration) (*Operator, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("test operator: %w", err)
	}
	config.QPS, config.Burst = 50, 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("test operator: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("test operator: %w", err)
	}
	return &Operator{Client: client, Dynamic: dyn, Log: log, Every: every, lastReset: map[string]time.Time{}}, nil
}

// Run makes passes until ctx ends.
func (o *Operator) Run(ctx context.Context) error {
	said := map[string]string{}
	for {
		health := map[string]string{}
		for _, k := range kinds {
			if err := o.passKind(ctx, k.group, k.resource, k.kind, k.versions, health); err != nil && ctx.Err() == nil {
				o.Log.Error("pass", "kind", k.kind, "error", err)
			}
		}
		for key, state := range health {
			if said[key] != state {
				o.Log.Info("health", "instance", key, "state", state)
				said[key] = state
			}
		}
		if err := o.report(ctx, health); err != nil && ctx.Err() == nil {
			o.Log.Error("report health", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.Every):
		}
	}
}

// passKind looks after every custom resource of a kind, through the newest
// version that is served.
func (o *Operator) passKind(ctx context.Context, group, resource, kind string, versions []string, health map[string]string) error {
	for _, version := range versions {
		gvr := schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
		list, err := o.Dynamic.Resource(gvr).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", kind, err)
		}
		for i := range list.Items {
			cr := &list.Items[i]
			if cr.GetDeletionTimestamp() != nil {
				continue
			}
			health[sites.HealthKey(cr.GetNamespace(), kind, cr.GetName())] = o.passOne(ctx, gvr, cr)
		}
		return nil
	}
	return nil
}

func (o *Operator) passOne(ctx context.Context, gvr schema.GroupVersionResource, cr *unstructured.Unstructured) string {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var waiting string
	var err error
	if cr.GetKind() == "RedisCluster" {
		waiting, err = o.passCluster(ctx, gvr, cr)
	} else {
		waiting, err = o.passFailover(ctx, cr)
	}
	switch {
	case err != nil:
		return "error: " + err.Error()
	case waiting != "":
		return waiting
	default:
		return "ok"
	}
}

// report writes the health of all instances into the ConfigMap.
func (o *Operator) report(ctx context.Context, health map[string]string) error {
	maps := o.Client.CoreV1().ConfigMaps(sites.OperatorNamespace)
	live, err := maps.Get(ctx, sites.HealthConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: sites.HealthConfigMap}, Data: health}
		_, err := maps.Create(ctx, cm, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if equal(live.Data, health) {
		return nil
	}
	live.Data = health
	_, err = maps.Update(ctx, live, metav1.UpdateOptions{})
	return err
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if other, has := b[k]; !has || other != v {
			return false
		}
	}
	return true
}

// password reads one key of a Secret.
func (o *Operator) password(ctx context.Context, namespace, secret, key string) (string, error) {
	if secret == "" {
		return "", nil
	}
	s, err := o.Client.CoreV1().Secrets(namespace).Get(ctx, secret, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	value, has := s.Data[key]
	if !has {
		return "", fmt.Errorf("secret %s/%s has no key %s", namespace, secret, key)
	}
	return string(value), nil
}
