package plan

import (
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// Verify says what a comparison looks at.
type Verify struct {
	Mode         wire.VerifyMode
	SampleKeys   int // of each side, with mode sample
	Rounds       int
	TTLTolerance time.Duration
	Timeout      time.Duration // of the comparison itself
}

// jobReserve is what Kubernetes gives the Job beyond the comparison's own
// timeout: to be scheduled and to pull the image. Only a Job that nobody waits
// for any more gets there.
const jobReserve = 5 * time.Minute

// syncFilePath is where a replicator finds its file.
const syncFilePath = "/etc/sync/sync.toml"

// VerifyJob is the Job that compares both sides of a pair, beside the standby.
// run tells it from others of the same pair.
func VerifyJob(record *pair.Record, namespace, run string, v Verify) (*unstructured.Unstructured, error) {
	tuning := record.Body.Spec.Replicator
	return manifests.Job{
		Name: pair.VerifyName(record.Pair, run), Namespace: namespace, Labels: pair.VerifyLabels(record.Pair, run),
		// Every shard's file names all pods of the source.
		Replicator:       pair.ReplicatorName(record.Pair, record.Standby(), 0),
		Image:            record.Body.Image,
		ImagePullSecrets: tuning.ImagePullSecrets,
		NodeSelector:     tuning.NodeSelector,
		Resources:        resourcesOrDefault(tuning.Resources),
		Args: []string{
			"verify", "--mode", string(v.Mode), "--sample", strconv.Itoa(v.SampleKeys), "--rounds", strconv.Itoa(v.Rounds),
			"--ttl-tolerance", v.TTLTolerance.String(), "--timeout", v.Timeout.String(), "--source-site", record.Primary, syncFilePath,
		},
		DeadlineSeconds: int((v.Timeout + jobReserve) / time.Second),
	}.Render()
}
