package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// Credentials of an instance.
type Credentials struct {
	Username string
	Password string
}

// CredentialError says that the Secret with a password is not usable.
type CredentialError struct {
	Site     string // as kube.Client.Where says
	Instance string
	Secret   string // namespace/name
	Err      error
}

func (e *CredentialError) Error() string {
	return fmt.Sprintf("%s: password of %s: secret %s: %v", e.Site, e.Instance, e.Secret, e.Err)
}

func (e *CredentialError) Unwrap() error { return e.Err }

// ExitCode is that of authentication.
func (e *CredentialError) ExitCode() int { return 12 }

// Remedy says what to do.
func (e *CredentialError) Remedy() string {
	if kube.IsForbidden(e.Err) {
		return "ask for the permission to get this secret (role rule: secrets, get, resourceNames)"
	}
	return "create the secret that the instance's pods refer to, or correct the reference in its custom resource"
}

// ReadCredentials reads the password of an instance as its servers accept it;
// an instance without one has empty credentials. Operators leave out the line
// end that many Secrets carry, but it may be part of the password: then a
// server is asked.
func ReadCredentials(ctx context.Context, c *kube.Client, inst topology.Instance) (Credentials, error) {
	cred, err := rawCredentials(ctx, c, inst)
	if err != nil || strings.TrimRight(cred.Password, "\r\n") == cred.Password {
		return cred, err
	}
	s := Open(c, inst, cred)
	defer s.Close()
	for _, p := range inst.Pods {
		var client *redisx.Client
		if client, err = s.Pod(ctx, p.Name); err == nil {
			cred.Password = client.Password()
			return cred, nil
		}
	}
	if err != nil {
		return Credentials{}, err
	}
	return cred, nil
}

// rawCredentials reads the password as the Secret holds it.
func rawCredentials(ctx context.Context, c *kube.Client, inst topology.Instance) (Credentials, error) {
	password, err := readSecret(ctx, c, inst, inst.Password)
	return Credentials{Username: inst.Username, Password: password}, err
}

// ReadSentinelCredentials reads the password of an instance's Sentinels;
// empty where they have none.
func ReadSentinelCredentials(ctx context.Context, c *kube.Client, inst topology.Instance) (Credentials, error) {
	if inst.Sentinel == nil {
		return Credentials{}, nil
	}
	password, err := readSecret(ctx, c, inst, inst.Sentinel.Password)
	return Credentials{Password: password}, err
}

func readSecret(ctx context.Context, c *kube.Client, inst topology.Instance, ref *topology.SecretRef) (string, error) {
	if ref == nil {
		return "", nil
	}
	fail := func(err error) error {
		return &CredentialError{Site: c.Where(), Instance: inst.Ref(), Secret: inst.Namespace + "/" + ref.Name, Err: err}
	}
	secret, err := c.Secret(ctx, inst.Namespace, ref.Name)
	switch {
	case kube.IsNotFound(err):
		return "", fail(errors.New("does not exist"))
	case kube.IsForbidden(err):
		return "", fail(fmt.Errorf("may not be read: %w", rootCause(err)))
	case err != nil:
		return "", err
	}
	value, ok := secret.Data[ref.Key]
	if !ok {
		return "", fail(fmt.Errorf("has no key %q, it has %s", ref.Key, keysOf(secret)))
	}
	if len(value) == 0 {
		return "", fail(fmt.Errorf("its key %q is empty", ref.Key))
	}
	return string(value), nil
}

func keysOf(s *corev1.Secret) string {
	if len(s.Data) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(s.Data)), ", ")
}

// rootCause is the innermost error, which says it without repeating where.
func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// tlsConfig gives what to speak TLS with, nil for a server without TLS. The
// chain is checked where the CA may be read. The name in the certificate is
// not: pods are reached through the API server, which knows them by name, and
// operators issue certificates for names that only exist in the cluster.
func tlsConfig(ctx context.Context, c *kube.Client, inst topology.Instance) (*tls.Config, error) {
	if !inst.TLS {
		return nil, nil
	}
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // verified below where a CA is known
	if inst.TLSSecret == nil {
		return config, nil
	}
	secret, err := c.Secret(ctx, inst.Namespace, inst.TLSSecret.Name)
	if kube.IsForbidden(err) || kube.IsNotFound(err) {
		return config, nil
	}
	if err != nil {
		return nil, err
	}
	where := fmt.Sprintf("%s: TLS secret %s/%s of %s", c.Where(), inst.Namespace, inst.TLSSecret.Name, inst.Ref())
	if ca := secret.Data[inst.TLSSecret.CA]; len(ca) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("%s: key %q holds no PEM certificate", where, inst.TLSSecret.CA)
		}
		config.VerifyConnection = verifyChain(pool)
	}
	cert, key := secret.Data[inst.TLSSecret.Cert], secret.Data[inst.TLSSecret.Key]
	if len(cert) > 0 && len(key) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		if err != nil {
			return fmt.Errorf("tls: the server's certificate is not from the instance's CA: %w", err)
		}
		return nil
	}
}
