package site

import (
	"net/netip"
	"testing"
)

func TestAddressesOfSitesAreDisjoint(t *testing.T) {
	var nets []netip.Prefix
	for _, s := range []Site{{"site-a", 1}, {"site-b", 2}, {"site-z", maxSites}} {
		node := netip.MustParsePrefix(s.NodeNet())
		service := netip.MustParsePrefix(s.ServiceCIDR())
		for _, addr := range []string{s.NodeIP(), s.Gateway()} {
			if !node.Contains(netip.MustParseAddr(addr)) {
				t.Errorf("%s: %s is not in %s", s.Name, addr, node)
			}
		}
		if !service.Contains(netip.MustParseAddr(s.APIServiceIP())) {
			t.Errorf("%s: %s is not in %s", s.Name, s.APIServiceIP(), service)
		}
		nets = append(nets, node, service, netip.MustParsePrefix(s.PodCIDR()))
	}
	for i, a := range nets {
		for _, b := range nets[i+1:] {
			if a.Overlaps(b) {
				t.Errorf("%s and %s overlap", a, b)
			}
		}
	}
}

func TestCreateRefusesNames(t *testing.T) {
	for _, name := range []string{"", "a", "A-site", "1site", "site_a", "site-", "../etc", "thirteen-char", "all", "wan"} {
		if s, err := Create(name); err == nil {
			t.Errorf("Create(%q) made %+v", name, s)
		}
	}
}

func TestOnDisk(t *testing.T) {
	s := Site{Name: "site-a", Index: 1}
	want := "/var/lib/redis-sync-test/sites/site-a/disk/log/etcd.log"
	if got := s.OnDisk("/var/log/etcd.log"); got != want {
		t.Errorf("OnDisk = %s, want %s", got, want)
	}
}
