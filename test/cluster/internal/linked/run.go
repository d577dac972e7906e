// Package linked runs the upstream programs that are linked into this binary. It
// is the only package that imports them: everything else compiles in seconds.
package linked

import (
	"context"
	"os"

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

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/component"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/provisioner"
)

// Run becomes the component of that name and returns its exit code. The
// upstream commands read os.Args themselves, so it is set to what they would
// see as programs of their own.
func Run(name string, args []string) int {
	os.Args = append([]string{name}, args...)
	var command *cobra.Command
	switch name {
	case component.Etcd:
		etcdmain.Main(os.Args)
		return 0
	case component.Kubectl:
		if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
			util.CheckErr(err)
		}
		return 0
	case component.APIServer:
		command = apiserver.NewAPIServerCommand()
	case component.ControllerManager:
		command = controllermanager.NewControllerManagerCommand()
	case component.Scheduler:
		command = scheduler.NewSchedulerCommand()
	case component.Kubelet:
		command = kubelet.NewKubeletCommand(context.Background())
	case component.Proxy:
		command = proxy.NewProxyCommand()
	case component.Provisioner:
		command = provisioner.NewCommand()
	default:
		return 127
	}
	return cli.Run(command)
}
