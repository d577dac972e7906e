package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// KeyPrefix starts every key that we write into a target. Verify, the sweep
// of stale keys and the opposite link leave keys with this prefix out. They
// live in DB 0.
const KeyPrefix = "redis-sync:"

// SyncUser is the one ACL user that may write to a protected standby. The
// plugin makes it on every data pod, the replicators log in as it first.
const SyncUser = "redis-sync"

// FenceKey names the string that holds the epoch of the pair, as a decimal
// number. Only the plugin creates it; while it is missing or differs from a
// replicator's own epoch, that replicator does not write. All keys of a pair
// carry the hash tag {pair}, so that on a Redis Cluster they share a node.
func FenceKey(pair string) string { return KeyPrefix + "{" + pair + "}:epoch" }

// IncarnationKey names the string that holds the incarnation of the one
// process that may write this shard: a counter, a colon and a random token.
func IncarnationKey(pair string, shard int) string {
	return KeyPrefix + "{" + pair + "}:" + strconv.Itoa(shard) + ":incarnation"
}

// CheckpointKey names the hash with the position up to which this shard is
// applied. Its fields are the Ckpt constants.
func CheckpointKey(pair string, shard int) string {
	return KeyPrefix + "{" + pair + "}:" + strconv.Itoa(shard) + ":checkpoint"
}

// PositionKey names a string that the plugin writes to learn where the
// replication stream of a server ends. It means nothing afterwards.
func PositionKey(pair string) string { return KeyPrefix + "{" + pair + "}:position" }

// StagingKey names the key under which a large value is built until it is
// whole and gets its own name; tag is a hash tag of the value's slot. It is in
// the value's database.
func StagingKey(tag, pair string, shard int) string {
	return KeyPrefix + "{" + tag + "}:" + pair + ":" + strconv.Itoa(shard) + ":staging"
}

// StagingPair tells a staging key, and of which pair it is. In the stream of a
// server that is a target itself, such a key turns into one of its data.
func StagingPair(key string) (pair string, ok bool) {
	rest, ok := strings.CutPrefix(key, KeyPrefix+"{")
	if !ok {
		return "", false
	}
	if rest, ok = strings.CutSuffix(rest, ":staging"); !ok {
		return "", false
	}
	_, rest, ok = strings.Cut(rest, "}:")
	if !ok {
		return "", false
	}
	pair, shard, ok := strings.Cut(rest, ":")
	if _, err := strconv.Atoi(shard); !ok || err != nil {
		return "", false
	}
	return pair, true
}

// SlotsKey names the hash that says which slots each shard of the pair holds,
// by the shard's ordinal: "<epoch> <slots of the link> <slots held>". A shard
// writes to no others.
func SlotsKey(pair string) string { return KeyPrefix + "{" + pair + "}:slots" }

// PendingKey names the set of the keys whose values are still to be fetched
// from the source, "<database>:<name>", on a target that is no cluster. On a
// cluster there is one set per node, beside the node's frontier.
func PendingKey(pair string, shard int) string {
	return KeyPrefix + "{" + pair + "}:" + strconv.Itoa(shard) + ":pending"
}

// ScriptsKey names the hash of the scripts that a source before 7.0 has
// replicated to this shard: their texts, by what EVALSHA names them by.
func ScriptsKey(pair string, shard int) string {
	return KeyPrefix + "{" + pair + "}:" + strconv.Itoa(shard) + ":scripts"
}

// Fields of a checkpoint. A checkpoint under another epoch than the
// replicator's own is void.
const (
	CkptEpoch        = "epoch"        // decimal
	CkptReplID       = "replid"       // 40 hex digits
	CkptOffset       = "offset"       // applied: PSYNC asks for offset+1
	CkptDB           = "db"           // selected DB at that offset
	CkptSlots        = "slots"        // that the shard held; under other slots the checkpoint is void
	CkptState        = "state"        // CkptStateFull or CkptStateStream
	CkptSourceOffset = "sourceOffset" // last seen offset of the shard's master
	CkptHeld         = "held"         // "1": near deadlines of the snapshot are held back (HeldMillis)
	CkptSourceTime   = "sourceTime"   // when it was seen, Unix milliseconds
	CkptUpTo         = "upTo"         // the target holds all that the shard's master had then, Unix milliseconds; 0 or missing while not known
	CkptPending      = "pending"      // of a cluster target: how many keys are still to be fetched from the source
	CkptGeneration   = "generation"   // of a cluster target: how its slots were divided, and where its frontiers are
)

// Values of CkptState.
const (
	CkptStateFull   = "full"   // a full copy is being written: incomplete
	CkptStateStream = "stream" // complete up to the offset
)

// HeldMillis is added to the deadline of a key of a snapshot that is so near
// that the target could expire the key before the stream, which may have
// extended it, has caught up. It is taken off again then. A deadline that is
// more than 34 years away is a held one while the checkpoint says so.
const HeldMillis = 1 << 40

// ConnName is the name (CLIENT SETNAME) of every connection of a replicator
// to its target: redis-sync:<pair>:<shard>:<epoch>:<incarnation>. The parts
// hold no colon, space or newline of their own except the incarnation's one.
func ConnName(pair string, shard int, epoch int64, incarnation string) string {
	return fmt.Sprintf("%s%s:%d:%d:%s", KeyPrefix, pair, shard, epoch, incarnation)
}

// ConnOfShard reports whether a connection name belongs to this shard of this
// pair, and returns its epoch and incarnation.
func ConnOfShard(name, pair string, shard int) (epoch int64, incarnation string, ok bool) {
	rest, ok := strings.CutPrefix(name, fmt.Sprintf("%s%s:%d:", KeyPrefix, pair, shard))
	if !ok {
		return 0, "", false
	}
	e, inc, ok := strings.Cut(rest, ":")
	if !ok {
		return 0, "", false
	}
	epoch, err := strconv.ParseInt(e, 10, 64)
	if err != nil {
		return 0, "", false
	}
	return epoch, inc, true
}

// ConnOfPair reports whether a connection name belongs to a replicator of
// this pair, and returns its shard and epoch.
func ConnOfPair(name, pair string) (shard int, epoch int64, ok bool) {
	rest, ok := strings.CutPrefix(name, KeyPrefix+pair+":")
	if !ok {
		return 0, 0, false
	}
	shardText, rest, ok := strings.Cut(rest, ":")
	if !ok {
		return 0, 0, false
	}
	epochText, _, ok := strings.Cut(rest, ":")
	if !ok {
		return 0, 0, false
	}
	shard, shardErr := strconv.Atoi(shardText)
	epoch, epochErr := strconv.ParseInt(epochText, 10, 64)
	return shard, epoch, shardErr == nil && epochErr == nil
}
