package execute

import (
	"context"

	"github.com/redis-sync/kubectl-redis-sync/internal/guard"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// Finder looks into the Redis of a site. The real one asks the pods through
// the API server; tests have one of their own.
type Finder interface {
	// Discover says what the instance is, with its shards and roles as Redis
	// itself says them now.
	Discover(ctx context.Context, party *Party) (*topology.Instance, error)
	// Credentials reads the Secrets that the instance's objects, or the pair,
	// point at.
	Credentials(ctx context.Context, party *Party, inst *topology.Instance) (Credentials, error)
	// Preflight looks for what would make a copy fail or lose data.
	Preflight(ctx context.Context, source, target *Found, q PreflightQuestion) (*PreflightAnswer, error)
	// Reach tries the way from a pod of the target to the source.
	Reach(ctx context.Context, source, target *Found, endpoints []plan.Endpoint) ([]topology.Finding, error)
	// Redis opens the keys of ours in an instance.
	Redis(ctx context.Context, found *Found) (Redis, error)
	// Guard opens the pods of an instance, to keep others from writing there.
	Guard(ctx context.Context, found *Found) (Guard, error)
}

// Credentials of an instance. A nil password means: no authentication.
type Credentials struct {
	Username         string
	Password         []byte
	SentinelPassword []byte
	CA, Cert, Key    []byte
}

// Found is a site with what was found there.
type Found struct {
	Party       *Party
	Instance    *topology.Instance
	Credentials Credentials
	Pair        string
	// Vault of a standby: the credentials of the one user that may write.
	Vault *guard.Vault
}

// PreflightQuestion is what the checks depend on beside the two instances.
type PreflightQuestion struct {
	// Established: this pair has copied before, so keys in the target are ours.
	Established bool
	// StaleKeys is what the user chose; the unset policy refuses a target that
	// holds keys.
	StaleKeys pair.StaleKeysPolicy
	// Endpoints reach the source already and are to be tried.
	Endpoints []plan.Endpoint
}

// PreflightAnswer is what the checks found.
type PreflightAnswer struct {
	Findings   []topology.Finding
	Keys       int64 // of the source
	Bytes      int64 // of its data set in memory
	TargetKeys int64 // that are not ours
}
