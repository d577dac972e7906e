package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

func issueAll(t *testing.T, s site.Site) string {
	t.Helper()
	dir := t.TempDir()
	ca, err := newAuthority(dir, s.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leaves(s) {
		if err := ca.issue(dir, l); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCertificatesAreValidForTheirUse(t *testing.T) {
	s := site.Site{Name: "site-a", Index: 1}
	dir := issueAll(t, s)
	pem, err := os.ReadFile(filepath.Join(dir, CA+".crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate of the authority")
	}
	for _, l := range leaves(s) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, l.file+".crt"), filepath.Join(dir, l.file+".key"))
		if err != nil {
			t.Fatalf("%s: %v", l.file, err)
		}
		use := x509.ExtKeyUsageClientAuth
		if len(l.hosts) > 0 {
			use = x509.ExtKeyUsageServerAuth
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("%s: %v", l.file, err)
		}
		for _, host := range l.hosts {
			if err := pair.Leaf.VerifyHostname(host); err != nil {
				t.Errorf("%s: %v", l.file, err)
			}
		}
		if pair.Leaf.Subject.CommonName != l.user {
			t.Errorf("%s: user %s, want %s", l.file, pair.Leaf.Subject.CommonName, l.user)
		}
	}
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	if err := writeTokens(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, Tokens))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, user := range []string{Viewer, NoAccess} {
		token, err := tokenOf(user, string(data))
		if err != nil || len(token) != 32 || seen[token] {
			t.Errorf("token of %s: %q, %v", user, token, err)
		}
		seen[token] = true
	}
	if _, err := tokenOf("nobody", string(data)); err == nil {
		t.Error("an unknown user has a token")
	}
}
