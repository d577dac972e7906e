package e2e

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/manifests"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// documentedRights runs every verb as a user who may do what the RBAC of that
// verb says, and nothing else: switches in both directions, without the primary,
// killed in the middle and taken back or ended, and a recover that saves what only
// the old primary has.
func documentedRights(t *testing.T, s *scene) {
	admin := s.pair
	admin.Name = "rights"
	limited := admin
	limited.Source.Site += "-viewer"
	limited.Target.Site += "-viewer"
	s.onSource(t, "SET", "e2e:rights", "1")
	rescued := filepath.Join(t.TempDir(), "lost.rdb")
	killed := -1 // no exit code: ended by a signal
	verbs := []struct {
		verb   string
		args   []string
		code   int
		says   string
		before func()
	}{
		{verb: "discover", args: []string{"discover", "--context", limited.Source.Site, "-n", limited.Source.Namespace}},
		{verb: "plan", args: limited.Args("plan", "--stale-keys", "prune")},
		{verb: "apply", args: limited.Args("apply", "--yes", "--stale-keys", "prune", "--stale-keys-max-share", "1", "--timeout", "3m")},
		{verb: "status", args: limited.Later("status"), says: "InSync"},
		{verb: "wait", args: limited.Later("wait", "--timeout", "1m")},
		{verb: "runbook", args: limited.Later("runbook")},
		{verb: "verify", args: limited.Later("verify")},
		{verb: "failover", args: limited.Later("failover", "--yes", "--max-lag", "1m")},
		{verb: "failback", args: limited.Later("failback", "--yes", "--max-lag", "1m")},
		{verb: "pause", args: limited.Later("pause")},
		{verb: "start", args: limited.Later("start")},

		{verb: "failover", args: limited.Later("failover", "--yes", "--verify", "none", "--hook", killer(t, "before-commit")), code: killed},
		{verb: "unlock", args: limited.Later("unlock", "--yes"), says: "is removed"},
		{verb: "cancel", args: limited.Later("cancel", "--yes"), says: "cancel done"},
		{verb: "failover", args: limited.Later("failover", "--yes", "--verify", "none", "--hook", killer(t, "after-open")), code: killed},
		{verb: "unlock", args: limited.Later("unlock", "--yes"), says: "is removed"},
		{verb: "resume", args: limited.Later("resume", "--yes"), says: "resume done"},
		{verb: "failback", args: limited.Later("failback", "--yes", "--verify", "none")},

		// Without a right at the primary's site that one is as good as lost.
		{verb: "failover", args: limited.Later("failover", "--yes", "--accept-data-loss", "--site-context", admin.Source.Instance+"="+admin.Source.Site+"-noaccess"), says: "phase FailedOver"},
		{verb: "recover", args: limited.Later("recover", "--yes", "--rescue-file", rescued, "--timeout", "3m"), says: "rescue file " + rescued + " holds ",
			before: func() { s.onSource(t, "SET", "e2e:rights", "2") }},
		{verb: "failback", args: limited.Later("failback", "--yes", "--verify", "none"), says: "phase InSync"},
		{verb: "delete", args: limited.Later("delete", "--yes", "--purge")},
	}
	// Without any right the same user gets nowhere.
	s.plugin(t, 12, limited.Args("plan", "--stale-keys", "prune")...)
	for _, v := range verbs {
		if v.before != nil {
			v.before()
		}
		unbind := s.bind(t, v.verb)
		r := s.plugin(t, v.code, v.args...)
		unbind()
		contains(t, r.Stdout, v.says)
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
