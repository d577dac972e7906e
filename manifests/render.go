package manifests

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

//go:embed templates/*.yaml
var templateFiles embed.FS

// JSON is a subset of YAML: what these functions print is one scalar or one
// flow mapping wherever it stands.
var templates = template.Must(template.New("").
	Option("missingkey=error").
	Funcs(template.FuncMap{"quote": toJSON[string], "object": toJSON[any]}).
	ParseFS(templateFiles, "templates/*.yaml"))

func toJSON[T any](value T) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(b.Bytes())), nil
}

func render(name string, data any) (*unstructured.Unstructured, error) {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, data); err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	object := map[string]any{}
	jsonText, err := yaml.YAMLToJSONStrict(text.Bytes())
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	u := &unstructured.Unstructured{Object: object}
	if err := u.UnmarshalJSON(jsonText); err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	return u, nil
}

// PodAnnotation of a Service of ours names the pod that it reaches.
const PodAnnotation = "redis-sync.io/pod"

// Service is our Service for one pod of a StatefulSet.
type Service struct {
	Name       string
	Namespace  string
	Labels     map[string]string
	Pod        string
	Type       corev1.ServiceType
	PortName   string
	Port       int
	TargetPort int
	NodePort   int32 // 0: the API server chooses, or keeps what it chose
}

// Render makes the object.
func (s Service) Render() (*unstructured.Unstructured, error) {
	return render("service.yaml", struct {
		Service
		Type string
	}{s, string(s.Type)})
}

// ConfigMap holds the sync.toml of one replicator.
type ConfigMap struct {
	Name      string
	Namespace string
	Labels    map[string]string
	SyncFile  string
}

// Render makes the object.
func (c ConfigMap) Render() (*unstructured.Unstructured, error) {
	return render("configmap.yaml", c)
}

// Secret holds the credentials of one replicator, one file each.
type Secret struct {
	Name      string
	Namespace string
	Labels    map[string]string
	Files     map[string][]byte
}

// Render makes the object.
func (s Secret) Render() (*unstructured.Unstructured, error) {
	encoded := map[string]string{}
	for name, content := range s.Files {
		encoded[name] = base64.StdEncoding.EncodeToString(content)
	}
	return render("secret.yaml", struct {
		Secret
		Encoded map[string]string
	}{s, encoded})
}

// Deployment runs one replicator. Its ConfigMap and its Secret have its name.
type Deployment struct {
	Name             string
	Namespace        string
	Labels           map[string]string
	Replicas         int // 0 while the pair is paused, else 1
	Image            string
	ImagePullSecrets []string
	NodeSelector     map[string]string
	Resources        corev1.ResourceRequirements
	DataSize         string // of the spool's emptyDir, as a quantity
	Checksum         string // of configuration and credentials: see Checksum
}

// gracePeriod leaves the replicator time to drain (10 s) and to close.
const gracePeriod = 30

// ChecksumAnnotation of a replicator's pod says which configuration it runs.
const ChecksumAnnotation = "redis-sync.io/checksum"

// Render makes the object.
func (d Deployment) Render() (*unstructured.Unstructured, error) {
	resources, err := canonical(d.Resources)
	if err != nil {
		return nil, err
	}
	return render("deployment.yaml", struct {
		Deployment
		Resources   any
		Port        int
		GracePeriod int
	}{d, resources, wire.DefaultMetricsPort, gracePeriod})
}

// Job compares both sides of a pair once. It mounts the ConfigMap and the
// Secret of a replicator, so that it reaches both as that does.
type Job struct {
	Name             string
	Namespace        string
	Labels           map[string]string
	Replicator       string // whose ConfigMap and Secret it uses
	Image            string
	ImagePullSecrets []string
	NodeSelector     map[string]string
	Resources        corev1.ResourceRequirements
	Args             []string
	DeadlineSeconds  int // after which Kubernetes ends it
}

// JobContainer is the name of its container.
const JobContainer = "verify"

// Render makes the object.
func (j Job) Render() (*unstructured.Unstructured, error) {
	resources, err := canonical(j.Resources)
	if err != nil {
		return nil, err
	}
	return render("job.yaml", struct {
		Job
		Resources any
		Container string
	}{j, resources, JobContainer})
}

// canonical leaves out what is empty, so that the object is as short as what
// the API server gives back.
func canonical(r corev1.ResourceRequirements) (any, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	return out, json.Unmarshal(text, &out)
}

// SaltFile is the file of a replicator's Secret that makes Checksum useless
// for guessing the passwords beside it: without reading the Secret, nobody
// can compute it.
const SaltFile = "checksum-salt"

// Unsalted stands for the checksum while the Secret, and so its salt, does not
// exist yet.
const Unsalted = "ASSIGNED-ON-APPLY"

// Checksum is a digest of a sync.toml and the files of a Secret, keyed with
// the salt among these files.
func Checksum(syncFile string, files map[string][]byte) string {
	if len(files[SaltFile]) == 0 {
		return Unsalted
	}
	h := hmac.New(sha256.New, files[SaltFile])
	fmt.Fprintf(h, "%d:%s", len(syncFile), syncFile)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(h, "%d:%s%d:%s", len(name), name, len(files[name]), files[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
