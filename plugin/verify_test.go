package plugin

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

const jobsPath = "/apis/batch/v1/namespaces/redis/jobs/"

// jobs makes a pod for every Job of site b, whose container is in that state
// and has written that text, and takes it away with the Job, until the test
// ends. It gives the arguments of the last Job.
func (s *scene) jobs(t *testing.T, status corev1.PodStatus, text string) (args func() []string) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	var last []string
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			pods := map[string]bool{}
			for _, path := range s.b.Paths() {
				name, isJob := strings.CutPrefix(path, jobsPath)
				job := s.b.Object(path)
				if !isJob || job == nil {
					continue
				}
				pods[name+"-pod"] = true
				containers, _, _ := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers")
				last, _, _ = unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
				s.b.SetLog("redis", name+"-pod", text)
				if s.serving != "" {
					s.b.ForwardTo(fmt.Sprintf("redis/%s-pod:%d", name, wire.RescuePort), s.serving)
				}
				s.b.Add(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name + "-pod", Namespace: "redis", Labels: job.GetLabels()}, Status: status})
			}
			for _, path := range s.b.Paths() {
				name, isPod := strings.CutPrefix(path, "/api/v1/namespaces/redis/pods/")
				if isPod && strings.Contains(name, "-verify-") && !pods[name] {
					s.b.Remove(t, path)
				}
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return func() []string { return last }
}

func line(t *testing.T, l wire.VerifyLine) string {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func containerStatus(phase corev1.PodPhase, state corev1.ContainerState) corev1.PodStatus {
	return corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{Name: "verify", State: state}}}
}

var (
	ended   = containerStatus(corev1.PodFailed, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 5, Reason: "Error"}})
	running = containerStatus(corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	waiting = containerStatus(corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}})
)

// TestVerify runs the verb against pods that say what the comparison would.
func TestVerify(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "verify", "dr1", "--context", "site-b").want(t, fault.CodeNotFound)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	// The pods of verify come and go with their Jobs; the rest must stay.
	others := func() []string {
		return slices.DeleteFunc(s.objects(), func(path string) bool { return strings.Contains(path, "/pods/") && strings.Contains(path, "-verify-") })
	}
	before := others()

	equal := &wire.VerifyResult{SchemaVersion: 1, Mode: wire.VerifyFull, Compared: 7, EqualKeys: 7, Rounds: 1, Exact: true, TTLToleranceMS: 1000}
	differ := *equal
	differ.EqualKeys, differ.Different, differ.Rounds, differ.Suspects, differ.Positions, differ.Exact = 6, 1, 3, 1, true, false
	differ.Samples = []wire.VerifySampleKey{{Kind: wire.VerifyDifferent, Key: `"\x1b[31mhash:8"`, Type: "hash", Detail: "elements"}}
	progress := line(t, wire.VerifyLine{Progress: &wire.VerifyProgress{Round: 1, Done: 3, Total: 7}})
	for _, c := range []struct {
		name   string
		status corev1.PodStatus
		log    string
		args   string
		code   int
		texts  []string
	}{
		{"equal", ended, "time=x level=INFO\n" + progress + line(t, wire.VerifyLine{Result: equal}), "", 0, []string{"7 equal", "exact", "both sides hold the same"}},
		{"different", ended, progress + line(t, wire.VerifyLine{Result: &differ}), "", fault.CodeDiffers, []string{"1 different", `"\x1b[31mhash:8": elements`, "equal positions"}},
		{"as JSON", ended, line(t, wire.VerifyLine{Result: &differ}), "-o json", fault.CodeDiffers, []string{`"different": 1`, `"detail": "elements"`}},
		{"as YAML", ended, line(t, wire.VerifyLine{Result: equal}), "-o yaml", 0, []string{"exact: true"}},
		{"error", ended, progress + line(t, wire.VerifyLine{Error: "site redis-a: DUMP: NOPERM"}), "", fault.CodeError, []string{"DUMP: NOPERM"}},
		{"its own timeout", ended, line(t, wire.VerifyLine{Error: "timed out in round 1", TimedOut: true}), "", fault.CodeTimeout, []string{"timed out in round 1", "--timeout"}},
		{"no result", ended, "panic: something\n", "", fault.CodeError, []string{"ended without a result", "exit code 5"}},
		{"no image", waiting, "", "", fault.CodeError, []string{"ImagePullBackOff", "no such image"}},
		{"evicted", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "the node is full"}, "", "", fault.CodeError, []string{"Evicted: the node is full"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := s.jobs(t, c.status, c.log)
			r := run(t, append([]string{"verify", "dr1", "--context", "site-b", "--mode", "sample", "--sample", "77"}, strings.Fields(c.args)...)...)
			r.want(t, c.code, c.texts...)
			if got := strings.Join(args(), " "); !strings.HasPrefix(got, "verify --mode sample --sample 77 --rounds 8 ") || !strings.Contains(got, "--source-site redis-a /etc/sync/sync.toml") {
				t.Errorf("the Job runs %q", got)
			}
			if after := others(); !slices.Equal(before, after) {
				t.Errorf("objects after it:\n%v\nbefore:\n%v", after, before)
			}
		})
	}
	for _, bad := range []string{"--mode all", "--sample 0", "--rounds 0", "--timeout 0s", "-o wide"} {
		run(t, append([]string{"verify", "dr1", "--context", "site-b"}, strings.Fields(bad)...)...).want(t, fault.CodeError)
	}
	s.b.Deny("get", "pods/log")
	run(t, "verify", "dr1", "--context", "site-b").want(t, fault.CodeAuth, "redis-sync-verify-standby", "pods/log")
}

// TestVerifyInterrupted: ^C takes the Job away too.
func TestVerifyInterrupted(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.jobs(t, running, line(t, wire.VerifyLine{Progress: &wire.VerifyProgress{Round: 1, Done: 3, Total: 7}}))
	hasJob := func() bool {
		return slices.ContainsFunc(s.b.Paths(), func(path string) bool { return strings.HasPrefix(path, jobsPath) })
	}
	interrupted := make(chan result)
	go func() { interrupted <- run(t, "verify", "dr1", "--context", "site-b") }()
	testredis.Eventually(t, 30*time.Second, "the Job", hasJob)
	interrupt(t)
	if r := <-interrupted; r.code != fault.CodeInterrupted {
		t.Errorf("exit code %d\n%s", r.code, r.errOut)
	}
	if hasJob() {
		t.Error("the Job is still there")
	}
}

// interrupt sends this process what ^C sends; Execute is listening.
func interrupt(t *testing.T) {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(os.Interrupt)
	}
	if err != nil {
		t.Fatal(err)
	}
}
