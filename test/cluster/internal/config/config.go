// Package config writes what the components of a site read, and the kubeconfig
// of the operator.
package config

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cgroup"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/host"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/pki"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// Dir is where a site's machine finds its configuration.
const Dir = "/var/lib/kubernetes"

// PauseImage is the image of the process that holds a pod's namespaces. It is
// imported, never pulled.
const PauseImage = "localhost/" + site.Prefix + "/pause:1"

// ContainerdSocket is the address of containerd inside the machine.
const ContainerdSocket = "/run/containerd/containerd.sock"

//go:embed templates
var templates embed.FS

// values is what the templates see.
type values struct {
	site.Site
	PKI, PauseImage, Socket   string
	CNIBinDir, CNIConfDir     string
	Snapshotter               string
	RestrictOOMScore, Unified bool
}

// Write writes the configuration of all components of a site to its disk. It
// depends on the host as it is now, so it is written at each start.
func Write(s site.Site) error {
	v := values{Site: s, PKI: pki.Dir, PauseImage: PauseImage, Socket: ContainerdSocket, CNIConfDir: Dir + "/cni"}
	may, err := host.MayLowerOOMScore()
	if err != nil {
		return err
	}
	v.RestrictOOMScore = !may
	if v.Unified, err = cgroup.Unified(); err != nil {
		return err
	}
	if v.CNIBinDir, err = host.CNIDir(); err != nil {
		return err
	}
	if v.Snapshotter, err = host.Snapshotter(s.Dir()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.OnDisk(v.CNIConfDir), 0o755); err != nil {
		return err
	}
	for name, path := range map[string]string{
		"containerd.toml":  Dir + "/containerd.toml",
		"kubelet.yaml":     Dir + "/kubelet.yaml",
		"kube-proxy.yaml":  Dir + "/kube-proxy.yaml",
		"10-pods.conflist": v.CNIConfDir + "/10-pods.conflist",
	} {
		if err := render(name, s.OnDisk(path), v); err != nil {
			return err
		}
	}
	// Pods get no resolver: there is no way out to the host's, which an empty file
	// would bring in.
	if err := os.WriteFile(s.OnDisk(Dir+"/resolv.conf"), []byte("options attempts:1 timeout:1\n"), 0o644); err != nil {
		return err
	}
	return writeComponentKubeconfigs(s)
}

func render(name, path string, v values) error {
	t, err := template.New(name).ParseFS(templates, "templates/"+name)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return fmt.Errorf("configuration of %s: %w", v.Name, err)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// Kubeconfig is the operator's file: one context per site and user.
func Kubeconfig() string { return filepath.Join(site.StateDir, "kubeconfig") }
