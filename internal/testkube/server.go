package testkube

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// Server is a running API server. Its fields are set before it is used.
type Server struct {
	// Forward maps "namespace/pod:port" to an address on loopback. A port
	// that is not there refuses.
	Forward map[string]string
	// Exec answers commands in pods.
	Exec func(namespace, pod string, command []string) (stdout, stderr string, code int)
	// Proxy answers GETs to ports of pods: "namespace/pod:port/path".
	Proxy map[string]string

	http *httptest.Server

	mu       sync.Mutex
	objects  map[string]*unstructured.Unstructured // by path
	denied   map[string]bool                       // "verb resource"
	version  int
	Requests []string // "METHOD path?query" of every request that writes
}

// New starts a server with the namespaces kube-system and default. It ends
// with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		Forward: map[string]string{}, Proxy: map[string]string{},
		objects: map[string]*unstructured.Unstructured{}, denied: map[string]bool{},
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	for _, ns := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		s.AddNamespace(t, ns)
	}
	return s
}

// AddNamespace makes a namespace.
func (s *Server) AddNamespace(t testing.TB, name string) {
	t.Helper()
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	s.Add(t, ns)
}

// Add stores objects, under the uid that they have or a new one.
func (s *Server) Add(t testing.TB, objs ...runtime.Object) {
	t.Helper()
	for _, obj := range objs {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			gvks, _, err := scheme.Scheme.ObjectKinds(obj)
			if err != nil {
				t.Fatal(err)
			}
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
			if err != nil {
				t.Fatal(err)
			}
			u = &unstructured.Unstructured{Object: content}
			u.SetGroupVersionKind(gvks[0])
		}
		s.mu.Lock()
		s.store(objectPath(u), u.DeepCopy())
		s.mu.Unlock()
	}
}

// AddYAML stores the objects of a file of several documents.
func (s *Server) AddYAML(t testing.TB, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(raw), "\n---\n") {
		as, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		u := &unstructured.Unstructured{}
		if string(as) == "null" {
			continue
		}
		if err := u.UnmarshalJSON(as); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		s.Add(t, u)
	}
}

// Deny forbids a verb on a resource: "list", "secrets".
func (s *Server) Deny(verb, resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[verb+" "+resource] = true
}

// Object gives a stored object by its path ("/api/v1/namespaces/n/secrets/x"),
// nil when there is none.
func (s *Server) Object(path string) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.objects[path]; u != nil {
		return u.DeepCopy()
	}
	return nil
}

// Paths are the paths of all objects, sorted.
func (s *Server) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// Loader configures a client of the server; it fits kube.New.
func (s *Server) Loader(context, namespace string) *Loader {
	return &Loader{config: s.config(context, namespace)}
}

// Kubeconfig writes a file with one context for the server.
func (s *Server) Kubeconfig(t testing.TB, context, namespace string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(s.config(context, namespace), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *Server) config(context, namespace string) clientcmdapi.Config {
	return clientcmdapi.Config{
		CurrentContext: context,
		Contexts:       map[string]*clientcmdapi.Context{context: {Cluster: "c", AuthInfo: "u", Namespace: namespace}},
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: s.http.URL}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: "t"}},
	}
}

// Loader is a kubeconfig in memory.
type Loader struct{ config clientcmdapi.Config }

// ToRawKubeConfigLoader is part of kube.ConfigLoader.
func (l *Loader) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(l.config, &clientcmd.ConfigOverrides{})
}

// ToRESTConfig is part of kube.ConfigLoader.
func (l *Loader) ToRESTConfig() (*rest.Config, error) {
	return l.ToRawKubeConfigLoader().ClientConfig()
}

// store needs the lock.
func (s *Server) store(path string, u *unstructured.Unstructured) {
	s.version++
	u.SetResourceVersion(strconv.Itoa(s.version))
	if u.GetUID() == "" {
		if old := s.objects[path]; old != nil {
			u.SetUID(old.GetUID())
		} else {
			u.SetUID(metav1UID(s.version))
		}
	}
	s.objects[path] = u
}

// objectPath is where an object is stored: its path in the API.
func objectPath(u *unstructured.Unstructured) string {
	root := "/apis/" + u.GetAPIVersion()
	if !strings.Contains(u.GetAPIVersion(), "/") {
		root = "/api/" + u.GetAPIVersion()
	}
	if ns := u.GetNamespace(); ns != "" {
		root += "/namespaces/" + ns
	}
	return root + "/" + plural(u.GetKind()) + "/" + u.GetName()
}

func plural(kind string) string {
	kind = strings.ToLower(kind)
	switch {
	case kind == "redis":
		return kind
	case strings.HasSuffix(kind, "s"), strings.HasSuffix(kind, "x"):
		return kind + "es"
	case strings.HasSuffix(kind, "cy"):
		return strings.TrimSuffix(kind, "y") + "ies"
	default:
		return kind + "s"
	}
}

// listKind is the kind of a list; typed clients insist on it.
func listKind(resource string) string {
	for _, kind := range []string{
		"Pod", "Service", "Secret", "ConfigMap", "Node", "Namespace", "Event", "StatefulSet", "Deployment", "EndpointSlice",
	} {
		if plural(kind) == resource {
			return kind + "List"
		}
	}
	return "List"
}

// target is what the path of a request names.
type target struct {
	root               string // "/api/v1" or "/apis/group/version"
	namespace          string
	resource           string
	name, sub, subPath string
}

func parseTarget(path string) (target, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var t target
	switch {
	case parts[0] == "api" && len(parts) >= 3:
		t.root, parts = "/api/"+parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) >= 4:
		t.root, parts = "/apis/"+parts[1]+"/"+parts[2], parts[3:]
	default:
		return t, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		t.namespace, parts = parts[1], parts[2:]
	}
	t.resource = parts[0]
	if len(parts) > 1 {
		t.name = parts[1]
	}
	if len(parts) > 2 {
		t.sub = parts[2]
		t.subPath = strings.Join(parts[3:], "/")
	}
	return t, true
}

func (t target) path() string {
	p := t.root
	if t.namespace != "" {
		p += "/namespaces/" + t.namespace
	}
	return p + "/" + t.resource + "/" + t.name
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		s.mu.Lock()
		s.Requests = append(s.Requests, r.Method+" "+r.URL.RequestURI())
		s.mu.Unlock()
	}
	switch r.URL.Path {
	case "/version":
		answer(w, http.StatusOK, map[string]any{"gitVersion": "v1.34.0-test"})
		return
	case "/apis":
		answer(w, http.StatusOK, s.groups())
		return
	}
	t, ok := parseTarget(r.URL.Path)
	if !ok {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
		return
	}
	if t.resource == "selfsubjectaccessreviews" {
		s.review(w, r)
		return
	}
	verb, resource := verbOf(r, t), t.resource
	if t.sub != "" {
		resource += "/" + t.sub
	}
	if s.isDenied(verb, resource) {
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden,
			fmt.Sprintf("%s %q is forbidden: User \"test\" cannot %s resource %q in the namespace %q", t.resource, t.name, verb, resource, t.namespace))
		return
	}
	switch {
	case t.sub == "portforward":
		s.forward(w, r, t)
	case t.sub == "exec":
		s.exec(w, r, t)
	case t.sub == "proxy":
		s.proxy(w, t)
	case verb == "list":
		s.list(w, r, t)
	case verb == "get":
		s.get(w, t)
	default:
		s.write(w, r, t, verb)
	}
}

func verbOf(r *http.Request, t target) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	if t.name == "" {
		return "list"
	}
	return "get"
}

func (s *Server) isDenied(verb, resource string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denied[verb+" "+resource]
}

func (s *Server) groups() metav1.APIGroupList {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := map[string]string{}
	for _, u := range s.objects {
		gvk := u.GroupVersionKind()
		if gvk.Group != "" {
			versions[gvk.Group] = gvk.Version
		}
	}
	out := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, group := range slices.Sorted(maps.Keys(versions)) {
		v := metav1.GroupVersionForDiscovery{GroupVersion: group + "/" + versions[group], Version: versions[group]}
		out.Groups = append(out.Groups, metav1.APIGroup{Name: group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
	}
	return out
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, t target) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []any{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		at, _ := parseTarget(path)
		u := s.objects[path]
		if at.root == t.root && at.resource == t.resource && (t.namespace == "" || at.namespace == t.namespace) &&
			selector.Matches(labels.Set(u.GetLabels())) {
			items = append(items, u.Object)
		}
	}
	answer(w, http.StatusOK, map[string]any{
		"apiVersion": strings.TrimPrefix(strings.TrimPrefix(t.root, "/apis/"), "/api/"),
		"kind":       listKind(t.resource), "metadata": map[string]any{}, "items": items,
	})
}

func (s *Server) get(w http.ResponseWriter, t target) {
	if u := s.Object(t.path()); u != nil {
		answer(w, http.StatusOK, u.Object)
		return
	}
	notFound(w, t)
}

func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	review, err := decodeObject(raw)
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	verb, _, _ := unstructured.NestedString(review.Object, "spec", "resourceAttributes", "verb")
	resource, _, _ := unstructured.NestedString(review.Object, "spec", "resourceAttributes", "resource")
	if sub, _, _ := unstructured.NestedString(review.Object, "spec", "resourceAttributes", "subresource"); sub != "" {
		resource += "/" + sub
	}
	review.Object["status"] = map[string]any{"allowed": !s.isDenied(verb, resource)}
	answer(w, http.StatusCreated, review.Object)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a client that is gone needs no answer
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}

func notFound(w http.ResponseWriter, t target) {
	refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", t.resource, t.name))
}
