package execute

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// silent is a Progress that remembers what it was shown last.
type silent struct {
	steps  []string
	shards []ShardProgress
}

func (s *silent) StepStarted(name string)                { s.steps = append(s.steps, name) }
func (s *silent) StepEnded(string, error, time.Duration) {}
func (s *silent) Shards(shards []ShardProgress)          { s.shards = shards }
func state(shard int, status *wire.Status) ReplicatorState {
	return ReplicatorState{Shard: shard, Exists: true, Replicas: 1, Deployment: "d", Checksum: "now", Status: status}
}

func inSync() *wire.Status {
	return &wire.Status{Phase: wire.PhaseStreaming, InSync: true, Complete: true}
}

func TestWaitInSync(t *testing.T) {
	syncing := &wire.Status{Phase: wire.PhaseFullSync, FullSync: wire.FullSyncStatus{Keys: 5, TotalKeys: 50}}
	failed := state(1, &wire.Status{Phase: wire.PhaseFailed, Error: "type 99"})
	failed.Problem, failed.Fatal = "type 99", true
	oldPod := state(1, inSync())
	oldPod.Checksum = "before"
	oldFailed := failed
	oldFailed.Checksum = "before"
	rounds := func(rounds ...[]ReplicatorState) func(context.Context) ([]ReplicatorState, error) {
		return func(context.Context) ([]ReplicatorState, error) {
			now := rounds[0]
			if len(rounds) > 1 {
				rounds = rounds[1:]
			}
			return now, nil
		}
	}
	both := []ReplicatorState{state(0, inSync()), state(1, inSync())}
	for name, test := range map[string]struct {
		read func(context.Context) ([]ReplicatorState, error)
		code int
		text string
	}{
		"at once":                   {rounds(both), 0, ""},
		"after a while":             {rounds([]ReplicatorState{state(0, inSync()), state(1, syncing)}, both), 0, ""},
		"never":                     {rounds([]ReplicatorState{state(0, inSync()), state(1, syncing)}), fault.CodeTimeout, "shard 1: FullSync: 5 of about 50 keys"},
		"stopped":                   {rounds([]ReplicatorState{state(0, inSync()), failed}), fault.CodeError, "replicator d: type 99"},
		"the old pod is in sync":    {rounds([]ReplicatorState{state(0, inSync()), oldPod}), fault.CodeTimeout, ""},
		"the old pod had failed":    {rounds([]ReplicatorState{state(0, inSync()), oldFailed}, both), 0, ""},
		"the site refuses":          {func(context.Context) ([]ReplicatorState, error) { return nil, errors.New("no answer") }, fault.CodeError, "no answer"},
		"in sync but another fails": {rounds([]ReplicatorState{failed, state(1, inSync())}), fault.CodeError, "type 99"},
	} {
		t.Run(name, func(t *testing.T) {
			progress := &silent{}
			_, err := WaitInSync(t.Context(), "redis-b", []string{"now", "now"}, 1200*time.Millisecond, progress, test.read)
			if fault.ExitCode(err) != test.code || (err != nil && !strings.Contains(err.Error(), test.text)) {
				t.Errorf("code %d, %v; expected code %d, %s", fault.ExitCode(err), err, test.code, test.text)
			}
			if test.code == fault.CodeOK && !progress.shards[1].InSync {
				t.Errorf("shown %+v", progress.shards)
			}
		})
	}
}

func TestWaitStopsWithTheUser(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	_, err := WaitInSync(ctx, "redis-b", []string{"now"}, time.Hour, &silent{}, func(context.Context) ([]ReplicatorState, error) {
		return []ReplicatorState{state(0, &wire.Status{Phase: wire.PhaseFullSync})}, nil
	})
	if fault.ExitCode(err) != fault.CodeInterrupted || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v", err)
	}
}

func TestReadContainer(t *testing.T) {
	with := func(s corev1.ContainerStatus) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{s}}}
	}
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	ended := func(code int32, reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	unscheduled := with(corev1.ContainerStatus{State: running})
	unscheduled.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "no room"}}
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		runs    bool
		fatal   bool
		problem string
	}{
		"runs":                {with(corev1.ContainerStatus{State: running}), true, false, ""},
		"runs after a crash":  {with(corev1.ContainerStatus{State: running, LastTerminationState: ended(1, "Error", "x")}), true, false, ""},
		"not there yet":       {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, false, false, "pod p is starting"},
		"being created":       {with(corev1.ContainerStatus{State: waiting("ContainerCreating", "")}), false, false, "pod p: ContainerCreating"},
		"no image":            {with(corev1.ContainerStatus{State: waiting("ImagePullBackOff", "no such image")}), false, true, "ImagePullBackOff: no such image"},
		"no Secret":           {with(corev1.ContainerStatus{State: waiting("CreateContainerConfigError", "secret x not found")}), false, true, "secret x not found"},
		"crashes":             {with(corev1.ContainerStatus{State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended(1, "Error", "a\nlast words\n")}), false, true, "pod p ended with exit code 1: last words"},
		"out of memory":       {with(corev1.ContainerStatus{State: ended(137, "OOMKilled", "")}), false, true, "exit code 137 (OOMKilled)"},
		"ended as it should":  {with(corev1.ContainerStatus{State: ended(0, "Completed", "")}), false, false, "exit code 0"},
		"not to be scheduled": {unscheduled, false, false, "is not scheduled: no room"},
	} {
		t.Run(name, func(t *testing.T) {
			var s ReplicatorState
			if runs := s.readContainer(test.pod); runs != test.runs || s.Fatal != test.fatal || !strings.Contains(s.Problem, test.problem) || (test.problem == "") != (s.Problem == "") {
				t.Errorf("runs %v, fatal %v, problem %q; expected %v, %v, %q", runs, s.Fatal, s.Problem, test.runs, test.fatal, test.problem)
			}
		})
	}
}

func TestCurrentPod(t *testing.T) {
	pod := func(name, shard string, age time.Duration, leaving bool) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{pair.LabelShard: shard}, CreationTimestamp: metav1.NewTime(time.Unix(1000, 0).Add(-age)),
		}}
		if leaving {
			p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1000, 0)}
		}
		return p
	}
	pods := []corev1.Pod{pod("old", "1", time.Hour, false), pod("new", "1", time.Minute, false), pod("leaving", "1", 0, true), pod("other", "2", 0, false), pod("gone", "3", 0, true)}
	for shard, want := range map[int]string{1: "new", 2: "other", 3: "gone"} {
		if got := currentPod(pods, shard); got == nil || got.Name != want {
			t.Errorf("shard %d: pod %v, expected %s", shard, got, want)
		}
	}
	if got := currentPod(pods, 0); got != nil {
		t.Errorf("shard 0 has pod %s", got.Name)
	}
}

func TestLivePhase(t *testing.T) {
	record := func(primary string) *pair.Record {
		return &pair.Record{Primary: primary, Body: pair.Body{Spec: pair.Spec{PreferredPrimary: "a", Sites: []pair.Site{{Name: "a"}, {Name: "b"}}}}}
	}
	status := func(phase wire.Phase, complete, inSync bool) ReplicatorState {
		return state(0, &wire.Status{Phase: phase, Complete: complete, InSync: inSync})
	}
	good, silentPod := status(wire.PhaseStreaming, true, true), ReplicatorState{Problem: "no pod yet"}
	fatal := ReplicatorState{Fatal: true}
	for name, test := range map[string]struct {
		shards        []ReplicatorState
		forward, back pair.Phase
	}{
		"in sync":      {[]ReplicatorState{good, good}, pair.PhaseInSync, pair.PhaseRecoverInSync},
		"full copy":    {[]ReplicatorState{good, status(wire.PhaseFullSync, false, false)}, pair.PhaseSyncing, pair.PhaseRecovering},
		"behind":       {[]ReplicatorState{good, status(wire.PhaseStreaming, true, false)}, pair.PhaseLagging, pair.PhaseLagging},
		"source gone":  {[]ReplicatorState{good, status(wire.PhaseConnecting, true, false)}, pair.PhaseStalled, pair.PhaseStalled},
		"fenced":       {[]ReplicatorState{good, status(wire.PhaseFenced, true, false)}, pair.PhaseStalled, pair.PhaseStalled},
		"no pod":       {[]ReplicatorState{good, silentPod}, pair.PhaseStalled, pair.PhaseStalled},
		"one stopped":  {[]ReplicatorState{good, fatal}, pair.PhaseFailed, pair.PhaseFailed},
		"nothing runs": {nil, pair.PhasePlanned, pair.PhasePlanned},
	} {
		if got := livePhase(record("a"), test.shards); got != test.forward {
			t.Errorf("%s: %s, expected %s", name, got, test.forward)
		}
		if got := livePhase(record("b"), test.shards); got != test.back {
			t.Errorf("%s, the other way: %s, expected %s", name, got, test.back)
		}
	}
	paused := record("a")
	paused.Paused = true
	if got := livePhase(paused, []ReplicatorState{silentPod}); got != pair.PhasePaused {
		t.Errorf("paused: %s", got)
	}
}
