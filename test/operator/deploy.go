// Package operator does to Redis at run time what the operators of the
// fixtures do: it forms the cluster, elects the first master, keeps Sentinel
// and the role labels right, and mends all of it after pods came back with
// other addresses. It runs as a pod in each cluster.
package operator

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

const name = sites.OperatorName

// Deploy installs the operator with its rights into a cluster. What exists is
// left alone.
func Deploy(ctx context.Context, client kubernetes.Interface, image string) error {
	opts := metav1.CreateOptions{}
	meta := metav1.ObjectMeta{Name: name, Namespace: sites.OperatorNamespace}
	labels := map[string]string{"app": name}
	steps := []struct {
		what string
		do   func() error
	}{
		{"namespace", func() error {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: sites.OperatorNamespace}}
			_, err := client.CoreV1().Namespaces().Create(ctx, ns, opts)
			return err
		}},
		{"service account", func() error {
			_, err := client.CoreV1().ServiceAccounts(meta.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, opts)
			return err
		}},
		{"cluster role", func() error {
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "patch"}},
				{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
				{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "update"}},
				{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: []string{"get", "list"}},
				{APIGroups: []string{"redis.redis.opstreelabs.in"}, Resources: []string{"redisclusters", "redisclusters/status"}, Verbs: []string{"get", "list", "update"}},
				{APIGroups: []string{"databases.spotahome.com"}, Resources: []string{"redisfailovers"}, Verbs: []string{"get", "list"}},
			}}
			_, err := client.RbacV1().ClusterRoles().Create(ctx, role, opts)
			return err
		}},
		{"cluster role binding", func() error {
			binding := &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: meta.Namespace}},
			}
			_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, opts)
			return err
		}},
		{"deployment", func() error {
			deployment := &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec: corev1.PodSpec{
						ServiceAccountName: name,
						Containers: []corev1.Container{{
							Name: "operator", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
							Args: []string{"operate"},
						}},
					},
				},
			}}
			_, err := client.AppsV1().Deployments(meta.Namespace).Create(ctx, deployment, opts)
			return err
		}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("test operator: create %s: %w", s.what, err)
		}
	}
	return nil
}
