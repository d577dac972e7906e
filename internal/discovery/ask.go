package discovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// Bounds of asking one instance.
const (
	podTimeout = 6 * time.Second // for all the questions to one pod
	podsAtOnce = 16
)

var errNoAddress = errors.New("the pod has no address yet")

// ask puts the questions to every pod at the same time. What a pod cannot
// answer is part of the answers.
func ask(ctx context.Context, c *kube.Client, inst topology.Instance, cred, sentinelCred Credentials) (topology.Answers, error) {
	secure, err := tlsConfig(ctx, c, inst)
	if err != nil {
		return topology.Answers{}, err
	}
	answers := topology.Answers{Pods: map[string]topology.PodAnswer{}, Sentinels: map[string]topology.SentinelAnswer{}}
	options := func(pod string, cred Credentials) redisx.Options {
		return redisx.Options{
			Name: "pod " + inst.Namespace + "/" + pod, Username: cred.Username, Password: cred.Password, TLS: secure,
		}
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(podsAtOnce)
	for _, p := range inst.Pods {
		group.Go(func() error {
			a := topology.PodAnswer{Err: errNoAddress}
			if p.IP != "" {
				a = askPod(ctx, dialPod(c, inst.Namespace, p.Name, inst.Port), options(p.Name, cred), inst.Mode == topology.ModeCluster)
			}
			mu.Lock()
			defer mu.Unlock()
			answers.Pods[p.Name] = a
			return nil
		})
	}
	if s := inst.Sentinel; s != nil {
		for n, pod := range s.Pods {
			group.Go(func() error {
				a := topology.SentinelAnswer{Err: errNoAddress}
				if s.PodIPs[n] != "" {
					a = askSentinel(ctx, dialPod(c, inst.Namespace, pod, s.Port), options(pod, sentinelCred), cred, s.MasterSet)
				}
				mu.Lock()
				defer mu.Unlock()
				answers.Sentinels[pod] = a
				return nil
			})
		}
	}
	_ = group.Wait() // no function of the group returns an error
	return answers, ctx.Err()
}

// askPod asks a data pod about itself, once more if the connection broke.
func askPod(ctx context.Context, dial redisx.Dialer, opts redisx.Options, cluster bool) topology.PodAnswer {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	answer, err := questionPod(ctx, dial, opts, cluster)
	if redisx.IsUnreachable(err) && ctx.Err() == nil {
		answer, err = questionPod(ctx, dial, opts, cluster)
	}
	answer.Err = err
	return answer
}

func questionPod(ctx context.Context, dial redisx.Dialer, opts redisx.Options, cluster bool) (topology.PodAnswer, error) {
	var a topology.PodAnswer
	client, err := redisx.Open(ctx, dial, opts)
	if err != nil {
		return a, err
	}
	defer func() { _ = client.Close() }()
	info, err := client.Info(ctx, "server")
	if err != nil {
		return a, err
	}
	a.RedisMode, a.RunID, a.Version = info["redis_mode"], info["run_id"], info.Version()
	role, err := client.Role(ctx)
	if err != nil {
		return a, err
	}
	if role.Sentinel {
		return a, errors.New("a Sentinel answers on the port of the data")
	}
	a.Replication = replication(role)
	if !cluster && a.RedisMode != "cluster" {
		return a, nil
	}
	state, err := client.ClusterInfo(ctx)
	if err != nil {
		return a, err
	}
	a.ClusterState = state["cluster_state"]
	a.ClusterNodes, err = client.ClusterNodes(ctx)
	return a, err
}

func replication(role redisx.Role) topology.Replication {
	out := topology.Replication{
		Role: topology.RoleReplica, Offset: role.Offset,
		MasterHost: role.MasterHost, MasterPort: role.MasterPort, Connected: role.LinkState == "connected",
	}
	if role.Master {
		out.Role = topology.RolePrimary
	}
	for _, r := range role.Replicas {
		out.Replicas = append(out.Replicas, topology.ReplicaOfRole{Host: r.Host, Port: r.Port, Offset: r.Offset})
	}
	return out
}

// askSentinel asks a Sentinel for the master. Some charts give Sentinels the
// password of the data without saying so, hence the second attempt.
func askSentinel(ctx context.Context, dial redisx.Dialer, opts redisx.Options, data Credentials, set string) topology.SentinelAnswer {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	client, err := redisx.Open(ctx, dial, opts)
	if redisx.IsAuth(err) && opts.Password != data.Password {
		opts.Username, opts.Password = data.Username, data.Password
		client, err = redisx.Open(ctx, dial, opts)
	}
	if err != nil {
		return topology.SentinelAnswer{Err: err}
	}
	defer func() { _ = client.Close() }()
	var a topology.SentinelAnswer
	if a.Host, a.Port, a.Err = client.SentinelMaster(ctx, set); a.Err != nil {
		return a
	}
	good, text, err := client.SentinelQuorum(ctx, set)
	if err != nil {
		a.Err = err
		return a
	}
	a.Quorum, a.NoGood = text, !good
	return a
}

// refusal turns "every pod refused the password" (or the user) into one error.
func refusal(c *kube.Client, inst topology.Instance, answers topology.Answers) error {
	var denied error
	for _, p := range inst.Pods {
		err := answers.Pods[p.Name].Err
		switch {
		case err == nil:
			return nil
		case redisx.IsAuth(err), redisx.IsPermission(err), kube.IsAuth(err):
			if denied == nil {
				denied = err
			}
		}
	}
	if denied == nil {
		return nil
	}
	if !redisx.IsAuth(denied) {
		return denied
	}
	from := "no password is known for it: its pods refer to no Secret"
	if inst.Password != nil {
		from = fmt.Sprintf("with the password of secret %s/%s, key %q", inst.Namespace, inst.Password.Name, inst.Password.Key)
	}
	return fmt.Errorf("%s: authenticate at %s, %s: %w", c.Where(), inst.Ref(), from, denied)
}
