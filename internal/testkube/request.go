package testkube

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

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
		"Pod", "Service", "Secret", "ConfigMap", "Node", "Namespace", "Event", "StatefulSet", "Deployment", "EndpointSlice", "Job",
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
	case t.sub == "log":
		s.log(w, t)
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
