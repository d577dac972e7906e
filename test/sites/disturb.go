package sites

import (
	"context"
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// OperatorName is the Deployment of the test's operator.
const OperatorName = "test-operator"

// AddNamesake creates the custom resource of another placement under the name
// of this one, without any pods, and returns how to remove it again.
func (c *Cluster) AddNamesake(ctx context.Context, p, other Placement) (remove func(context.Context) error, err error) {
	objects, err := other.Read()
	if err != nil {
		return nil, err
	}
	cr := Creatable(objects.CR, "", "")
	cr.SetName(p.Instance)
	cr.SetNamespace(p.Namespace)
	if err := c.ensureCRD(ctx, cr); err != nil {
		return nil, err
	}
	if _, err := c.ensure(ctx, cr); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		endpoint, err := c.resource(cr)
		if err != nil {
			return err
		}
		if err := endpoint.Delete(ctx, cr.GetName(), metav1.DeleteOptions{}); err != nil {
			return fmt.Errorf("site %s: delete %s: %w", c.Site, describe(cr), err)
		}
		return c.dropCRD(ctx, cr)
	}, nil
}

// StopOperator scales the test's operator to zero and waits for its end.
func (c *Cluster) StopOperator(ctx context.Context) error { return c.scaleOperator(ctx, 0) }

// StartOperator undoes StopOperator.
func (c *Cluster) StartOperator(ctx context.Context) error { return c.scaleOperator(ctx, 1) }

func (c *Cluster) scaleOperator(ctx context.Context, replicas int32) error {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: OperatorName, Namespace: OperatorNamespace},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
	deployments := c.Typed.AppsV1().Deployments(OperatorNamespace)
	if _, err := deployments.UpdateScale(ctx, OperatorName, scale, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("site %s: scale the test operator: %w", c.Site, err)
	}
	err := wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		pods, err := c.Typed.CoreV1().Pods(OperatorNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + OperatorName})
		return err == nil && len(pods.Items) == int(replicas), err
	})
	if err != nil {
		return fmt.Errorf("site %s: wait for %d pods of the test operator: %w", c.Site, replicas, err)
	}
	return nil
}
