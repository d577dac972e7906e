package pair

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Labels and label values of every object of ours. Nothing of ours carries a
// label that an operator of Redis selects on.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelPair      = "redis-sync.io/pair"
	LabelSite      = "redis-sync.io/site"
	LabelShard     = "redis-sync.io/shard"
	// LabelVerify names the pair on the Job of a verify, which lives for
	// moments and is no object of the pair: plan and delete leave it alone.
	LabelVerify = "redis-sync.io/verify"
	LabelRun    = "redis-sync.io/run" // the operation's id

	AppName   = "redis-sync"
	ManagedBy = "kubectl-redis-sync"
)

// maxLabel is the longest name of a Service and the longest label value.
const maxLabel = 63

// maxShardDigits is the room that names keep for the ordinal of a shard.
const maxShardDigits = 4

// RecordName is the name of the ConfigMap that remembers a pair.
func RecordName(pair string) string { return "redis-sync-" + pair }

// VaultName is the name of the Secret of a site that remembers what the
// protection of a standby changed. The dot, which no name of a pair or a site
// holds, keeps two of them apart.
func VaultName(pair, site string) string { return "redis-sync-" + pair + "." + site }

// ReplicatorName is the name of the ConfigMap, the Secret and the Deployment
// of the replicator that writes one source shard to a site.
func ReplicatorName(pair, site string, shard int) string {
	return fmt.Sprintf("%s-to-%s-%d", pair, site, shard)
}

// ServiceName is the name of our Service for one data pod. A name that would
// be too long is cut and ends with a hash of the whole.
func ServiceName(pair, pod string) string {
	name := pair + "-" + pod
	if len(name) <= maxLabel {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:maxLabel-9], "-.") + "-" + hex.EncodeToString(sum[:4])
}

// SiteLabels are the labels of an object that belongs to a site as a whole.
func SiteLabels(pair, site string) map[string]string {
	return map[string]string{
		LabelName:      AppName,
		LabelManagedBy: ManagedBy,
		LabelPair:      pair,
		LabelSite:      site,
	}
}

// ShardLabels are the labels of an object that belongs to one shard.
func ShardLabels(pair, site string, shard int) map[string]string {
	labels := SiteLabels(pair, site)
	labels[LabelShard] = fmt.Sprint(shard)
	return labels
}

// VerifyLabels are the labels of one run of verify and of its pod.
func VerifyLabels(pair, run string) map[string]string {
	return map[string]string{LabelName: AppName, LabelManagedBy: ManagedBy, LabelVerify: pair, LabelRun: run}
}

// VerifySelector selects the objects of one run of verify.
func VerifySelector(pair, run string) string {
	return LabelVerify + "=" + pair + "," + LabelRun + "=" + run
}

// VerifyName is the name of the Job of one run of verify.
func VerifyName(pair, run string) string { return ServiceName(pair, "verify-"+run) }

// Selector selects every object of ours of a pair.
func Selector(pair string) string {
	return LabelManagedBy + "=" + ManagedBy + "," + LabelPair + "=" + pair
}

// isLabel tells a DNS label that starts with a letter, as the name of a
// Service must.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel {
		return false
	}
	for i, r := range s {
		letter := r >= 'a' && r <= 'z'
		digit := r >= '0' && r <= '9'
		inner := i > 0 && i < len(s)-1
		if !letter && !(digit && i > 0) && !(r == '-' && inner) {
			return false
		}
	}
	return true
}

// CheckName says whether a pair can have this name.
func CheckName(name string) error {
	if !isLabel(name) {
		return fmt.Errorf("pair name %q: expected a DNS label: lower-case letters, digits and '-', starting with a letter", name)
	}
	if longest := maxLabel - len(RecordName("")); len(name) > longest {
		return fmt.Errorf("pair name %q is too long: at most %d characters, so that %s fits into %d",
			name, longest, RecordName("NAME"), maxLabel)
	}
	return nil
}
