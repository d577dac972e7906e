package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rootCAConfigMap is what a controller of every cluster puts into every
// namespace: the CA of the API server.
const rootCAConfigMap = "kube-root-ca.crt"

// ClusterID recognises a cluster again, whatever kubeconfig, proxy or user
// the next command comes with. UID is the uid of the namespace kube-system;
// many users may not read that, so there is CAHash too: a hash of the
// cluster's CA as every namespace holds it in the ConfigMap kube-root-ca.crt.
type ClusterID struct {
	UID    string `json:"uid,omitempty"`
	CAHash string `json:"caHash,omitempty"`
}

// Same reports whether both are the same cluster: by uid where both know it,
// else by CA.
func (id ClusterID) Same(other ClusterID) bool {
	if id.UID != "" && other.UID != "" {
		return id.UID == other.UID
	}
	return id.CAHash != "" && id.CAHash == other.CAHash
}

// IsZero reports whether nothing is known.
func (id ClusterID) IsZero() bool { return id == ClusterID{} }

func (id ClusterID) String() string {
	if id.UID != "" {
		return id.UID
	}
	return id.CAHash
}

// ClusterID reads what recognises this cluster; namespace is one that the
// user may read ConfigMaps in. One of the two marks is enough.
func (c *Client) ClusterID(ctx context.Context, namespace string) (ClusterID, error) {
	var id ClusterID
	ns, nsErr := c.core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	switch {
	case nsErr == nil:
		id.UID = string(ns.UID)
	case !IsForbidden(nsErr):
		return ClusterID{}, c.wrap(nsErr, "read namespace %s to recognise the cluster", metav1.NamespaceSystem)
	}
	m, err := c.core.CoreV1().ConfigMaps(namespace).Get(ctx, rootCAConfigMap, metav1.GetOptions{})
	switch {
	case err == nil:
		sum := sha256.Sum256([]byte(m.Data["ca.crt"]))
		id.CAHash = hex.EncodeToString(sum[:])
	case !IsForbidden(err) && !IsNotFound(err):
		return ClusterID{}, c.wrap(err, "read configmap %s/%s to recognise the cluster", namespace, rootCAConfigMap)
	}
	if id.IsZero() {
		return id, c.wrap(nsErr, "recognise the cluster, by get on namespace %s or on configmap %s/%s, of which neither succeeds",
			metav1.NamespaceSystem, namespace, rootCAConfigMap)
	}
	return id, nil
}

func decodeJSON(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("decode the answer of the API server: %w", err)
	}
	return nil
}
