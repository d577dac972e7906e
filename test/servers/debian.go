package servers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// archiveKeyring holds Debian's keys when debian-archive-keyring is installed.
const archiveKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// unpackPackages downloads the server of a release with the libraries it
// needs and unpacks them into files. state holds the lists and packages.
func unpackPackages(ctx context.Context, rel Release, state, files string) error {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("this works on Debian and what is made of it: %w", err)
		}
	}
	apt, err := newApt(ctx, rel, state)
	if err != nil {
		return err
	}
	if _, err := apt.run(ctx, "update"); err != nil {
		return err
	}
	install := []string{"--simulate", "--no-install-recommends", "install", rel.Package}
	if rel.Base != "" {
		install = append(install, "--target-release", rel.Suite)
	}
	plan, err := apt.run(ctx, install...)
	if err != nil {
		return err
	}
	packages := wanted(plan)
	if len(packages) == 0 {
		return errors.New("apt-get plans to install nothing")
	}
	if _, err := apt.run(ctx, append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(apt.dir, "*.deb"))
	if err != nil {
		return err
	}
	if len(archives) != len(packages) {
		return fmt.Errorf("apt-get downloaded %d of %d packages", len(archives), len(packages))
	}
	for _, a := range archives {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", a, files).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(a), err, bytes.TrimSpace(out))
		}
	}
	return nil
}

var (
	planned = regexp.MustCompile(`^Inst (\S+) \((\S+)`)
	useful  = regexp.MustCompile(`^(lib|lua-|zlib1g|redis-|valkey-)`)
)

// wanted picks from a simulated installation on an empty machine what the
// server needs to run, not what maintainer scripts and services need.
func wanted(plan []byte) []string {
	var packages []string
	for sc := bufio.NewScanner(bytes.NewReader(plan)); sc.Scan(); {
		if m := planned.FindStringSubmatch(sc.Text()); m != nil && useful.MatchString(m[1]) {
			packages = append(packages, m[1]+"="+m[2])
		}
	}
	return packages
}

// apt runs apt-get with a state of its own.
type apt struct {
	dir  string
	args []string
}

// newApt makes the state for a suite. The archive to ask is the one that the
// machine itself uses.
func newApt(ctx context.Context, rel Release, dir string) (*apt, error) {
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return nil, fmt.Errorf("ask apt-get for the machine's archives: %w", err)
	}
	uri, err := archive(out)
	if err != nil {
		return nil, err
	}
	options := ""
	if _, err := os.Stat(archiveKeyring); err == nil {
		options = "[signed-by=" + archiveKeyring + "] "
	}
	var list strings.Builder
	for _, suite := range []string{rel.Suite, rel.Base} {
		if suite != "" {
			fmt.Fprintf(&list, "deb %s%s %s main\n", options, uri, suite)
		}
	}
	for name, text := range map[string]string{"sources.list": list.String(), "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir, args: []string{"-q", "-y"}}
	for _, o := range []string{
		"Dir::Etc::sourcelist=" + filepath.Join(dir, "sources.list"), "Dir::Etc::sourceparts=/dev/null",
		"Dir::State=" + dir, "Dir::State::Lists=" + filepath.Join(dir, "lists"),
		"Dir::State::status=" + filepath.Join(dir, "status"), "Dir::Cache=" + filepath.Join(dir, "cache"),
		// The state belongs to this user; another one could not write it.
		"APT::Sandbox::User=", "Acquire::Languages=none", "Acquire::Retries=3",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "APT::Get::List-Cleanup=false",
		// A machine's pins are not about these suites.
		"Dir::Etc::Preferences=/dev/null", "Dir::Etc::PreferencesParts=/dev/null",
	} {
		a.args = append(a.args, "-o", o)
	}
	return a, nil
}

// archive picks Debian's main archive from the machine's own sources: the
// place of the suite that has neither "-security" nor another suffix.
func archive(targets []byte) (string, error) {
	for sc := bufio.NewScanner(bytes.NewReader(targets)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) == 4 && f[0] == "Debian" && f[2] == "main" && !strings.Contains(f[1], "-") {
			return f[3], nil
		}
	}
	return "", errors.New("apt-get knows no archive of Debian on this machine (apt-get update?)")
}

// run calls apt-get and returns what it printed to stdout.
func (a *apt) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "apt-get", append(append([]string(nil), a.args...), args...)...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get %s: %w: %s", args[0], err, tail(stderr.String()))
	}
	return out, nil
}

// tail shortens an error output to its last lines.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
