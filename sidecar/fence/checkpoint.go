package fence

import (
	"fmt"
	"strconv"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
)

// Checkpoint is the position up to which a target has applied a shard.
type Checkpoint struct {
	Pos psync.Position
	// Exists: there is a checkpoint of this epoch.
	Exists bool
	// Full: a full copy was being written when it was last touched; the
	// target is not a complete copy and the position is of no use.
	Full bool
	// Slots that the shard holds.
	Slots string
	// Held: near deadlines of the snapshot are still held back.
	Held bool
}

// Usable reports whether PSYNC may ask for the position.
func (c Checkpoint) Usable() bool { return c.Exists && !c.Full && !c.Pos.Zero() }

// ReadCheckpoint reads the checkpoint of a shard. One of another epoch is
// void.
func ReadCheckpoint(c *conn.Conn, id Identity) (Checkpoint, error) {
	f, err := ReadHash(c, wire.CheckpointKey(id.Pair, id.Shard))
	if err != nil || len(f) == 0 {
		return Checkpoint{}, err
	}
	epoch, err := strconv.ParseInt(f[wire.CkptEpoch], 10, 64)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint at %s: epoch: %w", c.Addr, err)
	}
	if epoch != id.Epoch {
		return Checkpoint{}, nil
	}
	// Under other slots it is the position of another shard: what was gained
	// since is not in the target.
	ck := Checkpoint{Exists: true, Full: f[wire.CkptState] != wire.CkptStateStream || f[wire.CkptSlots] != id.Slots}
	if ck.Full {
		return ck, nil
	}
	ck.Held = f[wire.CkptHeld] == "1"
	ck.Pos.ReplID = f[wire.CkptReplID]
	if ck.Pos.Offset, err = strconv.ParseInt(f[wire.CkptOffset], 10, 64); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint at %s: offset: %w", c.Addr, err)
	}
	if ck.Pos.DB, err = strconv.Atoi(f[wire.CkptDB]); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint at %s: db: %w", c.Addr, err)
	}
	return ck, nil
}

// ReadHash reads a hash as a map; a missing key is an empty map.
func ReadHash(c *conn.Conn, key string) (map[string]string, error) {
	r, err := c.Do("HGETALL", key)
	if err != nil {
		return nil, err
	}
	f := make(map[string]string, len(r.Elems)/2)
	for i := 0; i+1 < len(r.Elems); i += 2 {
		f[r.Elems[i].Text] = r.Elems[i+1].Text
	}
	return f, nil
}

// Seen is the source's own position, noted beside the checkpoint so that the
// lag is known after the source is gone.
type Seen struct {
	Offset int64
	At     time.Time
	// UpTo is when the source last was seen to have nothing that is not
	// applied; the zero time when that is not known.
	UpTo time.Time
}

// Fields are the arguments after HSET key that write the checkpoint of a
// stream.
func Fields(id Identity, pos psync.Position, seen Seen) []string {
	upTo := int64(0) // written in any case: that of another process says nothing now
	if !seen.UpTo.IsZero() {
		upTo = seen.UpTo.UnixMilli()
	}
	return []string{
		wire.CkptEpoch, strconv.FormatInt(id.Epoch, 10), wire.CkptSlots, id.Slots, wire.CkptReplID, pos.ReplID,
		wire.CkptOffset, strconv.FormatInt(pos.Offset, 10), wire.CkptDB, strconv.Itoa(pos.DB),
		wire.CkptState, wire.CkptStateStream, wire.CkptSourceOffset, strconv.FormatInt(seen.Offset, 10),
		wire.CkptSourceTime, strconv.FormatInt(seen.At.UnixMilli(), 10), wire.CkptUpTo, strconv.FormatInt(upTo, 10),
	}
}

// PendingField says how many keys the target lacks up to the offset, where
// their names are not beside the checkpoint.
func PendingField(keys int) []string { return []string{wire.CkptPending, strconv.Itoa(keys)} }

// HeldField says whether near deadlines are held back.
func HeldField(held bool) []string {
	if held {
		return []string{wire.CkptHeld, "1"}
	}
	return []string{wire.CkptHeld, "0"}
}

// FullFields mark the target as incomplete.
func FullFields(id Identity) []string {
	return []string{wire.CkptEpoch, strconv.FormatInt(id.Epoch, 10), wire.CkptSlots, id.Slots, wire.CkptState, wire.CkptStateFull}
}
