package servers

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestReleases fetches every release and lets it answer for itself.
func TestReleases(t *testing.T) {
	if os.Getenv("MATRIX") == "" {
		t.Skip("NOT RUN: fetches some 100 MB of packages; set MATRIX=1 (make matrix)")
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			b := Get(t, name)
			s := b.Start(t)
			info := s.Do(t, "INFO", "server").(string)
			field := "redis_version:"
			if b.Valkey() {
				field = "valkey_version:"
			}
			if !strings.Contains(info, field+b.Version+"\r\n") {
				t.Errorf("INFO does not say %s%s:\n%s", field, b.Version, info)
			}
			if got := s.Do(t, "EVAL", "return cjson.encode({bit.bor(1,2)})", "0"); got != "[3]" {
				t.Errorf("Lua answers %v, want [3]", got)
			}
			t.Logf("%s is %s", name, b.Version)
		})
	}
}

func TestUnknownRelease(t *testing.T) {
	if _, err := Find(t.Context(), "redis-1.0"); err == nil || !strings.Contains(err.Error(), "redis-7.0") {
		t.Errorf("Find(redis-1.0) = %v, want an error that names the known ones", err)
	}
}

func TestArchive(t *testing.T) {
	targets := "Other bookworm main http://other.example/x/\n" +
		"Debian bookworm-security main http://debian.example/debian-security/\n" +
		"Debian bookworm contrib http://debian.example/contrib/\n" +
		"Debian bookworm main http://debian.example/debian/\n"
	if got, err := archive([]byte(targets)); err != nil || got != "http://debian.example/debian/" {
		t.Errorf("archive = %q, %v", got, err)
	}
	if got, err := archive([]byte("$(ORIGIN) x\n")); err == nil {
		t.Errorf("archive of nothing = %q, want an error", got)
	}
}

func TestWanted(t *testing.T) {
	plan := "NOTE: This is only a simulation!\n" +
		"Inst gcc-10-base (10.2.1-6 Debian:11.11/oldoldstable [amd64])\n" +
		"Inst libc6 (2.31-13+deb11u11 Debian:11.11/oldoldstable [amd64]) []\n" +
		"Inst passwd (1:4.8.1-1 Debian:11.11/oldoldstable [amd64])\n" +
		"Inst redis-server (5:6.0.16-1+deb11u2 Debian:11.11/oldoldstable [amd64])\n" +
		"Conf libc6 (2.31-13+deb11u11 Debian:11.11/oldoldstable [amd64])\n"
	want := []string{"libc6=2.31-13+deb11u11", "redis-server=5:6.0.16-1+deb11u2"}
	if got := wanted([]byte(plan)); !slices.Equal(got, want) {
		t.Errorf("wanted = %q, want %q", got, want)
	}
}
