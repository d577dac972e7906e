package testkube

import (
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
	logs     map[string]string                     // of pods, by "namespace/pod"
	version  int
	Requests []string // "METHOD path?query" of every request that writes
}

// ForwardTo sets where a port ("namespace/pod:port") leads, while the server is
// used.
func (s *Server) ForwardTo(port, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Forward[port] = address
}

// New starts a server with the namespaces kube-system and default. It ends
// with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		Forward: map[string]string{}, Proxy: map[string]string{},
		objects: map[string]*unstructured.Unstructured{}, denied: map[string]bool{},
		logs: map[string]string{},
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

// SetLog sets what the container of a pod has written.
func (s *Server) SetLog(namespace, pod, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[namespace+"/"+pod] = text
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
