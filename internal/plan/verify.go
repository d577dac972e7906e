package plan

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
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
	// Apart: the old primary is compared with the new one, before anything is
	// copied back. The Job runs beside the new one, and uses the replicators of
	// the old direction, which stand still.
	Apart bool
	// Rescue, with Apart, lets the Job give away what only the old primary has.
	Rescue *rescue.Header
	// Image of the Job; "" is that of the replicators.
	Image string
}

// At says at which site the Job runs, and which one is then compared with it.
func (v Verify) At(record *pair.Record) (site, source string) {
	if v.Apart {
		return record.Primary, record.Standby()
	}
	return record.Standby(), record.Primary
}

// jobReserve is what Kubernetes gives the Job beyond the comparison's own
// timeout: to be scheduled and to pull the image. Only a Job that nobody waits
// for any more gets there.
const jobReserve = 5 * time.Minute

// syncFilePath is where a replicator finds its file.
const syncFilePath = "/etc/sync/sync.toml"

// VerifyJob is the Job that compares both sides of a pair, beside the standby
// or, with Apart, beside the primary. run tells it from others of the same pair.
func VerifyJob(record *pair.Record, namespace, run string, v Verify) (*unstructured.Unstructured, error) {
	tuning := record.Body.Spec.Replicator
	site, source := v.At(record)
	image := v.Image
	if image == "" {
		image = record.Body.Image
	}
	args := []string{
		"verify", "--mode", string(v.Mode), "--sample", strconv.Itoa(v.SampleKeys), "--rounds", strconv.Itoa(v.Rounds),
		"--ttl-tolerance", v.TTLTolerance.String(), "--timeout", v.Timeout.String(), "--source-site", source,
	}
	if v.Apart {
		args = append(args, "--apart")
	}
	if v.Rescue != nil {
		header, err := json.Marshal(v.Rescue)
		if err != nil {
			return nil, fmt.Errorf("what the rescue file says of itself: %w", err)
		}
		args = []string{"rescue", "--header", string(header), "--ttl-tolerance", v.TTLTolerance.String(), "--timeout", v.Timeout.String()}
	}
	return manifests.Job{
		Name: pair.VerifyName(record.Pair, run), Namespace: namespace, Labels: pair.VerifyLabels(record.Pair, run),
		// Every shard's file names all pods of the source.
		Replicator:       pair.ReplicatorName(record.Pair, site, 0),
		Image:            image,
		ImagePullSecrets: tuning.ImagePullSecrets,
		NodeSelector:     tuning.NodeSelector,
		Resources:        resourcesOrDefault(tuning.Resources),
		Args:             append(args, syncFilePath),
		DeadlineSeconds:  int((v.Timeout + jobReserve) / time.Second),
	}.Render()
}
