// Package component names the programs a Kubernetes machine is made of. They are
// linked into one binary, which becomes one of them by its first argument.
package component

import "slices"

// Names of the components of this binary.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	Provisioner       = "storage-provisioner"
	Kubectl           = "kubectl"
)

// Known tells whether an argument of that name makes the program a component.
// It becomes kubectl by its own name alone, since kubectl is a verb as well.
func Known(name string) bool {
	return slices.Contains([]string{Etcd, APIServer, ControllerManager, Scheduler, Kubelet, Proxy, Provisioner}, name)
}
