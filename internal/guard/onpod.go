package guard

import (
	"context"

	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
)

// OnPod runs do on one data pod.
func (s *Site) OnPod(ctx context.Context, pod string, do func(*redisx.Client) error) error {
	return s.pod(ctx, pod, do)
}
