package compare

import (
	"os"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestMain fails when a test leaves a part of the engine running.
func TestMain(m *testing.M) { os.Exit(testredis.Main(m, "kubectl-redis-sync/sidecar")) }
