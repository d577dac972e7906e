package redisx

import (
	"context"
	"errors"
	"maps"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// Observed is what a server says of itself in one round trip.
type Observed struct {
	Info         Info // sections server and replication
	MinReplicas  MinReplicas
	Users        []ACLUser
	ACLErr       error  // why Users are not known (ErrNoACL)
	Fence        int64  // 0: the key is missing, or not of this node's slots
	ClusterNodes string // of a cluster's node
}

// Observe asks for it.
func (c *Client) Observe(ctx context.Context, pair string, cluster bool) (Observed, error) {
	var o Observed
	pipe := c.rdb.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	config := pipe.ConfigGet(ctx, "min-*")
	users := pipe.Do(ctx, "ACL", "LIST")
	fence := pipe.Get(ctx, wire.FenceKey(pair))
	var nodes *redis.StringCmd
	if cluster {
		nodes = pipe.ClusterNodes(ctx)
	}
	_, err := pipe.Exec(ctx)
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) {
		return o, c.wrap("INFO", err)
	}
	for _, section := range []*redis.StringCmd{server, replication} {
		if err := section.Err(); err != nil {
			return o, c.wrap("INFO", err)
		}
	}
	o.Info = fields(server.Val())
	maps.Copy(o.Info, fields(replication.Val()))
	if err := config.Err(); err != nil {
		return o, c.wrap("CONFIG GET", err)
	}
	o.MinReplicas, _ = minReplicas(config.Val())
	if lines, err := users.StringSlice(); err != nil {
		o.ACLErr = c.noACL("ACL LIST", err)
	} else if o.Users, o.ACLErr = ParseACLList(lines); o.ACLErr != nil {
		return o, c.wrap("ACL LIST", o.ACLErr)
	}
	switch err := fence.Err(); {
	case err == nil:
		o.Fence, err = strconv.ParseInt(fence.Val(), 10, 64)
		if err != nil || o.Fence < 1 {
			return o, c.wrap("GET of the fence key", errors.New(wire.FenceKey(pair)+" holds no epoch"))
		}
	case errors.Is(err, redis.Nil), cluster && errors.As(err, &reply):
		// Missing, or another node's.
	default:
		return o, c.wrap("GET of the fence key", err)
	}
	if nodes != nil {
		if err := nodes.Err(); err != nil {
			return o, c.wrap("CLUSTER NODES", err)
		}
		o.ClusterNodes = nodes.Val()
	}
	return o, nil
}
