package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// Instance is a connection to the data pods of one Redis instance through the
// API server. It learns who the masters are from Redis alone.
type Instance struct {
	Placement sites.Placement
	password  string

	connect func() (*kube.Client, error)
	mu      sync.Mutex
	kube    *kube.Client // made anew by Pods: a kept port-forward outlives its pod
}

type loader struct{ config clientcmd.ClientConfig }

func (l loader) ToRESTConfig() (*rest.Config, error)           { return l.config.ClientConfig() }
func (l loader) ToRawKubeConfigLoader() clientcmd.ClientConfig { return l.config }

// Instance opens the instance of a placement. Close it at the end.
func (w *World) Instance(ctx context.Context, p sites.Placement) (*Instance, error) {
	cluster, err := w.Cluster(p.Site)
	if err != nil {
		return nil, err
	}
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: w.Kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: p.Site})
	secret, err := cluster.Typed.CoreV1().Secrets(p.Namespace).Get(ctx, p.Instance+"-auth", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("site %s: password of %s: %w", p.Site, p.Instance, err)
	}
	i := &Instance{Placement: p, password: string(secret.Data["password"])}
	i.connect = func() (*kube.Client, error) {
		return kube.New(loader{config}, kube.Options{Site: p.Instance, Context: p.Site})
	}
	i.kube, err = i.connect()
	return i, err
}

// Close ends the connections.
func (i *Instance) Close() { i.client().Close() }

func (i *Instance) client() *kube.Client {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.kube
}

// reconnect drops all port-forwards.
func (i *Instance) reconnect() error {
	client, err := i.connect()
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kube.Close()
	i.kube = client
	return nil
}

// dataSelectors find the data pods of an instance.
func dataSelectors(p sites.Placement) []string {
	if p.Kind == "RedisCluster" {
		return []string{"app=" + p.Instance + "-leader", "app=" + p.Instance + "-follower"}
	}
	return []string{"app.kubernetes.io/component=redis,app.kubernetes.io/part-of=redis-failover,app.kubernetes.io/name=" + p.Instance}
}

// Pods are the data pods, sorted by name.
func (i *Instance) Pods(ctx context.Context) ([]corev1.Pod, error) {
	if err := i.reconnect(); err != nil {
		return nil, err
	}
	var out []corev1.Pod
	for _, selector := range dataSelectors(i.Placement) {
		pods, err := i.client().Pods(ctx, i.Placement.Namespace, selector)
		if err != nil {
			return nil, err
		}
		out = append(out, pods...)
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Name < out[b].Name })
	return out, nil
}

// Open connects to the server in a pod, with database db selected.
func (i *Instance) Open(pod string, db int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: pod, Password: i.password, Protocol: 2, DB: db, MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true,
		DialTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, WriteTimeout: 60 * time.Second,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return i.client().DialPod(ctx, i.Placement.Namespace, pod, 6379)
		},
	})
}

// Do runs one command in a pod.
func (i *Instance) Do(ctx context.Context, pod string, args ...any) (any, error) {
	client := i.Open(pod, 0)
	defer func() { _ = client.Close() }()
	reply, err := client.Do(ctx, args...).Result()
	if err != nil {
		return nil, fmt.Errorf("pod %s: %v: %w", pod, args[0], err)
	}
	return reply, nil
}

// Sentinels runs one command on every sentinel of the instance.
func (i *Instance) Sentinels(ctx context.Context, args ...any) error {
	selector := "app.kubernetes.io/component=sentinel,app.kubernetes.io/part-of=redis-failover,app.kubernetes.io/name=" + i.Placement.Instance
	pods, err := i.client().Pods(ctx, i.Placement.Namespace, selector)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		client := redis.NewClient(&redis.Options{
			Addr: pod.Name, Protocol: 2, DisableIdentity: true,
			Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return i.client().DialPod(ctx, i.Placement.Namespace, pod.Name, 26379)
			},
		})
		err := client.Do(ctx, args...).Err()
		_ = client.Close()
		if err != nil {
			return fmt.Errorf("sentinel %s: %v: %w", pod.Name, args[0], err)
		}
	}
	return nil
}

// Master is a pod that serves writes, with its slots.
type Master struct {
	Pod   string
	Slots [][2]int
}

// roleTimeout bounds the question to one pod. A connection to one that is just
// being ended can stay without an answer.
const roleTimeout = 5 * time.Second

// Masters asks every data pod for its role and slots.
func (i *Instance) Masters(ctx context.Context) ([]Master, error) {
	pods, err := i.Pods(ctx)
	if err != nil {
		return nil, err
	}
	ask := func(pod string, args ...any) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, roleTimeout)
		defer cancel()
		return i.Do(ctx, pod, args...)
	}
	var out []Master
	for _, pod := range pods {
		m := Master{Pod: pod.Name}
		if i.Placement.Kind == "RedisCluster" {
			reply, err := ask(pod.Name, "CLUSTER", "NODES")
			if err != nil {
				return nil, err
			}
			if m.Slots, err = ownSlots(fmt.Sprint(reply)); err != nil {
				return nil, fmt.Errorf("pod %s: %w", pod.Name, err)
			}
			if len(m.Slots) > 0 {
				out = append(out, m)
			}
			continue
		}
		reply, err := ask(pod.Name, "ROLE")
		if err != nil {
			return nil, err
		}
		if fields, ok := reply.([]any); ok && fields[0] == "master" {
			m.Slots = [][2]int{{0, verify.SlotCount - 1}}
			out = append(out, m)
		}
	}
	return out, nil
}

// ownSlots are the slots on the line of CLUSTER NODES that says "myself".
func ownSlots(nodes string) ([][2]int, error) {
	var out [][2]int
	for _, line := range strings.Split(nodes, "\n") {
		f := strings.Fields(line)
		if len(f) < 8 || !strings.Contains(f[2], "myself") || !strings.Contains(f[2], "master") {
			continue
		}
		for _, part := range f[8:] {
			if strings.HasPrefix(part, "[") {
				continue // moving
			}
			from, to, isRange := strings.Cut(part, "-")
			if !isRange {
				to = from
			}
			a, errA := strconv.Atoi(from)
			b, errB := strconv.Atoi(to)
			if errA != nil || errB != nil {
				return nil, fmt.Errorf("slots %q", part)
			}
			out = append(out, [2]int{a, b})
		}
	}
	return out, nil
}

// Side describes the instance to the comparison.
func (i *Instance) Side(ctx context.Context) (verify.Side, error) {
	masters, err := i.Masters(ctx)
	if err != nil {
		return verify.Side{}, err
	}
	side := verify.Side{Name: i.Placement.Instance, Cluster: i.Placement.Kind == "RedisCluster"}
	var ranges []verify.SlotRange
	for index, m := range masters {
		side.Nodes = append(side.Nodes, &node{instance: i, pod: m.Pod, clients: map[int]*redis.Client{}})
		for _, s := range m.Slots {
			ranges = append(ranges, verify.SlotRange{From: s[0], To: s[1], Node: index})
		}
	}
	side.Owner = verify.SlotOwner(ranges)
	return side, nil
}

// node is one master, for the comparison.
type node struct {
	instance *Instance
	pod      string
	mu       sync.Mutex
	clients  map[int]*redis.Client
}

func (n *node) Name() string { return n.pod }

// Pipeline implements verify.Node.
func (n *node) Pipeline(ctx context.Context, db int, commands [][]string) ([]any, error) {
	n.mu.Lock()
	client := n.clients[db]
	if client == nil {
		client = n.instance.Open(n.pod, db)
		n.clients[db] = client
	}
	n.mu.Unlock()
	pipe := client.Pipeline()
	replies := make([]*redis.Cmd, len(commands))
	for i, command := range commands {
		args := make([]any, len(command))
		for j, a := range command {
			args[j] = a
		}
		replies[i] = pipe.Do(ctx, args...)
	}
	_, execErr := pipe.Exec(ctx)
	out := make([]any, len(replies))
	for i, reply := range replies {
		value, err := reply.Result()
		var refused redis.Error
		switch {
		case errors.Is(err, redis.Nil):
		case err == nil:
			out[i] = value
		case errors.As(err, &refused):
			out[i] = refused
		default:
			return nil, errors.Join(err, execErr)
		}
	}
	return out, nil
}

// Compare reads all of both instances and compares them.
func (w *World) Compare(ctx context.Context, source, target *Instance, opts verify.Options) (*verify.Result, error) {
	a, err := source.Side(ctx)
	if err != nil {
		return nil, err
	}
	b, err := target.Side(ctx)
	if err != nil {
		return nil, err
	}
	return verify.Run(ctx, a, b, opts)
}

// ComparePair opens both instances of a pair and compares them.
func (w *World) ComparePair(ctx context.Context, p Pair, opts verify.Options) (*verify.Result, error) {
	source, err := w.Instance(ctx, p.Source)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	target, err := w.Instance(ctx, p.Target)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	return w.Compare(ctx, source, target, opts)
}
