// Package site names the clusters of one test and everything that follows from
// a name: addresses, networks and folders.
//
// A site is a data centre of one machine: one Kubernetes cluster with one node,
// which has its own disk (a folder that it sees as /var), its own network
// namespace and its own processes.
package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Prefix starts the name of everything that a test leaves on the host while it
// runs: network namespaces, links and cgroups.
const Prefix = "redis-sync-test"

// StateDir is the one folder of the host that the clusters write to.
const StateDir = "/var/lib/" + Prefix

// maxSites bounds the index, which is a byte of each address.
const maxSites = 200

// names are short because a link's name, made of it, has at most 15 bytes.
var names = regexp.MustCompile(`^[a-z][a-z0-9-]{0,10}[a-z0-9]$`)

// reserved are words that have another meaning in the commands or as a name.
var reserved = []string{"all", "wan"}

// Site is one cluster. Its zero value is not valid: use Open or Create.
type Site struct {
	Name string `json:"name"`
	// Index is unique among the sites of this host and selects the addresses.
	Index int `json:"index"`
}

// Open returns the site of that name, which must exist.
func Open(name string) (Site, error) {
	var s Site
	data, err := os.ReadFile(filepath.Join(StateDir, "sites", name, "site.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("no site %q here: %s; create it with: testcluster up %s", name, known(), name)
	}
	if err != nil {
		return s, fmt.Errorf("site %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("site %s: read site.json: %w", name, err)
	}
	return s, nil
}

// Create returns the site of that name and makes its record if there is none.
func Create(name string) (Site, error) {
	if !names.MatchString(name) || slices.Contains(reserved, name) {
		return Site{}, fmt.Errorf("site name %q: expected 2 to 12 of a-z, 0-9 and '-', a letter first, and not %s",
			name, strings.Join(reserved, " or "))
	}
	if s, err := Open(name); err == nil {
		return s, nil
	}
	all, err := All()
	if err != nil {
		return Site{}, err
	}
	s := Site{Name: name, Index: 1}
	for slices.ContainsFunc(all, func(o Site) bool { return o.Index == s.Index }) {
		s.Index++
	}
	if s.Index > maxSites {
		return Site{}, fmt.Errorf("site %s: %d sites exist, no address is left", name, maxSites)
	}
	if err := os.MkdirAll(s.Dir(), 0o755); err != nil {
		return Site{}, err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return Site{}, err
	}
	return s, os.WriteFile(filepath.Join(s.Dir(), "site.json"), data, 0o644)
}

// All returns the sites of this host, ordered by index. A folder whose record
// is missing or broken, as a crash leaves it, is an error: see Names for those.
func All() ([]Site, error) {
	list, err := Names()
	if err != nil {
		return nil, err
	}
	var sites []Site
	for _, name := range list {
		s, err := Open(name)
		if err != nil {
			return nil, err
		}
		sites = append(sites, s)
	}
	slices.SortFunc(sites, func(a, b Site) int { return a.Index - b.Index })
	return sites, nil
}

// Names returns the names of all site folders, valid or not.
func Names() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(StateDir, "sites"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := make([]string, 0, len(entries))
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list, nil
}

func known() string {
	list, err := Names()
	if err != nil || len(list) == 0 {
		return "none exists"
	}
	return "there are " + strings.Join(list, ", ")
}

// Dir is the site's folder on the host.
func (s Site) Dir() string { return filepath.Join(StateDir, "sites", s.Name) }

// Disk is what the site's machine sees as /var. It survives a power loss.
func (s Site) Disk() string { return filepath.Join(s.Dir(), "disk") }

// OnDisk returns the host's path of a file that the machine knows as /var/....
func (s Site) OnDisk(path string) string {
	return filepath.Join(s.Disk(), strings.TrimPrefix(path, "/var"))
}

// Netns is the name of the site's network namespace.
func (s Site) Netns() string { return Prefix + "-" + s.Name }

// Cgroup is the path, in each hierarchy, under which the site's pods live.
func (s Site) Cgroup() string { return "/" + Prefix + "/" + s.Name }

// NodeNet is the network between the site's machine and the router.
func (s Site) NodeNet() string { return fmt.Sprintf("10.213.%d.0/24", s.Index) }

// Gateway is the router's address in NodeNet.
func (s Site) Gateway() string { return fmt.Sprintf("10.213.%d.1", s.Index) }

// NodeIP is the address of the machine: API server and NodePorts.
func (s Site) NodeIP() string { return fmt.Sprintf("10.213.%d.2", s.Index) }

// PodCIDR is routed nowhere outside the site.
func (s Site) PodCIDR() string { return fmt.Sprintf("10.214.%d.0/24", s.Index) }

// ServiceCIDR is routed nowhere outside the site.
func (s Site) ServiceCIDR() string { return fmt.Sprintf("10.215.%d.0/24", s.Index) }

// APIServiceIP is the cluster address of the Service kubernetes.default.
func (s Site) APIServiceIP() string { return fmt.Sprintf("10.215.%d.1", s.Index) }

// Server is the URL of the API server.
func (s Site) Server() string { return fmt.Sprintf("https://%s:6443", s.NodeIP()) }
