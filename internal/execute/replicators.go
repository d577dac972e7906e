package execute

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

var deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

// ReplicatorState is what is known of the replicator of one shard.
type ReplicatorState struct {
	Shard      int          `json:"shard"`
	Slots      string       `json:"slots"`
	Deployment string       `json:"deployment"`
	Exists     bool         `json:"exists"`   // the Deployment does
	Replicas   int64        `json:"replicas"` // 0: paused
	Pod        string       `json:"pod,omitempty"`
	Node       string       `json:"node,omitempty"`
	Ready      bool         `json:"ready"`
	Restarts   int32        `json:"restarts"`
	Checksum   string       `json:"-"` // of the configuration that the pod runs
	wanted     string       // of the configuration that the Deployment asks for
	Problem    string       `json:"problem,omitempty"` // why there is no status, or why the pod does not run
	Fatal      bool         `json:"fatal,omitempty"`   // waiting cannot mend the problem
	Status     *wire.Status `json:"status,omitempty"`  // as the replicator itself says
}

// InSync tells whether the replicator says so.
func (s ReplicatorState) InSync() bool { return s.Status != nil && s.Status.InSync }

// Replicators looks at the replicators that write to a site.
func Replicators(ctx context.Context, c ClusterReader, namespace, pairName, site string, shards []pair.ShardState) ([]ReplicatorState, error) {
	deployments, err := c.ListOwned(ctx, namespace, pairName, deploymentKind)
	if err != nil {
		return nil, fmt.Errorf("listing the replicators of pair %s: %w", pairName, err)
	}
	pods, err := c.Pods(ctx, namespace, pair.Selector(pairName)+","+pair.LabelSite+"="+site)
	if err != nil {
		return nil, fmt.Errorf("listing the pods of the replicators of pair %s: %w", pairName, err)
	}
	states := make([]ReplicatorState, len(shards))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for ordinal := range shards {
		state := &states[ordinal]
		state.Shard, state.Slots = ordinal, shards[ordinal].Slots.String()
		state.Deployment = pair.ReplicatorName(pairName, site, ordinal)
		state.readDeployment(deployments)
		pod := currentPod(pods, ordinal)
		group.Go(func() error {
			state.readPod(ctx, c, pod)
			return nil
		})
	}
	return states, group.Wait()
}

func (s *ReplicatorState) readDeployment(all []unstructured.Unstructured) {
	for _, d := range all {
		if d.GetName() != s.Deployment {
			continue
		}
		s.Exists = true
		if replicas, found, err := unstructured.NestedInt64(d.Object, "spec", "replicas"); err == nil && found {
			s.Replicas = replicas
		}
		if sum, found, err := unstructured.NestedString(d.Object, "spec", "template", "metadata", "annotations", manifests.ChecksumAnnotation); err == nil && found {
			s.wanted = sum
		}
		return
	}
	s.Problem = "deployment " + s.Deployment + " does not exist"
}

// currentPod is the newest pod of a shard that is not going away; one that is,
// when there is no other.
func currentPod(pods []corev1.Pod, shard int) *corev1.Pod {
	var own []corev1.Pod
	for _, pod := range pods {
		if pod.Labels[pair.LabelShard] == strconv.Itoa(shard) {
			own = append(own, pod)
		}
	}
	if len(own) == 0 {
		return nil
	}
	newest := slices.MaxFunc(own, func(a, b corev1.Pod) int {
		aStays, bStays := a.DeletionTimestamp == nil, b.DeletionTimestamp == nil
		if aStays != bStays {
			if aStays {
				return 1
			}
			return -1
		}
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return &newest
}

func (s *ReplicatorState) readPod(ctx context.Context, c ClusterReader, pod *corev1.Pod) {
	if pod == nil {
		switch {
		case s.Problem != "":
		case s.Exists && s.Replicas == 0:
			s.Problem = "paused"
		default:
			s.Problem = "no pod yet"
		}
		return
	}
	s.Pod, s.Node = pod.Name, pod.Spec.NodeName
	s.Checksum = pod.Annotations[manifests.ChecksumAnnotation]
	if pod.DeletionTimestamp != nil {
		s.Problem = "pod " + pod.Name + " is terminating"
		return
	}
	running := s.readContainer(pod)
	if !running {
		return
	}
	body, err := c.PodProxyGet(ctx, pod.Namespace, pod.Name, wire.DefaultMetricsPort, "/status")
	if err != nil {
		s.Problem = "no answer from the replicator: " + err.Error()
		return
	}
	status, err := wire.ParseStatus(body)
	if err != nil {
		s.Problem = "pod " + pod.Name + ": " + err.Error()
		return
	}
	s.Status = status
	if status.Phase == wire.PhaseFailed {
		s.Problem, s.Fatal = status.Error, true
	}
}

// unstartable are reasons of a waiting container that do not pass by
// themselves soon.
var unstartable = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
	"CreateContainerConfigError", "CreateContainerError", "RunContainerError",
}

// readContainer says whether the replicator's process runs, and if not, why.
func (s *ReplicatorState) readContainer(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			s.Ready = condition.Status == corev1.ConditionTrue
		}
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			s.Problem = "pod " + pod.Name + " is not scheduled: " + condition.Message
			return false
		}
	}
	if len(pod.Status.ContainerStatuses) == 0 {
		s.Problem = "pod " + pod.Name + " is starting"
		return false
	}
	container := pod.Status.ContainerStatuses[0]
	s.Restarts = container.RestartCount
	if ended := cmp.Or(container.State.Terminated, container.LastTerminationState.Terminated); ended != nil && container.State.Running == nil {
		s.Problem, s.Fatal = lastWords(pod.Name, ended), ended.ExitCode != 0
		return false
	}
	if waiting := container.State.Waiting; waiting != nil {
		s.Problem = fmt.Sprintf("pod %s: %s", pod.Name, strings.TrimSuffix(waiting.Reason+": "+waiting.Message, ": "))
		s.Fatal = slices.Contains(unstartable, waiting.Reason)
		return false
	}
	return container.State.Running != nil
}

// lastWords is the last line that a replicator wrote before it ended.
func lastWords(pod string, ended *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("pod %s ended with exit code %d", pod, ended.ExitCode)
	if ended.Reason != "" && ended.Reason != "Error" && ended.Reason != "Completed" {
		text += " (" + ended.Reason + ")"
	}
	lines := strings.Split(strings.TrimSpace(ended.Message), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		text += ": " + last
	}
	return text
}

// refOf names an object of ours without a precondition.
func refOf(object *unstructured.Unstructured) kube.Ref {
	ref := kube.RefOf(object)
	ref.UID, ref.ResourceVersion = "", ""
	return ref
}
