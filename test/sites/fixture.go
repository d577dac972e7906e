package sites

import (
	"bytes"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/redis-sync/kubectl-redis-sync/test/fixtures"
)

// Objects of one fixture.
type Objects struct {
	CR       *unstructured.Unstructured
	Children []*unstructured.Unstructured // what the operator makes, and the password Secret
	Pods     []*unstructured.Unstructured // made by controllers, for comparison only
}

// Read parses the fixture of a placement and moves it to its namespace.
func (p Placement) Read() (Objects, error) {
	body, err := fixtures.Files.ReadFile(p.Fixture)
	if err != nil {
		return Objects{}, fmt.Errorf("fixture: %w", err)
	}
	var objects Objects
	for i, doc := range bytes.Split(body, []byte("\n---\n")) {
		body, err := yaml.YAMLToJSON(doc)
		if err != nil {
			return Objects{}, fmt.Errorf("fixture %s, document %d: %w", p.Fixture, i, err)
		}
		if string(body) == "null" {
			continue
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(body); err != nil {
			return Objects{}, fmt.Errorf("fixture %s, document %d: %w", p.Fixture, i, err)
		}
		o.SetNamespace(p.Namespace)
		switch {
		case o.GetKind() == p.Kind && o.GetName() == p.Instance:
			objects.CR = o
		case o.GetKind() == "Pod":
			objects.Pods = append(objects.Pods, o)
		default:
			objects.Children = append(objects.Children, o)
		}
	}
	if objects.CR == nil {
		return Objects{}, fmt.Errorf("fixture %s: no %s %s in it", p.Fixture, p.Kind, p.Instance)
	}
	return objects, nil
}

// serverFields are set by an API server or a node, never by an operator.
var serverFields = [][]string{
	{"metadata", "uid"},
	{"metadata", "resourceVersion"},
	{"metadata", "creationTimestamp"},
	{"metadata", "generation"},
	{"metadata", "finalizers"},
	{"status"},
	{"spec", "clusterIPs"},
	{"spec", "nodeName"},
}

// Creatable returns a copy that an API server accepts and that runs here:
// without what servers set, with our image, with working script bodies, owned
// by the custom resource with this uid.
func Creatable(in *unstructured.Unstructured, image, ownerUID string) *unstructured.Unstructured {
	o := in.DeepCopy()
	for _, path := range serverFields {
		unstructured.RemoveNestedField(o.Object, path...)
	}
	if ip, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP"); ip != "None" {
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIP")
	}
	owners := o.GetOwnerReferences()
	for i := range owners {
		owners[i].UID = uid(ownerUID)
	}
	o.SetOwnerReferences(owners)
	replaceImages(o.Object, image)
	replaceScripts(o)
	return o
}

// replaceImages sets our image, which is never pulled, in everything that
// looks like a container.
func replaceImages(node any, image string) {
	switch n := node.(type) {
	case map[string]any:
		if _, isName := n["name"].(string); isName {
			if _, has := n["image"].(string); has {
				n["image"] = image
				n["imagePullPolicy"] = "IfNotPresent"
			}
		}
		for _, child := range n {
			replaceImages(child, image)
		}
	case []any:
		for _, child := range n {
			replaceImages(child, image)
		}
	}
}

// replaceScripts fills in the bodies that the fixtures leave out.
func replaceScripts(o *unstructured.Unstructured) {
	if o.GetKind() != "ConfigMap" {
		return
	}
	data, _, _ := unstructured.NestedMap(o.Object, "data")
	for key, body := range scriptBodies {
		if _, has := data[key]; has {
			owner := o.GetOwnerReferences()[0].Name
			data[key] = strings.ReplaceAll(body, "@SERVICE@", serviceVariable("rfs-"+owner))
		}
	}
	o.Object["data"] = data
}

// serviceVariable is the prefix of the variables that a container gets about a
// Service.
func serviceVariable(service string) string {
	return strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
}

// scriptBodies are the hooks of a RedisFailover pod by ConfigMap key.
var scriptBodies = map[string]string{
	"shutdown.sh": `# Hands the master role over before the pod ends, as the operator's script does.
sentinel() { redis-cli -h "${@SERVICE@_SERVICE_HOST}" -p "${@SERVICE@_SERVICE_PORT_SENTINEL}" "$@"; }
redis() { redis-cli -p "${REDIS_PORT}" -a "${REDIS_PASSWORD}" --no-auth-warning "$@"; }
me="$(hostname -i | cut -d' ' -f1)"
if [ "$(sentinel --raw SENTINEL get-master-addr-by-name mymaster | head -n 1)" = "$me" ]; then
	sentinel SENTINEL failover mymaster
	waited=0
	while redis ROLE | head -n 1 | grep -q master && [ "$waited" -lt 20 ]; do
		sleep 1
		waited=$((waited + 1))
	done
fi
redis SAVE
`,
	"ready.sh": `# Ready is the master, and a replica whose link to the master is up.
info="$(redis-cli -p "${REDIS_PORT}" -a "${REDIS_PASSWORD}" --no-auth-warning INFO replication | tr -d '\r')"
case "$info" in
*role:master*) exit 0 ;;
*master_host:127.0.0.1*) exit 1 ;;
*master_sync_in_progress:1*) exit 1 ;;
*master_link_status:up*) exit 0 ;;
esac
exit 1
`,
}
