package testkube

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// decodeObject reads JSON, YAML (server-side apply) or protobuf (typed
// clients).
func decodeObject(raw []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if !bytes.HasPrefix(raw, []byte("k8s\x00")) {
		return u, yaml.Unmarshal(raw, &u.Object)
	}
	obj, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
	if err != nil {
		return nil, err
	}
	if u.Object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(obj); err != nil {
		return nil, err
	}
	u.SetGroupVersionKind(*gvk)
	return u, nil
}

func metav1UID(n int) types.UID { return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

// write handles create, update, apply and delete. Apply replaces the object:
// field ownership is for real API servers.
func (s *Server) write(w http.ResponseWriter, r *http.Request, t target, verb string) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	if verb == "delete" {
		s.remove(w, t, raw)
		return
	}
	if r.Header.Get("Content-Type") == string(types.MergePatchType) {
		s.merge(w, t, raw)
		return
	}
	u, err := decodeObject(raw)
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	if u.GetName() == "" && u.GetGenerateName() != "" {
		u.SetName(fmt.Sprintf("%s%d", u.GetGenerateName(), len(s.Paths())))
	}
	t.name = u.GetName()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.namespace != "" && s.objects["/api/v1/namespaces/"+t.namespace] == nil {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("namespaces %q not found", t.namespace))
		return
	}
	old := s.objects[t.path()]
	code := http.StatusOK
	switch {
	case verb == "create" && old != nil:
		refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, fmt.Sprintf("%s %q already exists", t.resource, t.name))
		return
	case verb == "create":
		code = http.StatusCreated
	case verb == "update" && old == nil:
		notFound(w, t)
		return
	case verb == "update" && u.GetResourceVersion() != "" && u.GetResourceVersion() != old.GetResourceVersion():
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified; please apply your changes to the latest version and try again")
		return
	}
	if old != nil {
		u.SetUID(old.GetUID())
	}
	if r.URL.Query().Get("dryRun") == metav1.DryRunAll {
		answer(w, code, u.Object)
		return
	}
	s.store(t.path(), u)
	answer(w, code, u.Object)
}

// merge handles a JSON merge patch of objects; it knows no null.
func (s *Server) merge(w http.ResponseWriter, t target, raw []byte) {
	patch := map[string]any{}
	if err := yaml.Unmarshal(raw, &patch); err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[t.path()]
	if old == nil {
		notFound(w, t)
		return
	}
	u := old.DeepCopy()
	mergeInto(u.Object, patch)
	s.store(t.path(), u)
	answer(w, http.StatusOK, u.Object)
}

func mergeInto(object, patch map[string]any) {
	for key, value := range patch {
		inner, isObject := value.(map[string]any)
		if into, has := object[key].(map[string]any); has && isObject {
			mergeInto(into, inner)
			continue
		}
		if number, ok := value.(float64); ok && number == float64(int64(number)) {
			value = int64(number)
		}
		object[key] = value
	}
}

func (s *Server) remove(w http.ResponseWriter, t target, raw []byte) {
	options := &metav1.DeleteOptions{}
	if len(raw) > 0 {
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, options); err != nil {
			refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[t.path()]
	if old == nil {
		notFound(w, t)
		return
	}
	if p := options.Preconditions; p != nil && p.UID != nil && *p.UID != old.GetUID() {
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict, "Precondition failed: UID in precondition: "+string(*p.UID))
		return
	}
	if p := options.Preconditions; p != nil && p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion() {
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict, "Precondition failed: ResourceVersion")
		return
	}
	delete(s.objects, t.path())
	answer(w, http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
}
