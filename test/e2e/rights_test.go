package e2e

import (
	"context"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/manifests"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// documentedRights runs every verb as a user who may do what the RBAC of that
// verb says, and nothing else.
func documentedRights(t *testing.T, s *scene) {
	admin := s.pair
	admin.Name = "rights"
	limited := admin
	limited.Source.Site += "-viewer"
	limited.Target.Site += "-viewer"
	verbs := []struct {
		verb string
		args []string
	}{
		{"discover", []string{"discover", "--context", limited.Source.Site, "-n", limited.Source.Namespace}},
		{"plan", limited.Args("plan", "--stale-keys", "prune")},
		{"apply", limited.Args("apply", "--yes", "--stale-keys", "prune", "--stale-keys-max-share", "1", "--timeout", "3m")},
		{"status", limited.Later("status")},
		{"wait", limited.Later("wait", "--timeout", "1m")},
		{"runbook", limited.Later("runbook")},
		{"verify", limited.Later("verify")},
		{"failover", limited.Later("failover", "--yes", "--max-lag", "1m")},
		{"failback", limited.Later("failback", "--yes", "--max-lag", "1m")},
		{"delete", limited.Later("delete", "--yes", "--purge")},
	}
	// Without any right the same user gets nowhere.
	s.plugin(t, 12, limited.Args("plan", "--stale-keys", "prune")...)
	for _, v := range verbs {
		unbind := s.bind(t, v.verb)
		r := s.plugin(t, 0, v.args...)
		unbind()
		if v.verb == "status" {
			contains(t, r.Stdout, "InSync")
		}
	}
	left, err := s.world.Leftovers(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range left {
		t.Error("still there: " + l)
	}
}

// bind gives the user "viewer" the rights of one verb on both sites.
func (s *scene) bind(t *testing.T, verb string) (unbind func()) {
	t.Helper()
	roles, err := manifests.Roles(verb)
	if err != nil {
		t.Fatal(err)
	}
	var undo []func()
	for i, p := range []sites.Placement{s.pair.Source, s.pair.Target} {
		side := []string{manifests.SidePrimary, manifests.SideStandby}[i]
		client := s.cluster(t, p).Typed.RbacV1()
		for _, role := range roles {
			if of := role.Labels["redis-sync.io/side"]; of != manifests.SideBoth && of != side {
				continue
			}
			if _, err := client.ClusterRoles().Create(t.Context(), &role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
			binding := &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: "e2e-" + role.Name, Namespace: p.Namespace},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "viewer"}},
			}
			if _, err := client.RoleBindings(p.Namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			undo = append(undo, func() {
				ctx := context.WithoutCancel(t.Context())
				if err := client.RoleBindings(p.Namespace).Delete(ctx, binding.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
				if err := client.ClusterRoles().Delete(ctx, role.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	return func() {
		for _, u := range undo {
			u()
		}
	}
}
