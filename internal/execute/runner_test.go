package execute

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// memory is a cluster that keeps ConfigMaps only.
type memory struct {
	Cluster // nil: nothing else may be asked
	maps    map[string]*corev1.ConfigMap
	version int
	fail    error
}

func (m *memory) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	if found := m.maps[namespace+"/"+name]; found != nil {
		return found.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (m *memory) store(c *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	if m.fail != nil {
		return nil, m.fail
	}
	m.version++
	c = c.DeepCopy()
	c.ResourceVersion = string(rune('0' + m.version%10))
	m.maps[c.Namespace+"/"+c.Name] = c
	return c.DeepCopy(), nil
}

func (m *memory) CreateConfigMap(_ context.Context, c *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	if m.maps[c.Namespace+"/"+c.Name] != nil {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "configmaps"}, c.Name)
	}
	return m.store(c)
}

func (m *memory) UpdateConfigMap(_ context.Context, c *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	if m.maps[c.Namespace+"/"+c.Name].ResourceVersion != c.ResourceVersion {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, c.Name, errors.New("changed"))
	}
	return m.store(c)
}

func (m *memory) Delete(_ context.Context, ref kube.Ref) error {
	delete(m.maps, ref.Namespace+"/"+ref.Name)
	return nil
}

func newMemory() *memory { return &memory{maps: map[string]*corev1.ConfigMap{}} }

func newRunner(t *testing.T, clusters ...Cluster) *Runner {
	t.Helper()
	records := NewRecords("dr1")
	record := &pair.Record{Pair: "dr1", Phase: pair.PhasePlanned, Epoch: 1, Primary: "a"}
	for i, name := range []string{"a", "b"} {
		record.Body.Spec.Sites = append(record.Body.Spec.Sites, pair.Site{Name: name})
		found, err := records.Add(t.Context(), name, clusters[i], "redis")
		if err != nil {
			t.Fatal(err)
		}
		if found != nil {
			record = found
		}
	}
	operation, err := NewOperation(pair.VerbApply, "me", "dev")
	if err != nil {
		t.Fatal(err)
	}
	return &Runner{Operation: operation, Records: records, Record: record, Progress: &silent{}}
}

func journal(t *testing.T, m *memory) []string {
	t.Helper()
	record, err := pair.RecordFromData(m.maps["redis/redis-sync-dr1"].Data)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range record.Journal {
		lines = append(lines, line.Text)
	}
	return lines
}

// An interruption lets the running step end, says so in the journal, and
// starts no further one.
func TestInterruption(t *testing.T) {
	a, b := newMemory(), newMemory()
	r := newRunner(t, a, b)
	ctx, cancel := context.WithCancelCause(t.Context())
	err := r.Run(ctx,
		Step{Name: "one", Do: func(ctx context.Context) error {
			cancel(errors.New("interrupted"))
			return ctx.Err() // not ended for a step that changes something
		}},
		Step{Name: "two", Do: func(context.Context) error { t.Error("step two ran"); return nil }},
	)
	if fault.ExitCode(err) != fault.CodeInterrupted {
		t.Errorf("error %v", err)
	}
	for _, m := range []*memory{a, b} {
		if got := journal(t, m); !slices.Equal(got, []string{"begin: one", "done: one"}) {
			t.Errorf("journal %q", got)
		}
	}
	err = newRunner(t, a, b).Run(t.Context(), Step{Name: "wait", Waits: true, Do: func(ctx context.Context) error {
		if ctx.Done() == nil {
			t.Error("a step that waits cannot be interrupted")
		}
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestFailedStep(t *testing.T) {
	a, b := newMemory(), newMemory()
	broken := errors.New("broken")
	err := newRunner(t, a, b).Run(t.Context(),
		Step{Name: "one", Do: func(context.Context) error { return broken }},
		Step{Name: "two", Do: func(context.Context) error { t.Error("step two ran"); return nil }},
	)
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if got := journal(t, b); !slices.Equal(got, []string{"begin: one"}) {
		t.Errorf("journal %q", got)
	}
}

// Of two commands that run at once the slower one is told.
func TestTwoCommandsAtOnce(t *testing.T) {
	a, b := newMemory(), newMemory()
	first, second := newRunner(t, a, b), newRunner(t, a, b)
	if err := first.Note(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if err := second.Note(t.Context(), "second"); fault.ExitCode(err) != fault.CodeLocked || fault.Remedy(err) == "" {
		t.Errorf("creating a record that was created meanwhile: %v", err)
	}
	third, fourth := newRunner(t, a, b), newRunner(t, a, b)
	if err := third.Note(t.Context(), "third"); err != nil {
		t.Fatal(err)
	}
	if err := fourth.Note(t.Context(), "fourth"); fault.ExitCode(err) != fault.CodeLocked {
		t.Errorf("writing a record that was written meanwhile: %v", err)
	}
	if got := journal(t, a); !slices.Equal(got, []string{"first", "third"}) {
		t.Errorf("journal %q", got)
	}
}

func TestRecordsComplete(t *testing.T) {
	a, b := newMemory(), newMemory()
	r := newRunner(t, a, b)
	if r.Records.Exists() || r.Records.Complete() {
		t.Error("nothing is there yet")
	}
	b.fail = errors.New("no answer")
	if err := r.Note(t.Context(), "half"); err == nil {
		t.Fatal("a copy could not be written, and nobody was told")
	}
	again := newRunner(t, a, b)
	if !again.Records.Exists() || again.Records.Complete() {
		t.Error("one of two copies is there")
	}
	b.fail = nil
	if err := again.Note(t.Context(), "whole"); err != nil || !again.Records.Complete() {
		t.Errorf("both copies are there: %v", err)
	}
	// Only what this run created is undone: the copy in b.
	if err := again.Records.DeleteCreated(t.Context()); err != nil || len(a.maps) != 1 || len(b.maps) != 0 {
		t.Errorf("left %d and %d copies, %v", len(a.maps), len(b.maps), err)
	}
}

func TestRecording(t *testing.T) {
	a, b := newMemory(), newMemory()
	var recording Recording
	r := newRunner(t, recording.Record("a", a), recording.Record("b", b))
	if err := r.Note(t.Context(), "dry"); err != nil {
		t.Fatal(err)
	}
	if len(a.maps)+len(b.maps) != 0 {
		t.Error("a dry run wrote a record")
	}
	want := []string{"site a: create configmap redis/redis-sync-dr1", "site b: create configmap redis/redis-sync-dr1"}
	if got := recording.Lines(); !slices.Equal(got, want) {
		t.Errorf("recorded %q, expected %q", got, want)
	}
}
