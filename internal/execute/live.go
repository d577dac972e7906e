package execute

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/preflight"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// liveFinder asks the clusters and their Redis.
type liveFinder struct{}

// NewFinder gives the finder that asks for real.
func NewFinder() Finder { return liveFinder{} }

func (liveFinder) Discover(ctx context.Context, party *Party) (*topology.Instance, error) {
	site := party.Site
	inst, err := discovery.DiscoverWith(ctx, party.Kube, site.Namespace, site.Instance.Name, site.Instance.Kind,
		func(inst *topology.Instance) { adjust(inst, site) })
	if err != nil {
		return nil, err
	}
	return &inst, nil
}

// adjust puts what the pair says about credentials and TLS in the place of what
// the operator's objects say.
func adjust(inst *topology.Instance, site pair.Site) {
	if c := site.Credentials; c != nil {
		inst.Username = c.Username
		if c.Password != nil {
			inst.Password = &topology.SecretRef{Name: c.Password.Name, Key: c.Password.Key}
		}
	}
	if tls := site.TLS; tls != nil {
		inst.TLS = tls.Enabled
		if tls.Secret != "" {
			inst.TLSSecret = &topology.TLSSecret{Name: tls.Secret, CA: "ca.crt", Cert: "tls.crt", Key: "tls.key"}
		}
	}
}

func (liveFinder) Credentials(ctx context.Context, party *Party, inst *topology.Instance) (Credentials, error) {
	own, err := discovery.ReadCredentials(ctx, party.Kube, *inst)
	if err != nil {
		return Credentials{}, err
	}
	credentials := Credentials{Username: own.Username, Password: []byte(own.Password)}
	if inst.Sentinel != nil {
		sentinel, err := discovery.ReadSentinelCredentials(ctx, party.Kube, *inst)
		if err != nil {
			return Credentials{}, err
		}
		credentials.SentinelPassword = []byte(sentinel.Password)
	}
	if inst.TLS {
		err = credentials.readTLS(ctx, party, inst)
	}
	return credentials, err
}

// readTLS reads the certificates that the replicators need.
func (c *Credentials) readTLS(ctx context.Context, party *Party, inst *topology.Instance) error {
	from := inst.TLSSecret
	if from == nil {
		return nil
	}
	secret, err := party.Cluster.Secret(ctx, party.Site.Namespace, from.Name)
	if err != nil {
		return fault.Wrap(fault.CodeAuth, "create it, or name another one with tls.secret in pair.yaml",
			fmt.Errorf("the certificates of instance %s: %w", inst.Name, err))
	}
	c.CA, c.Cert, c.Key = secret.Data[from.CA], secret.Data[from.Cert], secret.Data[from.Key]
	return nil
}

func (liveFinder) Preflight(ctx context.Context, source, target *Found, q PreflightQuestion) (*PreflightAnswer, error) {
	from, to := preflightSide(source), preflightSide(target)
	// An earlier pair of that name may have left its fence in the source; later
	// the source is a target itself.
	from.Reads, to.Reads = []string{wire.FenceKey(source.Pair)}, []string{wire.FenceKey(target.Pair)}
	result, err := preflight.Run(ctx, preflight.Input{
		Source: from, Target: to,
		Endpoints: preflightEndpoints(source, q.Endpoints), StaleKeys: chosenPolicy(q.StaleKeys), Established: q.Established,
	})
	if err != nil {
		return nil, err
	}
	return &PreflightAnswer{
		Findings: result.Findings,
		Keys:     result.Source.Keys, Bytes: result.Source.DatasetBytes,
		TargetKeys: result.Target.Keys,
	}, nil
}

// chosenPolicy: who chose to refuse has not said what is to happen to keys.
func chosenPolicy(policy pair.StaleKeysPolicy) string {
	if policy == pair.StaleKeysRefuse {
		return ""
	}
	return string(policy)
}

func (liveFinder) Reach(ctx context.Context, source, target *Found, endpoints []plan.Endpoint) ([]topology.Finding, error) {
	return preflight.ProbeReach(ctx, preflightSide(target), preflightEndpoints(source, endpoints))
}

func preflightSide(found *Found) preflight.Side {
	return preflight.Side{
		Client: found.Party.Kube, Site: found.Party.Site.Name, Instance: *found.Instance,
		Credentials: discovery.Credentials{Username: found.Credentials.Username, Password: string(found.Credentials.Password)},
	}
}

// unusedNodePort stands for a node port that an apply will get: in the same
// range, so that a firewall treats both alike.
const unusedNodePort = 32767

// preflightEndpoints leaves out pods that cannot answer now, and asks a host
// once while its ports are not known yet.
func preflightEndpoints(source *Found, endpoints []plan.Endpoint) []preflight.Endpoint {
	var out []preflight.Endpoint
	asked := map[string]bool{}
	for _, e := range endpoints {
		if pod := source.Instance.Pod(e.Pod); pod == nil || !pod.Ready {
			continue
		}
		if !e.Exists {
			if asked[e.Host] {
				continue
			}
			asked[e.Host], e.Port = true, unusedNodePort
		}
		out = append(out, preflight.Endpoint{Site: source.Party.Site.Name, Pod: e.Pod, Host: e.Host, Port: e.Port, ServiceExists: e.Exists})
	}
	return out
}

func (f liveFinder) Redis(_ context.Context, found *Found) (Redis, error) {
	return &liveRedis{site: f.site(found)}, nil
}

func (f liveFinder) Guard(_ context.Context, found *Found) (Guard, error) {
	return f.site(found), nil
}

func (liveFinder) site(found *Found) *guard.Site {
	session := discovery.Open(found.Party.Kube, *found.Instance, discovery.Credentials{
		Username: found.Credentials.Username, Password: string(found.Credentials.Password),
	})
	return guard.Open(session, guard.Options{Pair: found.Pair, Vault: found.Vault})
}

// liveRedis finds the keys of a pair on the node that holds them: all carry
// the same hash tag.
type liveRedis struct {
	site *guard.Site
}

func (r *liveRedis) FenceEpoch(ctx context.Context, pair string) (int64, error) {
	var epoch int64
	err := r.site.Holder(ctx, wire.FenceKey(pair), func(c *redisx.Client) (err error) {
		epoch, _, err = c.Fence(ctx, pair)
		return err
	})
	return epoch, err
}

func (r *liveRedis) CreateFence(ctx context.Context, pair string, epoch int64) (int64, error) {
	var held int64
	err := r.site.Holder(ctx, wire.FenceKey(pair), func(c *redisx.Client) (err error) {
		held, _, err = c.CreateFence(ctx, pair, epoch)
		return err
	})
	return held, err
}

func (r *liveRedis) DropShards(ctx context.Context, pair string, shards int) (int, error) {
	keys := []any{wire.SlotsKey(pair)}
	for shard := range shards {
		keys = append(keys, wire.CheckpointKey(pair, shard), wire.IncarnationKey(pair, shard), wire.PendingKey(pair, shard), wire.ScriptsKey(pair, shard))
	}
	return r.del(ctx, pair, keys...)
}

func (r *liveRedis) DropRest(ctx context.Context, pair string) (int, error) {
	state, err := r.site.Observe(ctx)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, shard := range state.Shards {
		err := r.site.OnPod(ctx, shard.Pod, func(c *redisx.Client) error {
			n, err := c.DropPairKeys(ctx, pair)
			removed += n
			return err
		})
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

func (r *liveRedis) DropFence(ctx context.Context, pair string) error {
	_, err := r.del(ctx, pair, wire.FenceKey(pair))
	return err
}

func (r *liveRedis) del(ctx context.Context, pair string, keys ...any) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	var reply any
	err := r.site.Holder(ctx, wire.FenceKey(pair), func(c *redisx.Client) (err error) {
		reply, err = c.Do(ctx, append([]any{"DEL"}, keys...)...)
		return err
	})
	if err != nil {
		return 0, err
	}
	removed, ok := reply.(int64)
	if !ok {
		return 0, errors.New("DEL answered with something other than a number")
	}
	return int(removed), nil
}

func (r *liveRedis) Close() error { return r.site.Close() }
