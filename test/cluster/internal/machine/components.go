package machine

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/component"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/pki"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// Containerd is the only component that is not part of this binary.
const Containerd = "containerd"

// Components returns the names of all components, in the order of their start.
func Components() []string {
	var names []string
	for _, c := range components(site.Site{}) {
		names = append(names, c.name)
	}
	return names
}

func components(s site.Site) []service {
	cert := func(name string) string { return pki.Dir + "/" + name + ".crt" }
	key := func(name string) string { return pki.Dir + "/" + name + ".key" }
	return []service{
		{name: component.Etcd, argv: own(component.Etcd,
			"--name="+s.Name,
			"--data-dir=/var/lib/etcd",
			"--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
			"--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster="+s.Name+"=http://127.0.0.1:2380",
			// A machine that is switched off loses its processes, not the host's
			// page cache, so nothing is lost by not waiting for the disk.
			"--unsafe-no-fsync",
			"--log-level=warn",
		)},
		{name: Containerd, argv: []string{lookPath(Containerd), "--config=" + config.Dir + "/containerd.toml"}},
		{name: component.APIServer, argv: own(component.APIServer,
			"--etcd-servers=http://127.0.0.1:2379",
			"--advertise-address="+s.NodeIP(),
			"--service-cluster-ip-range="+s.ServiceCIDR(),
			"--tls-cert-file="+cert(pki.APIServer),
			"--tls-private-key-file="+key(pki.APIServer),
			"--client-ca-file="+cert(pki.CA),
			"--token-auth-file="+pki.Dir+"/"+pki.Tokens,
			"--kubelet-certificate-authority="+cert(pki.CA),
			"--kubelet-client-certificate="+cert(pki.KubeletClient),
			"--kubelet-client-key="+key(pki.KubeletClient),
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file="+pki.Dir+"/"+pki.ServiceAccounts+".pub",
			"--service-account-signing-key-file="+key(pki.ServiceAccounts),
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--profiling=false",
		), ready: reachable("http://127.0.0.1:2379/health")},
		{name: component.ControllerManager, argv: own(component.ControllerManager,
			"--kubeconfig="+config.KubeconfigOf(pki.ControllerManager),
			"--root-ca-file="+cert(pki.CA),
			"--cluster-signing-cert-file="+cert(pki.CA),
			"--cluster-signing-key-file="+key(pki.CA),
			"--service-account-private-key-file="+key(pki.ServiceAccounts),
			"--use-service-account-credentials",
			// The default of 20 a second delays the start by seconds.
			"--kube-api-qps=200",
			"--kube-api-burst=400",
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
			"--profiling=false",
		), ready: apiReady},
		{name: component.Scheduler, argv: own(component.Scheduler,
			"--kubeconfig="+config.KubeconfigOf(pki.Scheduler),
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
			"--profiling=false",
		), ready: apiReady},
		{name: component.Kubelet, argv: own(component.Kubelet,
			"--config="+config.Dir+"/kubelet.yaml",
			"--kubeconfig="+config.KubeconfigOf(pki.Node),
			"--hostname-override="+s.Name,
			"--node-ip="+s.NodeIP(),
		), ready: func() bool { return apiReady() && exists(config.ContainerdSocket) }},
		{name: component.Proxy, argv: own(component.Proxy,
			"--config="+config.Dir+"/kube-proxy.yaml",
		), ready: apiReady},
		{name: component.Provisioner, argv: own(component.Provisioner,
			"--kubeconfig="+config.KubeconfigOf(pki.Provisioner),
			"--node="+s.Name,
		), ready: apiReady},
	}
}

// own is the command line of a component of this binary. The link stays valid
// when the binary is rebuilt or deleted while the machine runs.
func own(name string, args ...string) []string {
	return append([]string{"/proc/self/exe", name}, args...)
}

// lookPath leaves a program that is not there to fail, and be reported, at its
// start.
func lookPath(program string) string {
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	return program
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

var apiReady = reachable("https://127.0.0.1:6443/readyz")

// reachable checks that a local URL answers 200. Whose certificate it shows does
// not matter for that.
func reachable(url string) func() bool {
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	ask := func() bool {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK
	}
	return shared(ask, pollReady)
}

// shared lets many ask the same question: its answer holds for a while. Five
// components that each ask a starting API server would slow its start, where
// the processor is slow.
func shared(ask func() bool, holds time.Duration) func() bool {
	var (
		mu     sync.Mutex
		asked  time.Time
		answer bool
	)
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(asked) >= holds {
			answer = ask()
			asked = time.Now()
		}
		return answer
	}
}
