package plan

import (
	"bytes"
	"fmt"

	"github.com/BurntSushi/toml"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// Where the replicator finds the files of its Secret.
const secretDir = "/etc/redis-sync/secret/"

// Files of a replicator's Secret.
const (
	fileSourcePassword   = "source-password"
	fileTargetPassword   = "target-password"
	fileSentinelPassword = "sentinel-password"
	fileSyncPassword     = "target-sync-password"
	fileSourceCA         = "source-ca.crt"
	fileSourceCert       = "source-tls.crt"
	fileSourceKey        = "source-tls.key"
	fileTargetCA         = "target-ca.crt"
	fileTargetCert       = "target-tls.crt"
	fileTargetKey        = "target-tls.key"
)

// Room for what a source may be ahead of its target, in memory and on disk, and
// beside it for the marks of a sweep, a transaction that waits for its end with
// its large arguments, and fetched values. More than that and the pod is evicted.
const (
	defaultSpoolMemory = 16 << 20
	defaultSpoolDisk   = 4 << 30
	spoolReserve       = 2 << 30
)

// drainSeconds bounds what a replicator does after SIGTERM; its pod's grace
// period is longer.
const drainSeconds = 10

func (l Link) replicator(ordinal int) ([]*unstructured.Unstructured, error) {
	name := pair.ReplicatorName(l.Pair, l.Target.Site.Name, ordinal)
	namespace := l.Target.Site.Namespace
	labels := pair.ShardLabels(l.Pair, l.Target.Site.Name, ordinal)

	files := l.secretFiles(ordinal)
	syncFile, err := l.syncFile(ordinal, files)
	if err != nil {
		return nil, err
	}
	secret, err := manifests.Secret{Name: name, Namespace: namespace, Labels: labels, Files: files}.Render()
	if err != nil {
		return nil, err
	}
	configMap, err := manifests.ConfigMap{Name: name, Namespace: namespace, Labels: labels, SyncFile: syncFile}.Render()
	if err != nil {
		return nil, err
	}
	tuning := l.Spec.Replicator
	deployment, err := manifests.Deployment{
		Name: name, Namespace: namespace, Labels: labels,
		Replicas:         l.replicas(),
		Image:            l.Image,
		ImagePullSecrets: tuning.ImagePullSecrets,
		NodeSelector:     tuning.NodeSelector,
		Resources:        resourcesOrDefault(tuning.Resources),
		DataSize:         resource.NewQuantity(orDefault(tuning.SpoolDiskBytes, defaultSpoolDisk)+spoolReserve, resource.BinarySI).String(),
		Checksum:         manifests.Checksum(syncFile, files),
	}.Render()
	if err != nil {
		return nil, err
	}
	return []*unstructured.Unstructured{secret, configMap, deployment}, nil
}

func (l Link) replicas() int {
	if l.Paused {
		return 0
	}
	return 1
}

// secretFiles leaves out what is empty: no file, no authentication.
func (l Link) secretFiles(ordinal int) map[string][]byte {
	files := map[string][]byte{}
	for name, content := range map[string][]byte{
		manifests.SaltFile:   l.Salts[ordinal],
		fileSourcePassword:   l.Source.Password,
		fileTargetPassword:   l.Target.Password,
		fileSentinelPassword: l.Target.SentinelPassword,
		fileSyncPassword:     l.Target.SyncPassword,
		fileSourceCA:         l.Source.CA,
		fileSourceCert:       l.Source.Cert,
		fileSourceKey:        l.Source.Key,
		fileTargetCA:         l.Target.CA,
		fileTargetCert:       l.Target.Cert,
		fileTargetKey:        l.Target.Key,
	} {
		if len(content) > 0 {
			files[name] = content
		}
	}
	return files
}

const syncFileHead = "# Made by kubectl redis-sync for shard %d of pair %s. Changes are undone by the next apply.\n\n"

// syncFile is the sync.toml of one shard.
func (l Link) syncFile(ordinal int, files map[string][]byte) (string, error) {
	shard := l.Shards[ordinal]
	path := func(name string) string {
		if _, ok := files[name]; ok {
			return secretDir + name
		}
		return ""
	}
	candidates := l.Source.candidates(shard)
	if len(candidates) == 0 {
		return "", fmt.Errorf("no address of site %s reaches a data pod of instance %s", l.Source.Site.Name, l.Source.Instance.Name)
	}
	address, targets, sentinels := l.Target.targetAddresses()
	file := wire.SyncFile{
		Type: "sync",
		Link: &wire.SyncLink{Pair: l.Pair, Site: l.Target.Site.Name, Shard: ordinal, Epoch: l.Epoch, Slots: shard.Slots.String()},
		Source: wire.SyncSource{
			Address: candidates[0], Candidates: candidates,
			Username: l.Source.Username, TLS: l.Source.Instance.TLS,
			PasswordFile: path(fileSourcePassword), ServerName: serverName(l.Source.Site),
			CAFile: path(fileSourceCA), CertFile: path(fileSourceCert), KeyFile: path(fileSourceKey),
		},
		Target: wire.SyncTarget{
			Type: targetType(l.Target.Instance.Mode), Address: address, Candidates: targets, Sentinels: sentinels,
			Username: l.Target.Username, TLS: l.Target.Instance.TLS,
			PasswordFile: path(fileTargetPassword), ServerName: serverName(l.Target.Site),
			SentinelPassFile: path(fileSentinelPassword),
			CAFile:           path(fileTargetCA), CertFile: path(fileTargetCert), KeyFile: path(fileTargetKey),
			StaleKeys: string(l.StaleKeys), StaleKeysMaxShare: l.Spec.StaleKeys.MaxShare,
		},
		Advanced: l.advanced(),
	}
	if len(l.Target.SyncPassword) > 0 {
		file.Target.SyncUsername, file.Target.SyncPasswordFile = wire.SyncUser, path(fileSyncPassword)
	}
	if len(sentinels) > 0 {
		file.Target.MasterName = l.Target.Instance.Sentinel.MasterSet
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, syncFileHead, ordinal, l.Pair)
	enc := toml.NewEncoder(&text)
	enc.Indent = ""
	if err := enc.Encode(file); err != nil {
		return "", fmt.Errorf("writing sync.toml: %w", err)
	}
	return text.String(), nil
}

func (l Link) advanced() wire.SyncAdvanced {
	tuning := l.Spec.Replicator
	level := tuning.LogLevel
	if level == "" {
		level = "info"
	}
	return wire.SyncAdvanced{
		Dir:                  "/data",
		MetricsPort:          wire.DefaultMetricsPort,
		LogLevel:             level,
		LogInterval:          5,
		RestoreBehavior:      "rewrite",
		PipelineCountLimit:   1024,
		TargetMaxQuerybufLen: 1024_000_000,
		TargetMaxBulkLen:     512_000_000,
		SpoolMemory:          orDefault(tuning.SpoolMemoryBytes, defaultSpoolMemory),
		SpoolDisk:            orDefault(tuning.SpoolDiskBytes, defaultSpoolDisk),
		MaxBytesPerSec:       tuning.MaxBytesPerSecond,
		MaxCommandsPerS:      tuning.MaxCommandsPerSecond,
		DrainSeconds:         drainSeconds,
	}
}

func targetType(mode topology.Mode) string {
	if mode == topology.ModeCluster {
		return "cluster"
	}
	return "standalone"
}

func serverName(site pair.Site) string {
	if site.TLS == nil {
		return ""
	}
	return site.TLS.ServerName
}

func orDefault(n, fallback int64) int64 {
	if n == 0 {
		return fallback
	}
	return n
}

// resourcesOrDefault asks for what an idle replicator needs and bounds what a
// busy one may take.
func resourcesOrDefault(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	if len(r.Requests) > 0 || len(r.Limits) > 0 {
		return r
	}
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("50m"),
			corev1.ResourceMemory: resource.MustParse("64Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
}
