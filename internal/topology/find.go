package topology

import (
	"fmt"
	"strings"
)

// NotFoundError says that a namespace holds no instance of this name.
type NotFoundError struct {
	Namespace, Name, Kind string
	Existing              []Instance // of the namespace
	NoNamespace           bool       // the namespace itself does not exist
}

func (e *NotFoundError) Error() string {
	what := "Redis instance"
	if e.Kind != "" {
		what = e.Kind
	}
	if e.NoNamespace {
		return fmt.Sprintf("no %s %q in namespace %s: there is no such namespace", what, e.Name, e.Namespace)
	}
	if len(e.Existing) == 0 {
		return fmt.Sprintf("no %s %q in namespace %s: it holds no Redis instance", what, e.Name, e.Namespace)
	}
	return fmt.Sprintf("no %s %q in namespace %s: it holds %s", what, e.Name, e.Namespace, listInstances(e.Existing))
}

// ExitCode is that of a missing instance.
func (e *NotFoundError) ExitCode() int { return 10 }

// Remedy says what to do.
func (e *NotFoundError) Remedy() string {
	return "check context, namespace and name; `kubectl redis-sync discover -A` lists every instance of a cluster"
}

// AmbiguousError says that several instances have this name.
type AmbiguousError struct {
	Namespace, Name string
	Candidates      []Instance
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q in namespace %s is not one Redis instance but %d: %s",
		e.Name, e.Namespace, len(e.Candidates), listInstances(e.Candidates))
}

// Remedy says what to do.
func (e *AmbiguousError) Remedy() string {
	return fmt.Sprintf("name the kind as well, for example %s/%s", e.Candidates[0].Kind, e.Candidates[0].Name)
}

func listInstances(list []Instance) string {
	names := make([]string, 0, len(list))
	for _, i := range list {
		names = append(names, i.Kind+"/"+i.Name)
	}
	return strings.Join(names, ", ")
}

// Find picks the instance with this name, and this kind where one is given
// (in any case: RedisCluster, rediscluster). The name of one of its
// StatefulSets finds an instance too, where no instance has that name.
func Find(all []Instance, namespace, name, kind string) (Instance, error) {
	var here, byName, byWorkload []Instance
	for _, i := range all {
		if i.Namespace != namespace {
			continue
		}
		here = append(here, i)
		if kind != "" && !strings.EqualFold(i.Kind, kind) {
			continue
		}
		if i.Name == name {
			byName = append(byName, i)
			continue
		}
		for _, s := range i.StatefulSets {
			if s.Name == name {
				byWorkload = append(byWorkload, i)
				break
			}
		}
	}
	found := byName
	if len(found) == 0 {
		found = byWorkload
	}
	switch len(found) {
	case 0:
		return Instance{}, &NotFoundError{Namespace: namespace, Name: name, Kind: kind, Existing: here}
	case 1:
		return found[0], nil
	default:
		return Instance{}, &AmbiguousError{Namespace: namespace, Name: name, Candidates: found}
	}
}
