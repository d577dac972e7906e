package config

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/pki"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// local is how a site's own components reach its API server.
const local = "https://127.0.0.1:6443"

// componentUsers are the certificates that components present, each in a
// kubeconfig of the same name.
var componentUsers = []string{
	pki.Admin, pki.ControllerManager, pki.Scheduler, pki.Node, pki.Proxy, pki.Provisioner,
}

// KubeconfigOf returns the machine's path of the kubeconfig of a component.
func KubeconfigOf(user string) string { return Dir + "/" + user + ".kubeconfig" }

func writeComponentKubeconfigs(s site.Site) error {
	// Relative paths hold for the machine and for the host.
	pair := filepath.Base(pki.Dir) + "/"
	for _, user := range componentUsers {
		c := api.NewConfig()
		c.Clusters[s.Name] = &api.Cluster{Server: local, CertificateAuthority: pair + pki.CA + ".crt"}
		c.AuthInfos[user] = &api.AuthInfo{
			ClientCertificate: pair + user + ".crt",
			ClientKey:         pair + user + ".key",
		}
		c.Contexts[s.Name] = &api.Context{Cluster: s.Name, AuthInfo: user}
		c.CurrentContext = s.Name
		if err := clientcmd.WriteToFile(*c, s.OnDisk(KubeconfigOf(user))); err != nil {
			return fmt.Errorf("kubeconfig %s of %s: %w", user, s.Name, err)
		}
	}
	return nil
}

// WriteKubeconfig writes the operator's kubeconfig for the given sites. It has
// no current context, so that no command hits a site by accident.
func WriteKubeconfig(sites []site.Site) error {
	c := api.NewConfig()
	for _, s := range sites {
		if err := addSite(c, s); err != nil {
			return fmt.Errorf("kubeconfig entry of %s: %w", s.Name, err)
		}
	}
	path := Kubeconfig()
	if err := clientcmd.WriteToFile(*c, path+".new"); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	return os.Rename(path+".new", path)
}

func addSite(c *api.Config, s site.Site) error {
	file := func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(s.OnDisk(pki.Dir), name))
	}
	ca, err := file(pki.CA + ".crt")
	if err != nil {
		return err
	}
	cert, err := file(pki.Admin + ".crt")
	if err != nil {
		return err
	}
	key, err := file(pki.Admin + ".key")
	if err != nil {
		return err
	}
	c.Clusters[s.Name] = &api.Cluster{Server: s.Server(), CertificateAuthorityData: ca}
	c.AuthInfos[s.Name+"-admin"] = &api.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	c.Contexts[s.Name] = &api.Context{Cluster: s.Name, AuthInfo: s.Name + "-admin"}
	for _, user := range []string{pki.NoAccess, pki.Viewer} {
		token, err := pki.Token(s, user)
		if err != nil {
			return err
		}
		name := s.Name + "-" + user
		c.AuthInfos[name] = &api.AuthInfo{Token: token}
		c.Contexts[name] = &api.Context{Cluster: s.Name, AuthInfo: name}
	}
	return nil
}
