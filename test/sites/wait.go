package sites

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// poll calls check until it says done, fails, or ctx ends; then the last
// reason for waiting is part of the error.
func poll(ctx context.Context, what string, check func() (waiting string, err error)) error {
	for {
		waiting, err := check()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if waiting == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; last seen: %s", what, ctx.Err(), waiting)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (c *Cluster) waitNamespaceGone(ctx context.Context, name string) error {
	return poll(ctx, "site "+c.Site+": wait for the end of namespace "+name, func() (string, error) {
		_, err := c.Typed.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		return "it still exists", nil
	})
}

// WaitReady waits until every pod of the placement is Ready and the test's
// operator reports that Redis serves.
func (c *Cluster) WaitReady(ctx context.Context, p Placement) error {
	objects, err := p.Read()
	if err != nil {
		return err
	}
	return poll(ctx, fmt.Sprintf("site %s: wait for %s %s", c.Site, p.Kind, p.Instance), func() (string, error) {
		missing, err := c.notReady(ctx, p, objects)
		if err != nil || missing != "" {
			return missing, err
		}
		return c.health(ctx, p)
	})
}

// notReady names the pods that are not there or not Ready.
func (c *Cluster) notReady(ctx context.Context, p Placement, objects Objects) (string, error) {
	list, err := c.Typed.CoreV1().Pods(p.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	var missing []string
	for _, want := range workloads(objects) {
		ready := 0
		for _, pod := range list.Items {
			if strings.HasPrefix(pod.Name, want.GetName()+"-") && pod.DeletionTimestamp == nil && podReady(&pod) {
				ready++
			}
		}
		replicas, _, err := unstructured.NestedInt64(want.Object, "spec", "replicas")
		if err != nil {
			return "", err
		}
		if int64(ready) != replicas {
			missing = append(missing, fmt.Sprintf("%s %d of %d pods ready", describe(want), ready, replicas))
		}
	}
	return strings.Join(missing, ", "), nil
}

func workloads(objects Objects) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range objects.Children {
		if o.GetKind() == "StatefulSet" || o.GetKind() == "Deployment" {
			out = append(out, o)
		}
	}
	return out
}

func podReady(pod *corev1.Pod) bool {
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Where the test's operator runs, and the ConfigMap there in which it reports
// the health of every instance it looks after: "ok", or what it still has to
// do. The key is HealthKey.
const (
	OperatorNamespace = "redis-sync-test"
	HealthConfigMap   = "operator-health"
)

// HealthKey is the key of an instance in the health ConfigMap.
func HealthKey(namespace, kind, name string) string { return namespace + "." + kind + "." + name }

// PauseLabelsAnnotation on a custom resource, "true", stops the test's
// operator from moving role labels, as a busy operator does during failovers.
const PauseLabelsAnnotation = "test.redis-sync.io/pause-labels"

func (c *Cluster) health(ctx context.Context, p Placement) (string, error) {
	report, err := c.Typed.CoreV1().ConfigMaps(OperatorNamespace).Get(ctx, HealthConfigMap, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	switch health := report.Data[HealthKey(p.Namespace, p.Kind, p.Instance)]; health {
	case "ok":
		return "", nil
	case "":
		return "the operator has not looked at it yet", nil
	default:
		return health, nil
	}
}

// PauseLabels stops or resumes the moving of role labels.
func (c *Cluster) PauseLabels(ctx context.Context, p Placement, pause bool) error {
	objects, err := p.Read()
	if err != nil {
		return err
	}
	endpoint, err := c.resource(objects.CR)
	if err != nil {
		return err
	}
	live, err := endpoint.Get(ctx, p.Instance, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("site %s: %s: %w", c.Site, describe(objects.CR), err)
	}
	notes := live.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	delete(notes, PauseLabelsAnnotation)
	if pause {
		notes[PauseLabelsAnnotation] = "true"
	}
	live.SetAnnotations(notes)
	if _, err := endpoint.Update(ctx, live, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("site %s: annotate %s: %w", c.Site, describe(objects.CR), err)
	}
	return nil
}
