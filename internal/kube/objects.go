package kube

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pods lists the pods of a namespace ("" = all) that match a label selector.
func (c *Client) Pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.wrap(err, "list pods in %s", inNamespace(namespace))
	}
	return list.Items, nil
}

// Pod reads one pod.
func (c *Client) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod, err := c.core.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.wrap(err, "read pod %s/%s", namespace, name)
	}
	return pod, nil
}

// PodLog returns the last lines of a container's log.
func (c *Client) PodLog(ctx context.Context, namespace, pod, container string, lines int64, previous bool) (string, error) {
	raw, err := c.core.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, TailLines: &lines, Previous: previous,
	}).DoRaw(ctx)
	if err != nil {
		return "", c.wrap(err, "read the log of pod %s/%s", namespace, pod)
	}
	return string(raw), nil
}

// StatefulSets lists the StatefulSets of a namespace ("" = all).
func (c *Client) StatefulSets(ctx context.Context, namespace, selector string) ([]appsv1.StatefulSet, error) {
	list, err := c.core.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.wrap(err, "list statefulsets in %s", inNamespace(namespace))
	}
	return list.Items, nil
}

// Deployments lists the Deployments of a namespace ("" = all).
func (c *Client) Deployments(ctx context.Context, namespace, selector string) ([]appsv1.Deployment, error) {
	list, err := c.core.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.wrap(err, "list deployments in %s", inNamespace(namespace))
	}
	return list.Items, nil
}

// Deployment reads one Deployment.
func (c *Client) Deployment(ctx context.Context, namespace, name string) (*appsv1.Deployment, error) {
	d, err := c.core.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.wrap(err, "read deployment %s/%s", namespace, name)
	}
	return d, nil
}

// Services lists the Services of a namespace ("" = all).
func (c *Client) Services(ctx context.Context, namespace, selector string) ([]corev1.Service, error) {
	list, err := c.core.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.wrap(err, "list services in %s", inNamespace(namespace))
	}
	return list.Items, nil
}

// Service reads one Service.
func (c *Client) Service(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	s, err := c.core.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.wrap(err, "read service %s/%s", namespace, name)
	}
	return s, nil
}

// EndpointSlices lists the EndpointSlices of one Service.
func (c *Client) EndpointSlices(ctx context.Context, namespace, service string) ([]discoveryv1.EndpointSlice, error) {
	list, err := c.core.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + service,
	})
	if err != nil {
		return nil, c.wrap(err, "list endpointslices of service %s/%s", namespace, service)
	}
	return list.Items, nil
}

// Secret reads one Secret.
func (c *Client) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	s, err := c.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.wrap(err, "read secret %s/%s", namespace, name)
	}
	return s, nil
}

// ConfigMap reads one ConfigMap.
func (c *Client) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	m, err := c.core.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.wrap(err, "read configmap %s/%s", namespace, name)
	}
	return m, nil
}

// ConfigMaps lists the ConfigMaps of a namespace ("" = all).
func (c *Client) ConfigMaps(ctx context.Context, namespace, selector string) ([]corev1.ConfigMap, error) {
	list, err := c.core.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.wrap(err, "list configmaps in %s", inNamespace(namespace))
	}
	return list.Items, nil
}

// CreateConfigMap creates a ConfigMap; IsAlreadyExists tells that there is one.
func (c *Client) CreateConfigMap(ctx context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	out, err := c.core.CoreV1().ConfigMaps(m.Namespace).Create(ctx, m, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil {
		return nil, c.wrap(err, "create configmap %s/%s", m.Namespace, m.Name)
	}
	return out, nil
}

// UpdateConfigMap replaces a ConfigMap if it still has the resourceVersion
// that it was read with; IsConflict tells that it changed meanwhile.
func (c *Client) UpdateConfigMap(ctx context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	if m.ResourceVersion == "" {
		return nil, c.wrap(errNoVersion, "update configmap %s/%s", m.Namespace, m.Name)
	}
	out, err := c.core.CoreV1().ConfigMaps(m.Namespace).Update(ctx, m, metav1.UpdateOptions{FieldManager: FieldManager})
	if err != nil {
		return nil, c.wrap(err, "update configmap %s/%s", m.Namespace, m.Name)
	}
	return out, nil
}

// Nodes lists the nodes of the cluster; users often may not.
func (c *Client) Nodes(ctx context.Context) ([]corev1.Node, error) {
	list, err := c.core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, c.wrap(err, "list nodes")
	}
	return list.Items, nil
}

// NamespaceExists reports whether the namespace is there. Where the user may
// not read it, it is taken to exist: a later request says more.
func (c *Client) NamespaceExists(ctx context.Context, name string) (bool, error) {
	_, err := c.core.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil, IsForbidden(err):
		return true, nil
	case IsNotFound(err):
		return false, nil
	default:
		return false, c.wrap(err, "read namespace %s", name)
	}
}

// NamespaceGone says why nothing can be kept in a namespace any more: it does
// not exist, or is being deleted, which ends with everything in it. It is ""
// where the namespace is there, or the user may not read it.
func (c *Client) NamespaceGone(ctx context.Context, name string) (string, error) {
	ns, err := c.core.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case IsForbidden(err):
		return "", nil
	case IsNotFound(err):
		return "namespace " + name + " does not exist", nil
	case err != nil:
		return "", c.wrap(err, "read namespace %s", name)
	case ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating:
		return "namespace " + name + " is being deleted", nil
	}
	return "", nil
}

func inNamespace(namespace string) string {
	if namespace == "" {
		return "all namespaces"
	}
	return "namespace " + namespace
}
