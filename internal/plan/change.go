package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Action is what has to happen to an object.
type Action string

// The actions.
const (
	ActionCreate Action = "create"
	ActionUpdate Action = "update"
	ActionNone   Action = "none"
	ActionDelete Action = "delete"
)

// Change is one object of one site and what has to happen to it.
type Change struct {
	Site      string `json:"site"`
	Action    Action `json:"action"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Reason    string `json:"reason"`

	// Object is the desired one, and the live one of a deletion.
	Object *unstructured.Unstructured `json:"-"`
}

// Counts of the actions of a plan.
type Counts struct {
	Create int `json:"create"`
	Update int `json:"update"`
	Delete int `json:"delete"`
	None   int `json:"none"`
}

// Count adds up the actions.
func Count(changes []Change) Counts {
	var c Counts
	for _, change := range changes {
		switch change.Action {
		case ActionCreate:
			c.Create++
		case ActionUpdate:
			c.Update++
		case ActionDelete:
			c.Delete++
		case ActionNone:
			c.None++
		}
	}
	return c
}

// Changes tells whether there is anything to do.
func (c Counts) Changes() bool { return c.Create+c.Update+c.Delete > 0 }

// Observed is what a site said about one desired object.
type Observed struct {
	Desired *unstructured.Unstructured
	Purpose string // why the object is wanted
	// Live is the object as it is; nil when there is none.
	Live *unstructured.Unstructured
	// Applied is what the API server would make of it. Without it (the user
	// may read but not write) only the fields that we set are compared.
	Applied *unstructured.Unstructured
}

// Decide gives the change of one object.
func Decide(site string, o Observed) Change {
	change := Change{
		Site: site, Kind: o.Desired.GetKind(), Namespace: o.Desired.GetNamespace(), Name: o.Desired.GetName(),
		Reason: o.Purpose, Object: o.Desired,
	}
	if o.Live == nil {
		change.Action = ActionCreate
		return change
	}
	var differing []string
	if o.Applied != nil {
		differing = differences("", stable(o.Live), stable(o.Applied))
	} else {
		differing = missing("", o.Live.Object, o.Desired.Object)
	}
	if len(differing) == 0 {
		change.Action = ActionNone
		return change
	}
	change.Action = ActionUpdate
	change.Reason = "differs: " + list(differing)
	return change
}

// Prune lists the objects of ours that are wanted no more.
func Prune(site string, owned, desired []*unstructured.Unstructured) []Change {
	wanted := map[string]bool{}
	for _, object := range desired {
		wanted[key(object)] = true
	}
	var changes []Change
	for _, object := range owned {
		if wanted[key(object)] {
			continue
		}
		reason := "no longer part of the pair"
		if port := NodePort(object); port != 0 {
			reason = fmt.Sprintf("%s; gives up node port %d", reason, port)
		}
		changes = append(changes, Change{
			Site: site, Action: ActionDelete, Kind: object.GetKind(), Namespace: object.GetNamespace(),
			Name: object.GetName(), Reason: reason, Object: object,
		})
	}
	return changes
}

// NodePort is the node port of the first port of a Service; 0 without one.
func NodePort(object *unstructured.Unstructured) int64 {
	if object.GetKind() != "Service" {
		return 0
	}
	ports, _, err := unstructured.NestedSlice(object.Object, "spec", "ports")
	if err != nil || len(ports) == 0 {
		return 0
	}
	first, _ := ports[0].(map[string]any)
	number, _, err := unstructured.NestedInt64(first, "nodePort")
	if err != nil {
		return 0
	}
	return number
}

func key(object *unstructured.Unstructured) string {
	return object.GetKind() + "/" + object.GetNamespace() + "/" + object.GetName()
}

// kindOrder is the order in which objects are applied; deletions go backwards.
var kindOrder = []string{"Writes", "ACL", "Service", "Secret", "ConfigMap", "Deployment"}

// Sort orders changes by site as given, then as they have to be done.
func Sort(changes []Change, sites ...string) {
	rank := func(c Change) int {
		n := slices.Index(kindOrder, c.Kind)
		if c.Action == ActionDelete {
			return 2*len(kindOrder) - n
		}
		return n
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		return cmp.Or(
			cmp.Compare(slices.Index(sites, a.Site), slices.Index(sites, b.Site)),
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.Name, b.Name),
		)
	})
}

// list names a few fields and counts the rest.
func list(fields []string) string {
	const shown = 4
	if len(fields) <= shown {
		return strings.Join(fields, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(fields[:shown], ", "), len(fields)-shown)
}
