package cli

import "testing"

func TestRecent(t *testing.T) {
	for out, want := range map[string]bool{
		`{"clientVersion":{"gitVersion":"v1.34.4"},"kustomizeVersion":"v5.7.1"}`: true,
		`{"clientVersion":{"gitVersion":"v1.28.0"}}`:                             true,
		`{"clientVersion":{"gitVersion":"v1.32.4-vendor.1"}}`:                    true,
		`{"clientVersion":{"gitVersion":"v1.27.16"}}`:                            false,
		`{"clientVersion":{"gitVersion":""}}`:                                    false,
		`not json`:                                                               false,
	} {
		if got := recent([]byte(out)); got != want {
			t.Errorf("recent(%s) = %v, want %v", out, got, want)
		}
	}
}

func TestEveryVerbExplainsItself(t *testing.T) {
	for _, cmd := range NewRoot().Commands() {
		if cmd.Short == "" && !cmd.Hidden {
			t.Errorf("%s has no help", cmd.Name())
		}
	}
}
