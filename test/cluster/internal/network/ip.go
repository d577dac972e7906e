package network

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// ip runs iproute2. Network namespaces are named with -n, which enters only the
// network namespace; "ip netns exec" would also mount a fresh /sys.
func ip(args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("ip", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// ipAll runs the commands in order and stops at the first error.
func ipAll(commands ...[]string) error {
	for _, c := range commands {
		if _, err := ip(c...); err != nil {
			return err
		}
	}
	return nil
}

// in makes a command for a network namespace.
func in(netns string, args ...string) []string {
	return append([]string{"-n", netns}, args...)
}
