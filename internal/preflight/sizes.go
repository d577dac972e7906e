package preflight

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// What sizes are checked against.
const (
	outage       = 10 * time.Minute // that a backlog should outlast
	copySpeed    = 20 << 20         // bytes per second of a full copy, assumed low
	memoryMargin = 1.2              // of the target over the data of the source
	mib          = 1 << 20
)

// checkBacklog compares the backlog with what is written during an outage of
// the replicator: within it a partial resync does, beyond it a full one.
func checkBacklog(in Input, source, _ Facts) []topology.Finding {
	f := findOn(&in.Source)
	worst, need := -1, int64(0)
	for n, node := range source.Nodes {
		want := int64(node.Rate * outage.Seconds())
		if node.Backlog > 0 && want > node.Backlog && want > need {
			worst, need = n, want
		}
	}
	if worst < 0 {
		return nil
	}
	node, value := source.Nodes[worst], roundUp(need)
	f.add(topology.SeverityWarning, f.pod(node.Pod), configRemedy(f.inst, "repl-backlog-size", fmt.Sprintf("%dmb", value/mib)),
		"its replication backlog of %s holds %s of the present writes (%s/s); after a longer outage everything is copied anew; %s would do for %s",
		size(node.Backlog), roundDuration(float64(node.Backlog)/node.Rate), size(int64(node.Rate)), size(value), short(outage))
	return f.list
}

// checkOutputBuffer compares the limit of a replica's output buffer with what
// is written while a full copy is being sent.
func checkOutputBuffer(in Input, source, _ Facts) []topology.Finding {
	f := findOn(&in.Source)
	for _, node := range source.Nodes {
		seconds := math.Max(10, float64(node.DatasetBytes)/copySpeed)
		need := int64(node.Rate * seconds)
		overHard := node.Output.Hard > 0 && need > node.Output.Hard
		overSoft := node.Output.Soft > 0 && need > node.Output.Soft && seconds > float64(node.Output.Seconds)
		if !overHard && !overSoft {
			continue
		}
		value := roundUp(2 * need)
		limit := fmt.Sprintf("%s %d %d %d", replicaClass(node.Version), value, value/2, max(60, node.Output.Seconds))
		f.add(topology.SeverityWarning, f.pod(node.Pod), configRemedy(f.inst, "client-output-buffer-limit", limit),
			"its output buffer for replicas is limited to %s (%s for %d s), but about %s are written while %s of data are copied: the server would cut the connection, again and again",
			size(node.Output.Hard), size(node.Output.Soft), node.Output.Seconds, size(need), size(node.DatasetBytes))
		return f.list // the others have the same setting
	}
	return f.list
}

func replicaClass(v redisVersion) string {
	if v.valkey || v.atLeast(5, 0) {
		return "replica"
	}
	return "slave"
}

// checkMemory asks whether the copy fits, and stays.
func checkMemory(in Input, source, target Facts) []topology.Finding {
	f := findOn(&in.Target)
	var limit int64
	unlimited := false
	for _, n := range target.Nodes {
		limit += n.MaxMemory
		unlimited = unlimited || n.MaxMemory == 0
	}
	for _, n := range target.Nodes {
		if n.MaxMemory > 0 && n.Policy != "" && n.Policy != "noeviction" {
			f.add(topology.SeverityWarning, f.pod(n.Pod), configRemedy(f.inst, "maxmemory-policy", "noeviction"),
				"evicts keys when it is full (%s, maxmemory %s): the copy would silently lose some", n.Policy, size(n.MaxMemory))
			break
		}
	}
	if unlimited || len(target.Nodes) == 0 {
		return f.list
	}
	need := source.DatasetBytes
	if !in.Established && in.StaleKeys == "keep" {
		need += target.DatasetBytes
	}
	overhead := max(0, target.UsedMemory-target.DatasetBytes)
	switch {
	case need+overhead > limit:
		f.add(topology.SeverityError, "", fmt.Sprintf("raise maxmemory to %s or more in all, and the memory limit of the pods with it", size(roundUp(int64(float64(need)*memoryMargin)+overhead))),
			"has %s of maxmemory in all, but the data of the source take %s", size(limit), size(source.DatasetBytes))
	case float64(need)*memoryMargin+float64(overhead) > float64(limit):
		f.add(topology.SeverityWarning, "", "raise maxmemory, and the memory limit of the pods with it",
			"has %s of maxmemory in all, little more than the %s of the source", size(limit), size(source.DatasetBytes))
	}
	return f.list
}

// configRemedy says how to set a parameter so that it takes effect now and
// stays.
func configRemedy(inst *topology.Instance, name, value string) string {
	quoted := value
	if strings.Contains(value, " ") {
		quoted = `"` + value + `"`
	}
	now := fmt.Sprintf("CONFIG SET %s %s on every data pod", name, quoted)
	line := fmt.Sprintf("%q", name+" "+value)
	switch inst.Kind {
	case "RedisFailover":
		return now + "; to keep it, add " + line + " to spec.redis.customConfig of the RedisFailover"
	case "RedisCluster", "RedisReplication", "Redis":
		return now + "; to keep it, add " + line + " to spec.redisConfig.dynamicConfig of the " + inst.Kind +
			" (operators before v0.20: to the ConfigMap of spec.redisConfig.additionalRedisConfig)"
	default:
		return now + "; to keep it, set it in the values or the configuration of the instance"
	}
}

// roundUp gives the next power of two of at least 1 MiB.
func roundUp(n int64) int64 {
	out := int64(mib)
	for out < n {
		out *= 2
	}
	return out
}

func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10*mib:
		return fmt.Sprintf("%d MiB", n/mib)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d B", n)
	}
}

func roundDuration(seconds float64) string {
	return short(time.Duration(seconds * float64(time.Second)))
}

func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Minute)
		return strings.TrimSuffix(d.String(), "0s")
	case d >= time.Second:
		return d.Round(time.Second).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}
