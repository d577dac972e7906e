package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node is one pod with a connection to the server in it.
type node struct {
	pod   *corev1.Pod
	redis *redis.Client
	ready bool
}

func (n *node) name() string { return n.pod.Name }
func (n *node) ip() string   { return n.pod.Status.PodIP }

// ordinal is the number at the end of a StatefulSet pod's name.
func (n *node) ordinal() int {
	i, _ := strconv.Atoi(n.pod.Name[strings.LastIndex(n.pod.Name, "-")+1:])
	return i
}

// nodes connects to the running pods that carry the labels, sorted by name.
// Pods that are ending or have no address yet are left out.
func (o *Operator) nodes(ctx context.Context, namespace string, labels map[string]string, port int, password string) ([]*node, error) {
	list, err := o.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels}),
	})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var out []*node
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			continue
		}
		n := &node{pod: pod, redis: redis.NewClient(&redis.Options{
			Addr: net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port)), Password: password, Protocol: 2,
			DialTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, MaxRetries: -1,
			DisableIdentity: true, PoolSize: 1,
		})}
		for _, c := range pod.Status.Conditions {
			n.ready = n.ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		out = append(out, n)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].pod.Name < out[j].pod.Name })
	return out, nil
}

func closeAll(nodes []*node) {
	for _, n := range nodes {
		_ = n.redis.Close()
	}
}

// replication returns INFO replication as a map.
func (n *node) replication(ctx context.Context) (map[string]string, error) {
	text, err := n.redis.Info(ctx, "replication").Result()
	if err != nil {
		return nil, fmt.Errorf("pod %s: INFO replication: %w", n.name(), err)
	}
	out := map[string]string{}
	for _, line := range strings.Split(text, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			out[key] = value
		}
	}
	return out, nil
}

// label sets a role label on a pod unless it has that value.
func (o *Operator) label(ctx context.Context, n *node, key, value string) error {
	if n.pod.Labels[key] == value {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{key: value}}})
	if err != nil {
		return fmt.Errorf("pod %s: %w", n.name(), err)
	}
	_, err = o.Client.CoreV1().Pods(n.pod.Namespace).Patch(ctx, n.pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("pod %s: label %s: %w", n.name(), key, err)
	}
	o.Log.Info("label", "pod", n.name(), key, value)
	return nil
}
