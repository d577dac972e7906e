package discovery_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue gives a certificate for a name that only exists in a cluster.
func (a *authority) issue(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "redis-c"}, DNSNames: []string{"redis-c.redis.svc.cluster.local"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

// TestTLS: a server that demands certificates of its clients is asked with
// those of the instance's Secret, and one of another CA is not trusted.
func TestTLS(t *testing.T) {
	const password = "3wPxzWffdn"
	ca := newAuthority(t)
	cert, key := ca.issue(t)
	dir := t.TempDir()
	for name, raw := range map[string][]byte{"ca.crt": ca.pem, "tls.crt": cert, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	testredis.Start(t, "--requirepass", password, "--tls-port", port, "--tls-auth-clients", "yes",
		"--tls-ca-cert-file", filepath.Join(dir, "ca.crt"),
		"--tls-cert-file", filepath.Join(dir, "tls.crt"), "--tls-key-file", filepath.Join(dir, "tls.key"))
	at, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}

	s := testkube.New(t)
	s.AddStandalone(t)
	s.Forward["redis/redis-c-0:6379"] = net.JoinHostPort("127.0.0.1", strconv.Itoa(at))
	s.Edit(t, "/api/v1/namespaces/redis/secrets/redis-c-auth", func(u *unstructured.Unstructured) {
		u.Object["data"] = map[string]any{"password": base64.StdEncoding.EncodeToString([]byte(password))}
	})
	s.Edit(t, "/apis/apps/v1/namespaces/redis/statefulsets/redis-c", func(u *unstructured.Unstructured) {
		volumes := []any{map[string]any{"name": "tls-certs", "secret": map[string]any{"secretName": "redis-c-tls"}}}
		if err := unstructured.SetNestedSlice(u.Object, volumes, "spec", "template", "spec", "volumes"); err != nil {
			t.Fatal(err)
		}
	})
	certificates := func(ca []byte) {
		s.Add(t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "redis", Name: "redis-c-tls"},
			Data:       map[string][]byte{"ca.crt": ca, "tls.crt": cert, "tls.key": key},
		})
	}

	certificates(ca.pem)
	inst := discover(t, s, "redis-c")
	if !inst.TLS || len(inst.Shards) != 1 || len(inst.Findings) != 0 {
		t.Errorf("got %+v", inst)
	}

	certificates(newAuthority(t).pem)
	inst = discover(t, s, "redis-c")
	if len(topology.Errors(inst.Findings)) == 0 || !strings.Contains(inst.Findings[0].Message, "not from the instance's CA") {
		t.Errorf("another CA: got %+v", inst.Findings)
	}
}

// TestSentinelPassword: Sentinels that take the password of the data, as some
// charts set them up without saying so.
func TestSentinelPassword(t *testing.T) {
	s := testkube.New(t)
	f := s.RunFailover(t)
	for _, sentinel := range f.Sentinels {
		sentinel.Do(t, "ACL", "SETUSER", "default", "resetpass", ">"+testkube.FailoverPassword)
	}
	inst := discover(t, s, "redis-b")
	if len(inst.Shards) != 1 || len(inst.Findings) != 0 {
		t.Errorf("got %+v", inst.Findings)
	}
	for _, sentinel := range f.Sentinels {
		sentinel.Do(t, "ACL", "SETUSER", "default", "resetpass", ">another")
	}
	inst = discover(t, s, "redis-b")
	if errs := topology.Errors(inst.Findings); len(errs) != 1 || !strings.Contains(errs[0].Message, "none of its 3 Sentinels") {
		t.Errorf("got %+v", inst.Findings)
	}
}
