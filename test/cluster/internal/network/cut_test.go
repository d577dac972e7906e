package network

import (
	"slices"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// What iproute2 6.1 prints.
const ruleShow = `0:	from all lookup local
100:	from 10.213.1.0/24 blackhole
100:	from all to 10.213.1.0/24 blackhole
100:	from 10.213.1.0/24 to 10.213.2.0/24 blackhole
1000:	from 10.213.3.0/24 blackhole
32766:	from all lookup main
32767:	from all lookup default
`

func TestParseRules(t *testing.T) {
	want := [][2]string{
		{"10.213.1.0/24", "all"},
		{"all", "10.213.1.0/24"},
		{"10.213.1.0/24", "10.213.2.0/24"},
	}
	if got := parseRules(ruleShow); !slices.Equal(got, want) {
		t.Errorf("parseRules = %v, want %v", got, want)
	}
}

func TestCutsAreFoundAgain(t *testing.T) {
	a, b := site.Site{Name: "site-a", Index: 1}, site.Site{Name: "site-b", Index: 2}
	present := parseRules(ruleShow)
	for _, r := range Around(a) {
		if !slices.Contains(present, r) {
			t.Errorf("%v is not recognised", r)
		}
	}
	for _, r := range Around(b) {
		if slices.Contains(present, r) {
			t.Errorf("%v is taken for present", r)
		}
	}
	if Between(a, b)[0] != Between(b, a)[1] {
		t.Error("a cut depends on the order of its sites")
	}
}
