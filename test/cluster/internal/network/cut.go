package network

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// A cut is a pair of routing rules on the router that drop each packet, whether
// it belongs to an established connection or not, without an answer. The rules
// rank before the routing tables and after the router's own addresses.
const cutRank = "100"

// Between drops everything between two sites, in both directions. The host
// still reaches both.
func Between(a, b site.Site) [][2]string {
	return [][2]string{{a.NodeNet(), b.NodeNet()}, {b.NodeNet(), a.NodeNet()}}
}

// Around drops everything from and to a site, the host's traffic included.
func Around(s site.Site) [][2]string {
	return [][2]string{{s.NodeNet(), "all"}, {"all", s.NodeNet()}}
}

// Cut puts the rules in place that are not there yet.
func Cut(rules [][2]string) error {
	present, err := cuts()
	if err != nil {
		return err
	}
	for _, r := range rules {
		if slices.Contains(present, r) {
			continue
		}
		if _, err := ip(rule("add", r)...); err != nil {
			return fmt.Errorf("cut: %w", err)
		}
	}
	return nil
}

// Restore removes those of the rules that are there.
func Restore(rules [][2]string) error {
	present, err := cuts()
	if err != nil {
		return err
	}
	for _, r := range rules {
		if !slices.Contains(present, r) {
			continue
		}
		if _, err := ip(rule("del", r)...); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

// Cuts tells, one line each, what is cut at present.
func Cuts(sites []site.Site) ([]string, error) {
	if !exists(router) {
		return nil, nil
	}
	present, err := cuts()
	if err != nil {
		return nil, err
	}
	var lines []string
	for i, a := range sites {
		if slices.Contains(present, Around(a)[0]) {
			lines = append(lines, a.Name+" is cut off from everything")
		}
		for _, b := range sites[i+1:] {
			if slices.Contains(present, Between(a, b)[0]) {
				lines = append(lines, a.Name+" and "+b.Name+" are cut off from each other")
			}
		}
	}
	return lines, nil
}

func rule(verb string, r [2]string) []string {
	return in(router, "rule", verb, "from", r[0], "to", r[1], "blackhole", "priority", cutRank)
}

func cuts() ([][2]string, error) {
	out, err := ip(in(router, "rule", "show")...)
	if err != nil {
		return nil, err
	}
	return parseRules(out), nil
}

var cutRule = regexp.MustCompile(`^` + cutRank + `:\s+from (\S+)(?: to (\S+))? blackhole\s*$`)

// parseRules reads the cuts out of what "ip rule show" prints. It leaves out
// "to all", which this adds again.
func parseRules(out string) [][2]string {
	var found [][2]string
	for line := range strings.Lines(out) {
		if m := cutRule.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			if m[2] == "" {
				m[2] = "all"
			}
			found = append(found, [2]string{m[1], m[2]})
		}
	}
	return found
}
