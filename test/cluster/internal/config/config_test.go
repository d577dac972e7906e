package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// rendered renders a template of a YAML or JSON file for a site and parses it.
func rendered(t *testing.T, name string) map[string]any {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	v := values{Site: site.Site{Name: "site-a", Index: 1}, PKI: "/pki", Socket: ContainerdSocket, PauseImage: PauseImage}
	if err := render(name, path, v); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parsed := map[string]any{}
	if data, err = yaml.ToJSON(data); err == nil {
		err = json.Unmarshal(data, &parsed)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, data)
	}
	return parsed
}

func TestTemplates(t *testing.T) {
	kubelet := rendered(t, "kubelet.yaml")
	for key, want := range map[string]any{
		"cgroupRoot":               "/redis-sync-test/site-a",
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"tlsCertFile":              "/pki/node-serving.crt",
	} {
		if kubelet[key] != want {
			t.Errorf("kubelet %s = %v, want %v", key, kubelet[key], want)
		}
	}
	if proxy := rendered(t, "kube-proxy.yaml"); proxy["clusterCIDR"] != "10.214.1.0/24" || proxy["hostnameOverride"] != "site-a" {
		t.Errorf("kube-proxy: %v", proxy)
	}
	plugins, ok := rendered(t, "10-pods.conflist")["plugins"].([]any)
	if !ok || len(plugins) != 2 {
		t.Fatalf("network plugins: %v", plugins)
	}
}
