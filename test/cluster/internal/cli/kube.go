package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/component"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
)

// oldestKubectl is the first version that talks to these clusters and knows the
// plugin's completion.
var oldestKubectl = version.MustParseGeneric("1.28.0")

func newKubeconfig() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the kubeconfig of all sites",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(config.Kubeconfig()); errors.Is(err, fs.ErrNotExist) {
				return errors.New("no cluster was ready yet; start some with: testcluster up")
			} else if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), config.Kubeconfig())
			return nil
		},
	}
}

func newKubectl() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl",
		Short: "Print the path of a kubectl of version " + oldestKubectl.String() + " or later",
		Long: `Print the path of the machine's kubectl if it is recent enough; otherwise of one
that is part of this program.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := kubectl()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return nil
		},
	}
}

func kubectl() (string, error) {
	if path, err := exec.LookPath(component.Kubectl); err == nil {
		out, err := exec.Command(path, "version", "--client", "--output=json").Output()
		if err == nil && recent(out) {
			return path, nil
		}
	}
	// This program is kubectl when called by that name.
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	link := filepath.Join(filepath.Dir(program), component.Kubectl)
	if err := os.Symlink(filepath.Base(program), link); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("kubectl: %w", err)
	}
	return link, nil
}

// recent reads what "kubectl version --client --output=json" prints.
func recent(out []byte) bool {
	var v struct {
		ClientVersion struct{ GitVersion string }
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return false
	}
	have, err := version.ParseGeneric(v.ClientVersion.GitVersion)
	return err == nil && have.AtLeast(oldestKubectl)
}
