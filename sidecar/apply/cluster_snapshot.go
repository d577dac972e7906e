package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

func newChunk() *chunk {
	k := &chunk{}
	k.reset()
	return k
}

// emptyChunk is one that was used before, if there is any.
func (t *Cluster) emptyChunk() *chunk {
	n := len(t.spare)
	if n == 0 {
		return newChunk()
	}
	k := t.spare[n-1]
	t.spare = t.spare[:n-1]
	return k
}

// reuse keeps the room of a chunk that is answered, unless a large value has
// made it too large.
func (t *Cluster) reuse(k *chunk) {
	if cap(k.buf) > 4*BatchBytes || len(t.spare) > inflight*len(t.nodes) {
		return
	}
	k.reset()
	t.spare = append(t.spare, k)
}

// mainKey is the key of the checkpoint.
func (t *Cluster) mainKey() string {
	return wire.CheckpointKey(t.o.Identity.Pair, t.o.Identity.Shard)
}

// BeginSnapshot marks the target as incomplete.
func (t *Cluster) BeginSnapshot(ctx context.Context) error {
	for _, n := range t.nodes {
		n.chunk, n.sent = newChunk(), nil
	}
	t.clear()
	t.streaming, t.ahead = false, 0
	if err := t.onHolder(ctx, append([]string{"HSET", t.mainKey()}, fence.FullFields(t.o.Identity)...)...); err != nil {
		return err
	}
	t.ahead = 0 // a connection made anew has read it again
	return t.clearStaging(ctx)
}

// onHolder runs a command on the node that holds the keys of the pair, again
// until it is taken.
func (t *Cluster) onHolder(ctx context.Context, args ...string) error {
	return t.again(ctx, func() error {
		if t.holder.c == nil {
			return errGone
		}
		_, err := t.holder.c.Do(args...)
		return err
	})
}

// again repeats f, with new connections where they are the reason.
func (t *Cluster) again(ctx context.Context, f func() error) error {
	var b backoff
	for {
		err := f()
		if err == nil {
			t.o.Waiting(nil)
			return nil
		}
		if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
			return err
		}
		if err := t.again1(ctx, err); err != nil {
			return err
		}
	}
}

// again1 connects anew; what a snapshot has sent and got no answer to is put
// into chunks once more. Of a stream nothing may be in flight; its open batches
// are divided anew.
func (t *Cluster) again1(ctx context.Context, cause error) error {
	if serverSaid(cause) && !resp.IsCode(cause, "MOVED", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "LOADING", "NOPERM", "NOAUTH") {
		return nil
	}
	old := t.nodes
	var b backoff
	for {
		ck, err := t.connect(ctx)
		if err == nil && t.streaming && !ck.Usable() {
			return ErrRewound
		}
		if err == nil {
			break
		}
		if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
			return err
		}
	}
	for _, o := range old {
		if t.node(o.id, o.runID) == nil {
			return ErrRewound // what the old master had acknowledged may be lost
		}
	}
	if t.streaming {
		t.divide()
	}
	for _, n := range t.nodes {
		n.chunk, n.sent = newChunk(), nil
	}
	for _, o := range old {
		for _, k := range append(o.sent, o.chunk) {
			if k == nil {
				continue
			}
			if err := t.rechunk(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// rechunk puts the commands of a chunk to the nodes that have their slots now.
func (t *Cluster) rechunk(k *chunk) error {
	w := commandsOf(k.buf)
	var c resp.Command
	for range k.n {
		if err := resp.ReadCommand(w, &c); err != nil {
			return fmt.Errorf("reading back a chunk: %w", err)
		}
		to := t.owner[route.Slot(chunkKey(&c))].chunk
		to.buf = append(to.buf, c.Raw...)
		to.n++
		to.resent = true
	}
	return nil
}

// Restore writes one value.
func (t *Cluster) Restore(ctx context.Context, r *rdb.Record, o rdb.RestoreOptions) error {
	if r.DB != 0 {
		return otherDB(r)
	}
	if r.Big != nil {
		return t.single(ctx, r, "RESTORE", func(c *conn.Conn) error {
			err := sendBig(c, r, o)
			o.Replace = o.Replace || !t.o.SkipExisting // what is there the next time is our own first try
			return err
		})
	}
	n := t.owner[route.Slot(r.Key)]
	n.chunk.buf = rdb.AppendWrite(n.chunk.buf, r, o)
	n.chunk.n++
	if len(n.chunk.buf) < BatchBytes && n.chunk.n < 4*t.o.BatchCount {
		return nil
	}
	return t.again(ctx, func() error { return t.sendChunk(n.id) })
}

// single writes one value alone, again until the target has it.
func (t *Cluster) single(ctx context.Context, r *rdb.Record, what string, write func(*conn.Conn) error) error {
	if r.DB != 0 {
		return otherDB(r)
	}
	if err := t.Settle(ctx); err != nil {
		return err
	}
	return t.again(ctx, func() error {
		n := t.owner[route.Slot(r.Key)]
		if n.c == nil {
			return errGone
		}
		err := write(n.c)
		if t.o.SkipExisting && resp.IsCode(err, "BUSYKEY") {
			return nil
		}
		if serverSaid(err) && !transient(err) {
			return &DataError{Command: what, Key: string(r.Key), Err: err}
		}
		return err
	})
}

func otherDB(r *rdb.Record) error {
	return &DataError{Command: "RESTORE", Key: string(r.Key), DB: r.DB, Err: errors.New("a Redis Cluster has database 0 only")}
}

// sendChunk sends a node's chunk and reads the answers of the one before.
func (t *Cluster) sendChunk(id string) error {
	for _, n := range t.nodes {
		if n.id != id || n.chunk.n == 0 {
			continue
		}
		if n.c == nil {
			return errGone
		}
		n.sent = append(n.sent, n.chunk)
		k := n.chunk
		n.chunk = t.emptyChunk()
		if _, err := n.c.Write(k.buf); err != nil {
			return err
		}
		for len(n.sent) > inflight {
			if err := t.answerChunk(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// answerChunk reads the answers of a node's oldest chunk. What was refused
// for now goes into the open chunk again.
func (t *Cluster) answerChunk(n *clusterNode) error {
	if n.c == nil {
		return errGone
	}
	k := n.sent[0]
	var failed []int
	var first error
	for i := range k.n {
		err := resp.SkipReply(n.c.W)
		switch {
		case err == nil:
		case errors.As(err, new(*resp.ReadError)):
			return err
		case resp.IsCode(err, "BUSYKEY") && (t.o.SkipExisting || k.resent):
		case !transient(err):
			return dataError(k.buf, i, err)
		default:
			failed = append(failed, i)
			if first == nil || resp.IsCode(err, "MOVED") {
				first = err
			}
		}
	}
	n.sent = n.sent[:copy(n.sent, n.sent[1:])]
	if first != nil {
		if err := t.putBack(n, k, failed); err != nil {
			return err
		}
	}
	t.reuse(k)
	return first
}

// chunkKey is the key of a command that a chunk may hold: RESTORE, UNLINK, or
// the EVAL of Release.
func chunkKey(c *resp.Command) []byte {
	if len(c.Args) > 3 && string(c.Args[0]) == "EVAL" {
		return c.Args[3]
	}
	return c.Args[1]
}

// putBack takes the failed commands of a chunk: those of keys that are on the
// move go to the node that takes them, the others wait in the open chunk.
func (t *Cluster) putBack(n *clusterNode, k *chunk, failed []int) error {
	w := commandsOf(k.buf)
	var c resp.Command
	for i := range k.n {
		if err := resp.ReadCommand(w, &c); err != nil {
			return fmt.Errorf("reading back a chunk: %w", err)
		}
		if len(failed) == 0 || failed[0] != i {
			continue
		}
		failed = failed[1:]
		key := chunkKey(&c)
		to := t.owner[route.Slot(key)]
		done, err := t.asking(n, string(key), c.Raw)
		if err != nil || done {
			if err != nil && !transient(err) {
				return err
			}
			if done {
				continue
			}
		}
		to.chunk.buf = append(to.chunk.buf, c.Raw...)
		to.chunk.n++
		to.chunk.resent = true
	}
	return nil
}

// asking applies a command of a snapshot on the importing node when its key
// is on the move. Only while nothing else is in flight on either connection.
func (t *Cluster) asking(n *clusterNode, key string, raw []byte) (done bool, err error) {
	if len(n.sent) > 0 {
		return false, nil // answers of other chunks come first; it is tried again
	}
	_, err = n.c.Do("EXISTS", key)
	var server *resp.ServerError
	if !errors.As(err, &server) || server.Code != "ASK" {
		return false, err
	}
	_, addr, _ := strings.Cut(server.Text, " ")
	for _, to := range t.nodes {
		if to.addr != addr || len(to.sent) > 0 || to.c == nil {
			continue
		}
		if _, err := to.c.Do("ASKING"); err != nil {
			return false, err
		}
		if _, err := to.c.Write(raw); err != nil {
			return false, err
		}
		return true, resp.SkipReply(to.c.W)
	}
	return false, nil
}

// Settle waits until everything is written.
func (t *Cluster) Settle(ctx context.Context) error {
	return t.again(ctx, func() error {
		for {
			open := false
			for _, n := range t.nodes {
				if n.chunk.n > 0 {
					open = true
					if err := t.sendChunk(n.id); err != nil {
						return err
					}
				}
			}
			for _, n := range t.nodes {
				for len(n.sent) > 0 {
					open = true
					if err := t.answerChunk(n); err != nil {
						return err
					}
				}
			}
			if !open {
				return nil
			}
		}
	})
}

// Everywhere runs a command on every master.
func (t *Cluster) Everywhere(ctx context.Context, args ...string) error {
	if err := t.answers(ctx); err != nil { // those of batches in flight come first
		return err
	}
	if err := t.Settle(ctx); err != nil {
		return err
	}
	return t.again(ctx, func() error {
		for _, n := range t.nodes {
			if n.c == nil {
				return errGone
			}
			if _, err := n.c.Do(args...); err != nil {
				if transient(err) {
					return err
				}
				return &DataError{Command: args[0], Err: err}
			}
		}
		return nil
	})
}

// EndSnapshot settles and makes the target complete at pos, with a generation
// in which every node stands there.
func (t *Cluster) EndSnapshot(ctx context.Context, pos psync.Position, held bool) error {
	if err := t.Settle(ctx); err != nil {
		return err
	}
	err := t.again(ctx, func() error {
		for _, n := range t.nodes {
			n.frontier, n.behind = pos.Offset, nil
		}
		text, err := t.nextGeneration()
		if err != nil {
			return err
		}
		if t.holder.c == nil {
			return errGone
		}
		fields := append(fence.Fields(t.o.Identity, pos, t.o.Seen()), ckptGeneration, text)
		fields = append(append(fields, fence.HeldField(held)...), fence.PendingField(len(t.m))...)
		if _, err := t.holder.c.Do(append([]string{"HSET", t.mainKey()}, fields...)...); err != nil {
			return err
		}
		return t.replicateHolder()
	})
	if err != nil {
		return err
	}
	t.Resume(pos)
	t.force, t.spare = false, nil
	return nil
}

// Release takes the hold off a key's deadline.
func (t *Cluster) Release(ctx context.Context, _ int, key []byte) error {
	n := t.owner[route.Slot(key)]
	n.chunk.buf = appendRelease(n.chunk.buf, key)
	n.chunk.n++
	if n.chunk.n < t.o.BatchCount {
		return nil
	}
	return t.again(ctx, func() error { return t.sendChunk(n.id) })
}

// Released notes that no deadline is held.
func (t *Cluster) Released(ctx context.Context) error {
	if err := t.Settle(ctx); err != nil {
		return err
	}
	return t.onHolder(ctx, append([]string{"HSET", t.mainKey()}, fence.HeldField(false)...)...)
}

// HoldBack notes that deadlines are held.
func (t *Cluster) HoldBack(ctx context.Context) error {
	if err := t.answers(ctx); err != nil { // those of batches in flight come first
		return err
	}
	return t.onHolder(ctx, append([]string{"HSET", t.mainKey()}, fence.HeldField(true)...)...)
}

// Scan calls f with every key of every node.
func (t *Cluster) Scan(ctx context.Context, f func(db int, key []byte) error) error {
	if err := t.Settle(ctx); err != nil {
		return err
	}
	var b backoff
	for {
		err := t.scanOnce(ctx, f)
		if err == nil || !transient(err) {
			return err
		}
		if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
			return err
		}
	}
}

func (t *Cluster) scanOnce(ctx context.Context, f func(db int, key []byte) error) error {
	masters, _, err := t.o.clusterNodes(ctx)
	if err != nil {
		return err
	}
	for _, m := range masters {
		c, err := conn.Dial(ctx, m.addr, t.o.Conn)
		if err != nil {
			return err
		}
		err = scanDB(c, 0, f)
		_ = c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Delete removes keys.
func (t *Cluster) Delete(ctx context.Context, _ int, keys [][]byte) error {
	for _, key := range keys {
		n := t.owner[route.Slot(key)]
		n.chunk.buf = resp.AppendCommand(n.chunk.buf, "UNLINK", string(key))
		n.chunk.n++
		if n.chunk.n >= t.o.BatchCount {
			if err := t.again(ctx, func() error { return t.sendChunk(n.id) }); err != nil {
				return err
			}
		}
	}
	return nil
}
