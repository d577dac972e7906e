package pair

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
)

// Validate checks what can be checked without asking a cluster. It expects
// defaults to be set, and reports every problem at once.
func (p Pair) Validate() error {
	errs := []error{CheckName(p.Metadata.Name)}
	if n := len(p.Spec.Sites); n != 2 {
		errs = append(errs, fmt.Errorf("spec.sites: expected two sites, got %d", n))
	}
	for i, site := range p.Spec.Sites {
		if err := p.checkSite(site); err != nil {
			errs = append(errs, fmt.Errorf("spec.sites[%d]: %w", i, err))
		}
	}
	if len(p.Spec.Sites) == 2 {
		errs = append(errs, checkSites(p.Spec.Sites[0], p.Spec.Sites[1]))
	}
	if _, ok := p.Spec.Site(p.Spec.PreferredPrimary); !ok && len(p.Spec.Sites) == 2 {
		errs = append(errs, fmt.Errorf("spec.preferredPrimary %q: expected one of the sites %q and %q",
			p.Spec.PreferredPrimary, p.Spec.Sites[0].Name, p.Spec.Sites[1].Name))
	}
	errs = append(errs, p.Spec.StaleKeys.check(), p.Spec.checkEnums())
	return errors.Join(errs...)
}

func (p Pair) checkSite(site Site) error {
	var errs []error
	if !isLabel(site.Name) {
		errs = append(errs, fmt.Errorf("name %q: expected a DNS label: lower-case letters, digits and '-', starting with a letter", site.Name))
	} else if name := ReplicatorName(p.Metadata.Name, site.Name, 0); len(name)-1+maxShardDigits > maxLabel {
		errs = append(errs, fmt.Errorf("name %q and the pair name %q are too long together: %s with %d digits must fit into %d characters",
			site.Name, p.Metadata.Name, name[:len(name)-1]+"SHARD", maxShardDigits, maxLabel))
	}
	if site.Instance.Name == "" {
		errs = append(errs, errors.New("instance.name is missing"))
	}
	if site.Namespace == "" {
		errs = append(errs, errors.New("namespace is missing"))
	}
	if c := site.Credentials; c != nil && c.Password != nil && (c.Password.Name == "" || c.Password.Key == "") {
		errs = append(errs, errors.New("credentials.passwordSecret: expected name and key"))
	}
	return errors.Join(append(errs, site.Access.check())...)
}

func checkSites(a, b Site) error {
	if a.Name == b.Name {
		return fmt.Errorf("spec.sites: both are named %q; give each a name of its own", a.Name)
	}
	if a.Kubeconfig == b.Kubeconfig && a.Context == b.Context && a.Namespace == b.Namespace && a.Instance.Name == b.Instance.Name {
		if a.Instance.Kind == b.Instance.Kind || a.Instance.Kind == "" || b.Instance.Kind == "" {
			return fault.Refuse("name two different instances",
				"the target is the source itself: sites %s and %s are the same instance: %s in namespace %s of context %q",
				a.Name, b.Name, a.Instance.Name, a.Namespace, a.Context)
		}
	}
	return nil
}

func (a Access) check() error {
	var errs []error
	switch a.Type {
	case "", AccessNodePort, AccessClusterIP, AccessLoadBalancer:
		if len(a.Addresses) > 0 {
			errs = append(errs, fmt.Errorf("access.addresses needs access.type %s", AccessAddresses))
		}
	case AccessAddresses:
		if len(a.Addresses) == 0 {
			errs = append(errs, fmt.Errorf("access.type %s needs access.addresses: host:port by pod name", AccessAddresses))
		}
	default:
		errs = append(errs, fmt.Errorf("access.type %q: expected %s, %s, %s or %s", a.Type,
			AccessNodePort, AccessClusterIP, AccessLoadBalancer, AccessAddresses))
	}
	for _, pod := range sortedKeys(a.Addresses) {
		if err := checkHostPort(a.Addresses[pod]); err != nil {
			errs = append(errs, fmt.Errorf("access.addresses: pod %s: %w", pod, err))
		}
	}
	for _, pod := range sortedKeys(a.NodePorts) {
		if port := a.NodePorts[pod]; port < 1 || port > 65535 {
			errs = append(errs, fmt.Errorf("access.nodePorts: pod %s: %d is not a port", pod, port))
		}
	}
	for _, address := range a.NodeAddresses {
		if address == "" || net.ParseIP(address) == nil && !isHostname(address) {
			errs = append(errs, fmt.Errorf("access.nodeAddresses: %q is neither an IP address nor a host name", address))
		}
	}
	return errors.Join(errs...)
}

func checkHostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("%q: expected host:port", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: %q is not a port", address, port)
	}
	return nil
}

func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.') {
			return false
		}
	}
	return s[0] != '-' && s[0] != '.'
}

func (s StaleKeys) check() error {
	switch s.Policy {
	case StaleKeysUnset, StaleKeysRefuse, StaleKeysKeep, StaleKeysPrune:
	default:
		return fmt.Errorf("spec.staleKeys.policy %q: expected %s, %s or %s", s.Policy, StaleKeysKeep, StaleKeysPrune, StaleKeysRefuse)
	}
	if s.MaxShare != nil && (*s.MaxShare < 0 || *s.MaxShare > 1) {
		return fmt.Errorf("spec.staleKeys.maxShare %v: expected a number between 0 and 1", *s.MaxShare)
	}
	return nil
}

func (s Spec) checkEnums() error {
	var errs []error
	switch s.ProtectStandby {
	case ProtectUnset, ProtectACL, ProtectNone:
	default:
		errs = append(errs, fmt.Errorf("spec.protectStandby %q: expected %s or %s", s.ProtectStandby, ProtectACL, ProtectNone))
	}
	switch s.Replicator.LogLevel {
	case "", "debug", "info", "warn":
	default:
		errs = append(errs, fmt.Errorf("spec.replicator.logLevel %q: expected debug, info or warn", s.Replicator.LogLevel))
	}
	for _, limit := range []struct {
		key   string
		value int64
	}{
		{"spoolMemoryBytes", s.Replicator.SpoolMemoryBytes},
		{"spoolDiskBytes", s.Replicator.SpoolDiskBytes},
		{"maxBytesPerSecond", s.Replicator.MaxBytesPerSecond},
		{"maxCommandsPerSecond", s.Replicator.MaxCommandsPerSecond},
	} {
		if limit.value < 0 {
			errs = append(errs, fmt.Errorf("spec.replicator.%s: %d is negative", limit.key, limit.value))
		}
	}
	return errors.Join(errs...)
}
