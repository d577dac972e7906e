package host

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// tools are the programs that the clusters run, with the Debian package of each.
var tools = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"ip", "iproute2"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
}

const pluginsPackage = "containernetworking-plugins"

// InstallPackages installs the Debian packages whose programs are missing, and
// says so.
func InstallPackages(out io.Writer) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing on this host: %s; install them (there is no apt-get to do it with)",
			strings.Join(missing, ", "))
	}
	fmt.Fprintf(out, "installing Debian packages: %s\n", strings.Join(missing, " "))
	install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	for _, args := range [][]string{{"update"}, install} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if log, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, log)
		}
	}
	if still := missingPackages(); len(still) > 0 {
		return fmt.Errorf("installed %s, but the programs of %s are not found in PATH",
			strings.Join(missing, ", "), strings.Join(still, ", "))
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil && !slices.Contains(missing, t.pkg) {
			missing = append(missing, t.pkg)
		}
	}
	if _, err := CNIDir(); err != nil {
		missing = append(missing, pluginsPackage)
	}
	return missing
}
