package manifests

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

func TestRoles(t *testing.T) {
	files, err := fs.Glob(rbacFiles, "rbac/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	text, err := os.ReadFile("kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var base struct{ Resources []string }
	if err := yaml.Unmarshal(text, &base); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		if !slices.Contains(base.Resources, file) {
			t.Errorf("kustomization.yaml lacks %s", file)
		}
		verb := strings.TrimSuffix(path.Base(file), ".yaml")
		roles, err := Roles(verb)
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range roles {
			if role.Kind != "ClusterRole" || len(role.Rules) == 0 || names[role.Name] || !strings.HasPrefix(role.Name, "redis-sync-"+verb) {
				t.Errorf("%s: role %q of kind %q with %d rules", file, role.Name, role.Kind, len(role.Rules))
			}
			names[role.Name] = true
			checkRules(t, role)
		}
	}
	if len(base.Resources) != len(files) {
		t.Errorf("kustomization.yaml lists %d files, there are %d", len(base.Resources), len(files))
	}
}

// checkRules keeps the roles narrow.
func checkRules(t *testing.T, role rbacv1.ClusterRole) {
	t.Helper()
	side := role.Labels[sideLabel]
	if side != SideBoth && side != SidePrimary && side != SideStandby {
		t.Errorf("%s: side %q", role.Name, side)
	}
	for _, rule := range role.Rules {
		if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.APIGroups, "*") {
			t.Errorf("%s: a rule for everything: %+v", role.Name, rule)
		}
		if slices.Contains(rule.Resources, "*") && slices.ContainsFunc(rule.Verbs, func(v string) bool { return v != "get" && v != "list" }) {
			t.Errorf("%s: a rule that writes every resource: %+v", role.Name, rule)
		}
	}
}

// What only looks must not be able to write.
func TestReadersDoNotWrite(t *testing.T) {
	for _, verb := range []string{"discover", "plan", "status"} {
		rules, err := Rules(verb, SidePrimary)
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range rules {
			for _, v := range rule.Verbs {
				forward := v == "create" && slices.Equal(rule.Resources, []string{"pods/portforward"})
				if v != "get" && v != "list" && !forward {
					t.Errorf("%s may %s %v", verb, v, rule.Resources)
				}
			}
		}
	}
}

func TestSidesOfApply(t *testing.T) {
	may := func(side, resource, verb string) bool {
		rules, err := Rules("apply", side)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb)
		})
	}
	if may(SidePrimary, "deployments", "create") || may(SidePrimary, "secrets", "create") || !may(SidePrimary, "services", "create") {
		t.Error("the primary's side needs Services only")
	}
	if !may(SideStandby, "deployments", "create") || !may(SideStandby, "secrets", "create") || !may(SideStandby, "pods/proxy", "get") {
		t.Error("the standby's side needs Deployments, Secrets and the replicators' status")
	}
}

func TestTable(t *testing.T) {
	table, err := Table("apply")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"primary  core   services", "standby  apps   deployments", "create, patch, delete"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if _, err := Table("nonsense"); err == nil {
		t.Error("a verb without a file has a table")
	}
}

// Values end up as values, whatever they contain.
func TestTemplatesQuote(t *testing.T) {
	const nasty = "a\": {b: c}\n- d # e {{.F}} \u2028<&>"
	service, err := Service{Name: nasty, Namespace: nasty, Labels: map[string]string{nasty: nasty}, Pod: nasty, Type: "NodePort", PortName: "redis", Port: 1, TargetPort: 2}.Render()
	if err != nil {
		t.Fatal(err)
	}
	if service.GetName() != nasty || service.GetLabels()[nasty] != nasty || service.GetAnnotations()[PodAnnotation] != nasty {
		t.Errorf("rendered %v", service.Object)
	}
	config, err := ConfigMap{Name: "n", Namespace: "s", SyncFile: nasty}.Render()
	if err != nil {
		t.Fatal(err)
	}
	if data := config.Object["data"].(map[string]any); len(data) != 1 || data["sync.toml"] != nasty {
		t.Errorf("rendered %q", data)
	}
}

func TestDeploymentIsRestricted(t *testing.T) {
	d, err := Deployment{Name: "n", Namespace: "s", Labels: map[string]string{"a": "b"}, Replicas: 1, Image: "i", DataSize: "1Gi", Checksum: "c"}.Render()
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(d.Object)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"automountServiceAccountToken: false", "runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false",
		"type: RuntimeDefault", "- ALL", "type: Recreate", "imagePullPolicy: IfNotPresent", "containerPort: 9310", "path: /readyz",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the Deployment lacks %q:\n%s", want, text)
		}
	}
}

// TestJobIsOne: every field is one that the API server knows.
func TestJobIsOne(t *testing.T) {
	rendered, err := Job{Name: "n", Namespace: "s", Labels: map[string]string{"a": "b"}, Replicator: "r", Image: "i", Args: []string{"verify", "--x"}, DeadlineSeconds: 60}.Render()
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(rendered.Object)
	if err != nil {
		t.Fatal(err)
	}
	var job batchv1.Job
	if err := yaml.UnmarshalStrict(text, &job); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	pod := job.Spec.Template.Spec
	if *job.Spec.BackoffLimit != 0 || *job.Spec.ActiveDeadlineSeconds != 60 || job.Spec.TTLSecondsAfterFinished == nil || pod.RestartPolicy != "Never" ||
		len(pod.Containers) != 1 || pod.Containers[0].Name != JobContainer || pod.Volumes[0].ConfigMap.Name != "r" || pod.Volumes[1].Secret.SecretName != "r" {
		t.Errorf("the Job is %+v", job.Spec)
	}
}
