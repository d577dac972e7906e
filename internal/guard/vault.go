package guard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/redisx"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// Keys of the vault's Secret.
const (
	vaultPassword = "sync-password"
	vaultRules    = "acl-rules.json"
)

// SecretStore reads and writes Secrets; *kube.Client is one.
type SecretStore interface {
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Apply(ctx context.Context, object *unstructured.Unstructured, opts kube.ApplyOptions) (*unstructured.Unstructured, error)
}

// Vault is the Secret of one site that keeps the password of the dedicated
// user, and what every other user of every pod might run before it lost
// @write. It holds no password of theirs and no hash of one.
type Vault struct {
	store           SecretStore
	namespace, name string
	labels          map[string]string

	mu       sync.Mutex
	exists   bool
	password string
	rules    map[string]map[string]redisx.UserRules // by pod and user
}

// OpenVault reads the Secret; that there is none yet is no error.
func OpenVault(ctx context.Context, store SecretStore, namespace, name string, labels map[string]string) (*Vault, error) {
	v := &Vault{store: store, namespace: namespace, name: name, labels: labels, rules: map[string]map[string]redisx.UserRules{}}
	secret, err := store.Secret(ctx, namespace, name)
	if kube.IsNotFound(err) {
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	if secret.Labels[kube.LabelManagedBy] != kube.ManagedBy || secret.Labels[kube.LabelPair] != labels[kube.LabelPair] {
		return nil, fault.Refuse("choose another name for the pair, or remove that object",
			"secret %s/%s exists and was not made by this pair", namespace, name)
	}
	v.exists, v.password = true, string(secret.Data[vaultPassword])
	if text := secret.Data[vaultRules]; len(text) > 0 {
		if err := json.Unmarshal(text, &v.rules); err != nil {
			return nil, fmt.Errorf("secret %s/%s: key %s: %w", namespace, name, vaultRules, err)
		}
	}
	return v, nil
}

// Exists tells whether the Secret was there, or has been written.
func (v *Vault) Exists() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.exists
}

// Password of the dedicated user; "" before MakePassword.
func (v *Vault) Password() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.password
}

// MakePassword makes one if there is none. Protect keeps it.
func (v *Vault) MakePassword() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.password != "" {
		return nil
	}
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		return fmt.Errorf("making a password: %w", err)
	}
	v.password = hex.EncodeToString(raw)
	return nil
}

// rulesOf gives what is remembered of one pod.
func (v *Vault) rulesOf(pod string) map[string]redisx.UserRules {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.rules[pod])
}

// empty tells whether nothing is to be undone.
func (v *Vault) empty() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.rules) == 0
}

// keep replaces what is remembered of some pods, nil forgets one, and writes
// the Secret.
func (v *Vault) keep(ctx context.Context, rules map[string]map[string]redisx.UserRules) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := maps.Clone(v.rules)
	for pod, of := range rules {
		if of == nil {
			delete(next, pod)
		} else {
			next[pod] = of
		}
	}
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("secret %s/%s: %w", v.namespace, v.name, err)
	}
	object, err := manifests.Secret{
		Name: v.name, Namespace: v.namespace, Labels: v.labels,
		Files: map[string][]byte{vaultPassword: []byte(v.password), vaultRules: text},
	}.Render()
	if err != nil {
		return err
	}
	// Whoever edited it by hand did not know better what was there before.
	if _, err := v.store.Apply(ctx, object, kube.ApplyOptions{Force: true}); err != nil {
		return fmt.Errorf("keeping what the protection has to remember: %w", err)
	}
	v.exists, v.rules = true, next
	return nil
}
