package sites

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestCreatableKeepsTheFixture compares what we create with the fixture, as
// Compare does with live objects.
func TestCreatableKeepsTheFixture(t *testing.T) {
	for _, s := range scenarios {
		for _, p := range s.Placements {
			objects, err := p.Read()
			if err != nil {
				t.Fatal(err)
			}
			if len(objects.Pods) != 6 {
				t.Errorf("%s: %d pods", p.Fixture, len(objects.Pods))
			}
			for _, o := range append(objects.Children, objects.CR) {
				made := Creatable(o, "our/image:1", "the-uid")
				for _, d := range diffObject(o, made) {
					t.Errorf("%s: %s: %s", p.Fixture, describe(o), d)
				}
				if made.GetUID() != "" || made.GetResourceVersion() != "" || len(made.GetFinalizers()) != 0 {
					t.Errorf("%s: %s keeps what a server sets", p.Fixture, describe(o))
				}
				for _, ref := range made.GetOwnerReferences() {
					if ref.UID != "the-uid" {
						t.Errorf("%s: %s is owned by %s", p.Fixture, describe(o), ref.UID)
					}
				}
				if body := string(mustJSON(t, made)); strings.Contains(body, "elided") {
					t.Errorf("%s: %s has a script without a body", p.Fixture, describe(o))
				}
			}
		}
	}
}

// TestDiffSeesDrift plants one difference at a time.
func TestDiffSeesDrift(t *testing.T) {
	scenario, err := Find("default")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := scenario.Placements[0].Read()
	if err != nil {
		t.Fatal(err)
	}
	find := func(kind, name string) *unstructured.Unstructured {
		for _, o := range append(objects.Children, objects.Pods...) {
			if o.GetKind() == kind && o.GetName() == name {
				return o
			}
		}
		t.Fatalf("no %s %s", kind, name)
		return nil
	}
	set := func(value any, path ...string) func(map[string]any) {
		return func(o map[string]any) {
			if err := unstructured.SetNestedField(o, value, path...); err != nil {
				t.Fatal(err)
			}
		}
	}
	firstContainer := func(o map[string]any) map[string]any {
		list, _, _ := unstructured.NestedSlice(o, "spec", "template", "spec", "containers")
		if err := unstructured.SetNestedSlice(o, list, "spec", "template", "spec", "containers"); err != nil {
			t.Fatal(err)
		}
		return o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
	}
	cases := []struct {
		kind, name, want string
		change           func(map[string]any)
	}{
		{"StatefulSet", "redis-a-leader", "spec.replicas", set(int64(2), "spec", "replicas")},
		{"StatefulSet", "redis-a-leader", "metadata.labels.extra", set("x", "metadata", "labels", "extra")},
		{"StatefulSet", "redis-a-leader", "spec.template.metadata.labels.cluster", set("y", "spec", "template", "metadata", "labels", "cluster")},
		{"StatefulSet", "redis-a-leader", "env", func(o map[string]any) {
			c := firstContainer(o)
			c["env"] = c["env"].([]any)[1:]
		}},
		{"StatefulSet", "redis-a-leader", "metadata.ownerReferences", set([]any{}, "metadata", "ownerReferences")},
		{"Service", "redis-a-master", "spec.selector.redis-role", set("slave", "spec", "selector", "redis-role")},
		{"Service", "redis-a-master", "spec.selector.more", set("x", "spec", "selector", "more")},
		{"Secret", "redis-a-auth", "data.password", set("eA==", "data", "password")},
		{"Pod", "redis-a-leader-0", "metadata.labels.redis-role", func(o map[string]any) {
			unstructured.RemoveNestedField(o, "metadata", "labels", "redis-role")
		}},
	}
	for _, c := range cases {
		want := find(c.kind, c.name)
		live := want.DeepCopy()
		c.change(live.Object)
		if diff := strings.Join(diffObject(want, live), "\n"); !strings.Contains(diff, c.want) {
			t.Errorf("%s %s: change of %s not seen; diff is %q", c.kind, c.name, c.want, diff)
		}
	}
	// What is moved at run time is no drift.
	pod := find("Pod", "redis-a-leader-0")
	moved := pod.DeepCopy()
	labels := moved.GetLabels()
	labels["redis-role"], labels["controller-revision-hash"] = "slave", "other"
	moved.SetLabels(labels)
	if diff := diffObject(pod, moved); len(diff) != 0 {
		t.Errorf("a moved role label counts as drift: %v", diff)
	}
}

func mustJSON(t *testing.T, o *unstructured.Unstructured) []byte {
	body, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return body
}
