// Package network connects the sites with each other and with the operator's
// machine, which is the host's own network namespace:
//
//	host --10.213.0.0/30-- router --10.213.1.0/24-- site-a
//	                          |-----10.213.2.0/24-- site-b
//
// The router is a network namespace of its own, so that the host gets one link
// and one route and none of its firewall rules matters. It knows the machines
// and nothing else: pod and service networks are not routed, and there is no
// way to any other network. A packet to anything else, to a site that is switched
// off, or across a cut vanishes there without an answer, as between data centres.
package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

const (
	router     = site.Prefix + "-wan"
	hostLink   = "rst-host"   // in the host's namespace
	routerLink = "rst-router" // its other end
	hostAddr   = "10.213.0.1"
	routerAddr = "10.213.0.2"
	allNets    = "10.213.0.0/16"
	netnsDir   = "/run/netns"
)

// EnsureRouter makes the router and the host's link to it, unless they exist.
func EnsureRouter() error {
	if exists(router) {
		if _, err := ip("link", "show", "dev", hostLink); err == nil {
			return nil
		}
		// A crash in between left half of it.
		if err := deleteNetns(router); err != nil {
			return err
		}
	}
	if err := removeLink(hostLink); err != nil {
		return err
	}
	if out, err := ip("route", "show", "root", allNets); err != nil {
		return err
	} else if strings.TrimSpace(out) != "" {
		return fmt.Errorf("the host already has a route into %s, the test clusters' network: %s",
			allNets, strings.TrimSpace(out))
	}
	err := ipAll(
		[]string{"netns", "add", router},
		in(router, "link", "set", "lo", "up"),
		[]string{"link", "add", hostLink, "type", "veth", "peer", "name", routerLink, "netns", router},
		in(router, "addr", "add", routerAddr+"/30", "dev", routerLink),
		in(router, "link", "set", routerLink, "up"),
		[]string{"addr", "add", hostAddr + "/30", "dev", hostLink},
		[]string{"link", "set", hostLink, "up"},
		[]string{"route", "add", allNets, "via", routerAddr, "dev", hostLink},
		// Where no link leads, packets end without a word.
		in(router, "route", "add", "blackhole", "default", "metric", "9999"),
	)
	if err != nil {
		return fmt.Errorf("make the router: %w", err)
	}
	return Do(router, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
}

// EnsureSite makes the network namespace of a site's machine and plugs it into
// the router, unless that is done.
func EnsureSite(s site.Site) error {
	ns, plug := s.Netns(), plug(s)
	if exists(ns) {
		if _, err := ip(in(router, "link", "show", "dev", plug)...); err == nil {
			return nil
		}
		if err := deleteNetns(ns); err != nil {
			return err
		}
	}
	err := ipAll(
		[]string{"netns", "add", ns},
		in(ns, "link", "set", "lo", "up"),
		in(ns, "link", "add", "eth0", "type", "veth", "peer", "name", plug, "netns", router),
		in(ns, "addr", "add", s.NodeIP()+"/24", "dev", "eth0"),
		in(ns, "link", "set", "eth0", "up"),
		in(router, "addr", "add", s.Gateway()+"/24", "dev", plug),
		in(router, "link", "set", plug, "up"),
		in(ns, "route", "add", "default", "via", s.Gateway()),
	)
	if err != nil {
		return fmt.Errorf("make the network of %s: %w", s.Name, err)
	}
	return nil
}

// Unplug takes a site off the network at once, before its processes end: the
// kernel would tell their peers.
func Unplug(s site.Site) error {
	if !exists(router) {
		return nil
	}
	return removeLink(plug(s), "-n", router)
}

// RemoveSite deletes the site's network namespace and its link. What still runs
// in it keeps it alive, so processes must be ended before.
func RemoveSite(s site.Site) error { return deleteNetns(s.Netns()) }

// RemoveAll deletes every network namespace and link of the test clusters,
// recorded or not.
func RemoveAll() error {
	names, err := Namespaces()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, deleteNetns(name))
	}
	// The host's link goes with the router, unless that was removed by hand
	// while something still ran in it.
	errs = append(errs, removeLink(hostLink))
	return errors.Join(errs...)
}

// removeLink deletes a link if there is one of that name, in the network
// namespace that the options select. The kernel removes a link with the other
// end's namespace, but only a moment after that: it may vanish between the look
// and the deletion.
func removeLink(name string, options ...string) error {
	there := func() bool {
		_, err := ip(append(options, "link", "show", "dev", name)...)
		return err == nil
	}
	if !there() {
		return nil
	}
	if _, err := ip(append(options, "link", "del", "dev", name)...); err != nil && there() {
		return err
	}
	return nil
}

// Namespaces returns the network namespaces of the test clusters that exist.
func Namespaces() ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), site.Prefix+"-") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Path returns the file that stands for a network namespace.
func Path(netns string) string { return filepath.Join(netnsDir, netns) }

// plug is the router's end of the link to a site.
func plug(s site.Site) string { return fmt.Sprintf("rst-site%d", s.Index) }

func exists(netns string) bool {
	_, err := os.Stat(Path(netns))
	return err == nil
}

func deleteNetns(netns string) error {
	if !exists(netns) {
		return nil
	}
	_, err := ip("netns", "del", netns)
	return err
}
