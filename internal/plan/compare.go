package plan

import (
	"fmt"
	"reflect"
	"sort"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// serverFields of metadata are written by the API server alone.
var serverFields = []string{
	"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink",
	"deletionTimestamp", "deletionGracePeriodSeconds",
}

// stable is the part of an object that an apply can change.
func stable(object *unstructured.Unstructured) map[string]any {
	copied := object.DeepCopy().Object
	delete(copied, "status")
	if metadata, ok := copied["metadata"].(map[string]any); ok {
		for _, field := range serverFields {
			delete(metadata, field)
		}
	}
	return copied
}

// differences lists the paths at which a and b differ.
func differences(path string, a, b any) []string {
	mapA, isMapA := a.(map[string]any)
	mapB, isMapB := b.(map[string]any)
	if isMapA && isMapB {
		var paths []string
		for _, name := range unionKeys(mapA, mapB) {
			paths = append(paths, differences(child(path, name), mapA[name], mapB[name])...)
		}
		return paths
	}
	listA, isListA := a.([]any)
	listB, isListB := b.([]any)
	if isListA && isListB && len(listA) == len(listB) {
		var paths []string
		for i := range listA {
			paths = append(paths, differences(fmt.Sprintf("%s[%d]", path, i), listA[i], listB[i])...)
		}
		return paths
	}
	if equal(a, b) {
		return nil
	}
	return []string{path}
}

// missing lists the paths at which live has not what desired says. What
// desired does not mention may be anything.
func missing(path string, live, desired any) []string {
	switch want := desired.(type) {
	case map[string]any:
		have, ok := live.(map[string]any)
		if !ok {
			return []string{path}
		}
		var paths []string
		for _, name := range unionKeys(want, nil) {
			paths = append(paths, missing(child(path, name), have[name], want[name])...)
		}
		return paths
	case []any:
		have, ok := live.([]any)
		if !ok || len(have) != len(want) {
			return []string{path}
		}
		var paths []string
		for i := range want {
			paths = append(paths, missing(fmt.Sprintf("%s[%d]", path, i), have[i], want[i])...)
		}
		return paths
	default:
		if equal(live, desired) {
			return nil
		}
		return []string{path}
	}
}

// equal compares scalars; JSON numbers may come as int64 or float64.
func equal(a, b any) bool {
	if fa, ok := number(a); ok {
		if fb, ok := number(b); ok {
			return fa == fb
		}
	}
	return reflect.DeepEqual(a, b)
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

func child(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func unionKeys(a, b map[string]any) []string {
	seen := map[string]bool{}
	var keys []string
	for _, m := range []map[string]any{a, b} {
		for key := range m {
			if !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	sort.Strings(keys)
	return keys
}
