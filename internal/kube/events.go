package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Event is something that happened to an object of the cluster.
type Event struct {
	Regarding Ref
	Warning   bool
	Reason    string // CamelCase: "Applied"
	Message   string
	At        time.Time
}

// CreateEvent writes an Event in the namespace of the object.
func (c *Client) CreateEvent(ctx context.Context, e Event) error {
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	at := metav1.NewTime(e.At)
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: e.Regarding.Name + ".", Namespace: e.Regarding.Namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: e.Regarding.GVK.GroupVersion().String(), Kind: e.Regarding.GVK.Kind,
			Namespace: e.Regarding.Namespace, Name: e.Regarding.Name, UID: e.Regarding.UID,
		},
		Type: kind, Reason: e.Reason, Message: e.Message, Count: 1,
		FirstTimestamp: at, LastTimestamp: at,
		Source: corev1.EventSource{Component: FieldManager}, ReportingController: FieldManager,
	}
	if _, err := c.core.CoreV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		return c.wrap(err, "write an event about %s", e.Regarding)
	}
	return nil
}

// Events lists the events about one object, oldest first as the API server
// keeps them.
func (c *Client) Events(ctx context.Context, namespace, kind, name string) ([]corev1.Event, error) {
	list, err := c.core.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name,
	})
	if err != nil {
		return nil, c.wrap(err, "list events of %s %s/%s", lowerKind(kind), namespace, name)
	}
	return list.Items, nil
}
