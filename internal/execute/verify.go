package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// VerifyOptions of Verify.
type VerifyOptions struct {
	plan.Verify
	Run      string // id of the operation
	Progress func(wire.VerifyProgress)
	// Waiting is told why the comparison has not begun yet; it may be nil.
	Waiting func(reason string)
}

// withDefaults fills what is not set.
func (o VerifyOptions) withDefaults() VerifyOptions {
	if o.Mode == "" {
		o.Mode = wire.VerifyFull
	}
	if o.SampleKeys == 0 {
		o.SampleKeys = wire.DefaultVerifySample
	}
	if o.Rounds == 0 {
		o.Rounds = wire.DefaultVerifyRounds
	}
	if o.TTLTolerance == 0 {
		o.TTLTolerance = wire.DefaultVerifyTTLTolerance
	}
	if o.Timeout == 0 {
		o.Timeout = wire.DefaultVerifyTimeout
	}
	if o.Progress == nil {
		o.Progress = func(wire.VerifyProgress) {}
	}
	if o.Waiting == nil {
		o.Waiting = func(string) {}
	}
	return o
}

// Verify compares the data of both sites of a pair, with a Job beside the
// standby that uses the addresses and the credentials of the replicators; with
// Apart beside the primary. It changes neither side and removes the Job, also
// when ctx ends. The error says that there is no result; sides that differ are
// one.
func Verify(ctx context.Context, s *Session, opts VerifyOptions) (*wire.VerifyResult, error) {
	return verifyAnd(ctx, s, opts, nil)
}

// verifyAnd does something with the pod that has compared, before it is removed.
func verifyAnd(ctx context.Context, s *Session, opts VerifyOptions, then func(ctx context.Context, party *Party, pod string) error) (*wire.VerifyResult, error) {
	opts = opts.withDefaults()
	name, _ := opts.At(s.Record)
	party := s.Parties[name]
	if party.Err != nil {
		return nil, party.Err
	}
	v := &verifier{opts: opts, party: party, pair: s.Name, then: then}
	replicator := pair.ReplicatorName(s.Name, name, 0)
	if _, err := party.Cluster.ConfigMap(ctx, party.Site.Namespace, replicator); err != nil {
		switch {
		case kube.IsNotFound(err) && opts.Apart:
			return nil, fault.New(fault.CodeError, "--discard-divergence with --verify=none goes on without knowing what only the old primary has",
				"site %s: configmap %s/%s does not exist any more: the replicators of the old direction, whose way to both sides would be used, were removed",
				name, party.Site.Namespace, replicator)
		case kube.IsNotFound(err):
			return nil, fault.Refuse("apply the pair first", "site %s: configmap %s/%s does not exist: the pair has no replicators whose way to both sides could be used",
				name, party.Site.Namespace, replicator)
		}
		return nil, err
	}
	job, err := plan.VerifyJob(s.Record, party.Site.Namespace, opts.Run, opts.Verify)
	if err != nil {
		return nil, err
	}
	return v.run(ctx, job)
}

// verifier is one run of Verify.
type verifier struct {
	opts  VerifyOptions
	party *Party
	pair  string
	job   kube.Ref
	then  func(ctx context.Context, party *Party, pod string) error // nil: nothing

	state  string // why there is no result yet
	pod    string // that has the result
	silent bool   // the container had ended and its log held no result
}

// collectTime is what a comparison that has timed out by itself gets to say
// so, and to be seen.
const collectTime = 15 * time.Second

func (v *verifier) run(ctx context.Context, job *unstructured.Unstructured) (*wire.VerifyResult, error) {
	deadline, cancel := context.WithTimeoutCause(ctx, v.opts.Timeout+collectTime, errVerifyTime)
	defer cancel()
	v.job = refOf(job)
	_, err := v.party.Cluster.Apply(deadline, job, kube.ApplyOptions{})
	var result *wire.VerifyResult
	if err == nil {
		result, err = v.wait(deadline)
	}
	if err == nil && v.then != nil {
		v.state = "what it found is being fetched"
		err = v.then(deadline, v.party, v.pod)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = fault.Wrap(fault.CodeInterrupted, "", fmt.Errorf("stopped the comparison: %w", context.Cause(ctx)))
	case errors.Is(context.Cause(deadline), errVerifyTime):
		err = fault.New(fault.CodeTimeout, "allow more time with --timeout, or look at a part with --mode sample",
			"site %s: no result of the comparison after %v: %s", v.party.Site.Name, v.opts.Timeout, v.state)
	}
	// Also when nobody knows whether the Job was made.
	return result, errors.Join(err, v.remove(ctx))
}

var errVerifyTime = errors.New("the time is over")

// wait reads what the Job's pod says until that is a result.
func (v *verifier) wait(ctx context.Context) (*wire.VerifyResult, error) {
	v.state = "its pod does not exist yet"
	for {
		pods, err := v.party.Cluster.Pods(ctx, v.party.Site.Namespace, pair.VerifySelector(v.pair, v.opts.Run))
		switch {
		case err != nil && (ctx.Err() != nil || !kube.IsUnreachable(err)):
			return nil, err
		case err != nil:
			v.state = err.Error()
		case len(pods) > 0:
			result, err := v.look(ctx, &pods[0])
			if result != nil || err != nil && !kube.IsUnreachable(err) {
				return result, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}

// look reads the state and the log of the pod. No result and no error means:
// not yet.
func (v *verifier) look(ctx context.Context, pod *corev1.Pod) (*wire.VerifyResult, error) {
	state := ReplicatorState{}
	running := state.readContainer(pod)
	var ended *corev1.ContainerStateTerminated
	if len(pod.Status.ContainerStatuses) > 0 {
		ended = pod.Status.ContainerStatuses[0].State.Terminated
	}
	switch {
	case pod.Status.Phase == corev1.PodFailed && ended == nil:
		return nil, fmt.Errorf("site %s: pod %s/%s failed: %s", v.party.Site.Name, pod.Namespace, pod.Name,
			strings.TrimSuffix(pod.Status.Reason+": "+pod.Status.Message, ": "))
	case ended == nil && !running:
		v.state = state.Problem
		v.opts.Waiting(state.Problem)
		if state.Fatal {
			return nil, fmt.Errorf("site %s: %s", v.party.Site.Name, state.Problem)
		}
		return nil, nil //nolint:nilnil // not yet
	}
	v.state = "it is still comparing"
	text, err := v.party.Cluster.PodLog(ctx, pod.Namespace, pod.Name, manifests.JobContainer, logLines, false)
	if err != nil && ended == nil && (kube.IsInvalid(err) || kube.IsNotFound(err)) {
		return nil, nil //nolint:nilnil // the kubelet is not as far as the status
	}
	if err != nil {
		return nil, err
	}
	last := lastLine(text)
	switch {
	case last.Result != nil:
		v.pod = pod.Name
		return last.Result, nil
	case last.TimedOut:
		return nil, fault.New(fault.CodeTimeout, "allow more time with --timeout, or look at a part with --mode sample",
			"site %s: %s", v.party.Site.Name, last.Error)
	case last.Error != "":
		return nil, fmt.Errorf("site %s: %s", v.party.Site.Name, last.Error)
	case ended != nil && v.silent:
		return nil, fmt.Errorf("site %s: the comparison ended without a result: %s", v.party.Site.Name, lastWords(pod.Name, ended))
	case ended != nil:
		v.silent = true // once more: a log may come late
	case last.Progress != nil:
		v.opts.Progress(*last.Progress)
		v.state = fmt.Sprintf("in round %d, %d of about %d keys are read, %d differ", last.Progress.Round, last.Progress.Done, last.Progress.Total, last.Progress.Suspects)
	}
	return nil, nil //nolint:nilnil // not yet
}

// logLines is how much of the log is read. Container runtimes cut long lines
// into pieces, and count each as one.
const logLines = 100

// lastLine is the last line of a log that the comparison wrote for us.
func lastLine(text string) wire.VerifyLine {
	var last wire.VerifyLine
	for line := range strings.Lines(text) {
		var read wire.VerifyLine
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &read) == nil &&
			(read.Progress != nil || read.Result != nil || read.Error != "") {
			last = read
		}
	}
	return last
}

// remove deletes the Job with its pod and waits until both are gone, also
// when the user has interrupted.
func (v *verifier) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	err := v.party.Cluster.Delete(ctx, v.job)
	for err == nil {
		var pods []corev1.Pod
		pods, err = v.party.Cluster.Pods(ctx, v.party.Site.Namespace, pair.VerifySelector(v.pair, v.opts.Run))
		if err == nil && len(pods) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			err = errors.New("its pod is still there")
		case <-time.After(pollInterval):
		}
	}
	return fault.Wrap(fault.CodePartial, fmt.Sprintf("kubectl delete job %s -n %s --context %s; or wait, it goes away by itself",
		v.job.Name, v.job.Namespace, v.party.Site.Context), fmt.Errorf("site %s: removing %s: %w", v.party.Site.Name, v.job, err))
}
