// Package cluster takes a site through its life: created, on, off, removed.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cgroup"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/config"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/host"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/machine"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/network"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/pki"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// Report tells the user about the progress of a site.
type Report func(s site.Site, format string, args ...any)

// On switches a site on, unless it is, and waits until it can run pods. What is
// missing from an earlier attempt is made good.
func On(ctx context.Context, s site.Site, report Report) error {
	pid, err := machine.Running(s)
	if err != nil {
		return err
	}
	if pid == 0 {
		// Whatever an earlier life left behind must not mix with the new one.
		if err := machine.Kill(s); err != nil {
			return err
		}
		if err := prepare(s); err != nil {
			return err
		}
		if err := machine.Start(s); err != nil {
			return err
		}
	}
	return waitReady(ctx, s, report)
}

// prepare makes all that a machine needs to start.
func prepare(s site.Site) error {
	if err := network.EnsureSite(s); err != nil {
		return err
	}
	if err := cgroup.Create(s.Cgroup()); err != nil {
		return fmt.Errorf("site %s: %w", s.Name, err)
	}
	if err := pki.Ensure(s); err != nil {
		return err
	}
	return config.Write(s)
}

// PrepareHost makes what all sites share: packages excepted, which the caller
// installs first.
func PrepareHost() error {
	if err := host.LoadModules(); err != nil {
		return err
	}
	if err := host.SaveTunables(tunables()); err != nil {
		return err
	}
	return network.EnsureRouter()
}

// Off ends a site as a power loss does: nothing is told, nothing answers, and
// the disk stays.
func Off(s site.Site) error {
	if err := network.Unplug(s); err != nil {
		return err
	}
	if err := machine.Kill(s); err != nil {
		return err
	}
	return network.RemoveSite(s)
}

// Remove ends a site and deletes it with its disk.
func Remove(s site.Site) error {
	if err := Off(s); err != nil {
		return err
	}
	return os.RemoveAll(s.Dir())
}

// RemoveHost deletes what the sites share, once they are removed.
func RemoveHost() error {
	errs := []error{
		machine.Kill(site.Site{Name: "wan"}), // what somebody runs in the router
		network.RemoveAll(),
		cgroup.Remove("/" + site.Prefix),
		host.RestoreTunables(tunables()),
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(site.StateDir)
}

// Traces returns the names of all sites that anything is left of, whether their
// record is whole or not.
func Traces() ([]string, error) {
	names, err := site.Names()
	if err != nil {
		return nil, err
	}
	namespaces, err := network.Namespaces()
	if err != nil {
		return nil, err
	}
	for _, ns := range namespaces {
		names = append(names, strings.TrimPrefix(ns, site.Prefix+"-"))
	}
	roots, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		groups, err := filepath.Glob(filepath.Join(root, site.Prefix, "*", "cgroup.procs"))
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			names = append(names, filepath.Base(filepath.Dir(g)))
		}
	}
	return names, nil
}

func tunables() string { return filepath.Join(site.StateDir, "kernel-settings.json") }
