// Package component holds the programs a Kubernetes machine is made of. They
// are linked into one binary, which becomes one of them by its first argument.
package component

import (
	"context"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/provisioner"
)

// Names of the components that Run starts.
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

// Known tells whether Run starts the component of that name.
func Known(name string) bool {
	return slices.Contains([]string{Etcd, APIServer, ControllerManager, Scheduler, Kubelet, Proxy, Provisioner, Kubectl}, name)
}

// Run becomes the component of that name and returns its exit code. The
// upstream commands read os.Args themselves, so it is set to what they would
// see as programs of their own.
func Run(name string, args []string) int {
	os.Args = append([]string{name}, args...)
	var command *cobra.Command
	switch name {
	case Etcd:
		etcdmain.Main(os.Args)
		return 0
	case Kubectl:
		if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
			util.CheckErr(err)
		}
		return 0
	case APIServer:
		command = apiserver.NewAPIServerCommand()
	case ControllerManager:
		command = controllermanager.NewControllerManagerCommand()
	case Scheduler:
		command = scheduler.NewSchedulerCommand()
	case Kubelet:
		command = kubelet.NewKubeletCommand(context.Background())
	case Proxy:
		command = proxy.NewProxyCommand()
	case Provisioner:
		command = provisioner.NewCommand()
	default:
		return 127
	}
	return cli.Run(command)
}
