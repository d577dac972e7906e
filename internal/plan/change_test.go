package plan

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func withServerFields(object *unstructured.Unstructured) *unstructured.Unstructured {
	live := object.DeepCopy()
	live.SetUID("u-1")
	live.SetResourceVersion("7")
	live.SetGeneration(3)
	live.SetManagedFields(nil)
	live.Object["status"] = map[string]any{"readyReplicas": int64(1)}
	return live
}

func TestDecide(t *testing.T) {
	objects := objectsOf(t, testLink(t, clusterInstance(), sentinelInstance()))
	deployment := objects[slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })]
	set := func(o *unstructured.Unstructured, value any, path ...string) *unstructured.Unstructured {
		changed := o.DeepCopy()
		if err := unstructured.SetNestedField(changed.Object, value, path...); err != nil {
			t.Fatal(err)
		}
		return changed
	}
	live := set(withServerFields(deployment), "Always", "spec", "template", "spec", "restartPolicy") // a default
	later := live.DeepCopy()
	later.SetResourceVersion("8")
	for name, test := range map[string]struct {
		observed Observed
		action   Action
		reason   string
	}{
		"absent":               {Observed{Desired: deployment, Purpose: "why"}, ActionCreate, "why"},
		"as applied":           {Observed{Desired: deployment, Live: live, Applied: later}, ActionNone, ""},
		"another image":        {Observed{Desired: deployment, Live: live, Applied: set(live, "x", "spec", "paused")}, ActionUpdate, "differs: spec.paused"},
		"only read, the same":  {Observed{Desired: deployment, Live: live}, ActionNone, ""},
		"only read, different": {Observed{Desired: deployment, Live: set(live, int64(0), "spec", "replicas")}, ActionUpdate, "differs: spec.replicas"},
		"only read, a list":    {Observed{Desired: deployment, Live: set(live, []any{}, "spec", "template", "spec", "tolerations")}, ActionUpdate, "spec.template.spec.tolerations"},
	} {
		t.Run(name, func(t *testing.T) {
			change := Decide("redis-b", test.observed)
			if change.Action != test.action || !strings.Contains(change.Reason, test.reason) {
				t.Errorf("%s: %s, expected %s: %s", change.Action, change.Reason, test.action, test.reason)
			}
		})
	}
}

func TestPruneAndOrder(t *testing.T) {
	objects := objectsOf(t, testLink(t, clusterInstance(), sentinelInstance()))
	desired := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool {
		return strings.HasSuffix(o.GetName(), "-2") // one shard and two pods less
	})
	changes := Prune("redis-b", objects, desired)
	for _, object := range desired {
		changes = append(changes, Decide("redis-a", Observed{Desired: object, Live: withServerFields(object)}))
	}
	counts := Count(changes)
	if counts.Delete != 5 || counts.None != len(desired) || !counts.Changes() {
		t.Errorf("counts %+v", counts)
	}
	Sort(changes, "redis-a", "redis-b")
	var deleted []string
	for i, change := range changes {
		if change.Site == "redis-b" {
			deleted = append(deleted, change.Kind)
			if i < len(desired) {
				t.Errorf("change %d of site redis-b comes before those of redis-a", i)
			}
		}
		if change.Action == ActionDelete && change.Kind == "Service" && !strings.Contains(change.Reason, "gives up node port 3000") {
			t.Errorf("reason %q does not name the node port", change.Reason)
		}
	}
	if want := []string{"Deployment", "ConfigMap", "Secret", "Service", "Service"}; !slices.Equal(deleted, want) {
		t.Errorf("deletions in the order %v, expected %v", deleted, want)
	}
}
