// Package pki issues the certificates, keys and tokens of a cluster.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// Dir is where a site's machine finds its certificates.
const Dir = "/var/lib/kubernetes/pki"

// validity is long enough for a cluster that somebody keeps for a while.
const validity = 2 * 365 * 24 * time.Hour

// leaf describes one certificate. Client certificates name a user in the common
// name and groups in the organisation, which is how Kubernetes reads them.
type leaf struct {
	file   string
	user   string
	groups []string
	hosts  []string // serving certificates only
}

// Files of the certificate pairs, without .crt and .key.
const (
	CA                = "ca"
	Admin             = "admin"
	APIServer         = "apiserver"
	KubeletClient     = "apiserver-kubelet-client"
	ControllerManager = "controller-manager"
	Scheduler         = "scheduler"
	Node              = "node"
	NodeServing       = "node-serving"
	Proxy             = "proxy"
	Provisioner       = "provisioner"
	// ServiceAccounts is a key (.key, .pub) and no certificate.
	ServiceAccounts = "service-accounts"
	// Tokens is the API server's file of static tokens.
	Tokens = "tokens.csv"
)

// Users of the token file: they exist and may do nothing until a test binds
// them to a role.
const (
	NoAccess = "noaccess"
	Viewer   = "viewer"
)

// ProvisionerUser is the user that the storage provisioner's role is bound to.
const ProvisionerUser = "system:storage-provisioner"

func leaves(s site.Site) []leaf {
	return []leaf{
		{file: Admin, user: "kubernetes-admin", groups: []string{"system:masters"}},
		{file: APIServer, user: "kube-apiserver", hosts: []string{
			s.NodeIP(), s.APIServiceIP(), "127.0.0.1", "localhost", s.Name,
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}},
		{file: KubeletClient, user: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: ControllerManager, user: "system:kube-controller-manager"},
		{file: Scheduler, user: "system:kube-scheduler"},
		{file: Node, user: "system:node:" + s.Name, groups: []string{"system:nodes"}},
		{file: NodeServing, user: "system:node:" + s.Name, hosts: []string{s.NodeIP(), "127.0.0.1", s.Name}},
		{file: Proxy, user: "system:kube-proxy"},
		{file: Provisioner, user: ProvisionerUser},
	}
}

// Ensure issues everything a site needs, once: a cluster keeps its identity
// over restarts. The last file written marks the folder as complete.
func Ensure(s site.Site) error {
	dir := s.OnDisk(Dir)
	if _, err := os.Stat(filepath.Join(dir, Tokens)); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority(dir, s.Name)
	if err != nil {
		return fmt.Errorf("certificate authority of %s: %w", s.Name, err)
	}
	for _, l := range leaves(s) {
		if err := ca.issue(dir, l); err != nil {
			return fmt.Errorf("certificate %s of %s: %w", l.file, s.Name, err)
		}
	}
	if err := writeServiceAccountKey(dir); err != nil {
		return fmt.Errorf("service account key of %s: %w", s.Name, err)
	}
	return writeTokens(dir)
}

// Token returns the static token of a test user of a site.
func Token(s site.Site, user string) (string, error) {
	data, err := os.ReadFile(filepath.Join(s.OnDisk(Dir), Tokens))
	if err != nil {
		return "", err
	}
	return tokenOf(user, string(data))
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(dir, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name + " test cluster"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := &authority{cert: template, key: key}
	return a, a.sign(dir, CA, template, key)
}

func (a *authority) issue(dir string, l leaf) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.user, Organization: l.groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(l.hosts) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range l.hosts {
		if addr := net.ParseIP(h); addr != nil {
			template.IPAddresses = append(template.IPAddresses, addr)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return a.sign(dir, l.file, template, key)
}

// sign completes a template and writes the pair. The machine's clock may be set
// back a little between two starts, hence the hour of grace.
func (a *authority) sign(dir, file string, template *x509.Certificate, key crypto.Signer) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	if template.IsCA {
		// Leaves take their issuer and its key id from the signed certificate.
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return err
		}
	}
	if err := writePEM(filepath.Join(dir, file+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, file+".key"), key)
}

func writeServiceAccountKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, ServiceAccounts+".pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, ServiceAccounts+".key"), key)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func randomToken() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}
