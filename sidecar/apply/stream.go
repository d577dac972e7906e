package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// batch is a run of commands of the stream that is applied as one
// transaction together with the checkpoint after it.
type batch struct {
	buf   []byte // MULTI and the commands
	tail  []byte // the checkpoint
	n     int    // commands queued, without MULTI and EXEC
	db    int    // selected after the commands
	start int64  // checkpoint before it
	end   psync.Position
	data  bool
	saved savepoint
	// spilled is where in buf the commands begin that spill may take; inFiles
	// are the bytes that it took, and kept those of large arguments, of the
	// transaction of the source at hand.
	spilled       int
	inFiles, kept int64
	// deadlines are the commands of which the answer 0 means that the key is
	// not there.
	deadlines []watched
	ran       []outcome
}

// watched is the place of a command that watch made in its batch, twice, and
// one more when the answer absent tells that there is no key. A transaction of
// the source may have millions of them.
type watched uint32

func (w watched) index() int    { return int(w / 2) }
func (w watched) careful() bool { return w%2 == 1 }

// savepoint is a batch before a transaction of the source began.
type savepoint struct {
	size, n, db int
	deadlines   int
	end         psync.Position
	data        bool
}

var (
	multiCommand = []byte("*1\r\n$5\r\nMULTI\r\n")
	execCommand  = []byte("*1\r\n$4\r\nEXEC\r\n")
)

func (b *batch) reset() {
	b.buf, b.tail, b.n, b.db, b.data = append(b.buf[:0], multiCommand...), b.tail[:0], 0, 0, false
	b.deadlines = b.deadlines[:0]
	b.spilled, b.inFiles, b.kept = 0, 0, 0
	if cap(b.buf) > 4*BatchBytes { // a large value went through; do not keep its room
		b.buf = append(make([]byte, 0, BatchBytes), multiCommand...)
	}
}

// Resume says where the stream begins. The next Flush writes the checkpoint
// in any case: the replication id may have changed with +CONTINUE, and a
// restart must not ask under the old one.
func (s *Standalone) Resume(pos psync.Position) {
	s.committed, s.passed = pos, pos
	s.prev = nil
	s.cur.reset()
	s.cur.end = pos
	s.force, s.inTx = true, false
	s.rewind(pos.Offset, nil)
}

func (s *Standalone) newBatch() *batch {
	b := &batch{}
	if n := len(s.free); n > 0 {
		b, s.free = s.free[n-1], s.free[:n-1]
	}
	b.reset()
	return b
}

// Save remembers the open batch.
func (s *Standalone) Save() {
	b := s.cur
	b.saved = savepoint{len(b.buf), b.n, b.db, len(b.deadlines), b.end, b.data}
	b.spilled, b.inFiles, b.kept = len(b.buf), 0, 0
	s.inTx = true
	s.save()
}

// spillAbove is how many bytes of a transaction of the source stay in memory.
const spillAbove = 1 << 20

// grown follows each command of a transaction of the source. Servers since 8.0
// count what is queued, and end the connection (networking.c,
// readQueryFromClient): it would be sent again for ever.
func (s *Standalone) grown(end, kept int64) error {
	b := s.cur
	if !s.inTx {
		return nil
	}
	b.kept += kept
	if n := int64(len(b.buf)-b.saved.size) + b.inFiles + b.kept; s.o.MaxQueued > 0 && n > s.o.MaxQueued {
		return fmt.Errorf("a transaction of the source makes one of more than %d bytes, which the target would not take (client-query-buffer-limit, advanced.target_redis_client_max_querybuf_len)", s.o.MaxQueued)
	}
	return s.spill(end)
}

// spill moves what a transaction of the source has brought so far to a file: it
// is sent only when its end has come. end is the offset after it.
func (s *Standalone) spill(end int64) error {
	b := s.cur
	if s.o.Bulk == nil || len(b.buf)-b.spilled < spillAbove {
		return nil
	}
	token, err := s.o.Bulk.KeepCommands(b.buf[b.spilled:], end)
	if err != nil {
		return err
	}
	b.inFiles += int64(len(b.buf) - b.spilled)
	b.buf = append(b.buf[:b.spilled], token...)
	b.spilled = len(b.buf)
	return nil
}

// Rollback returns to what Save remembered.
func (s *Standalone) Rollback() {
	b := s.cur
	b.buf, b.n, b.db, b.end, b.data = b.buf[:b.saved.size], b.saved.n, b.saved.db, b.saved.end, b.saved.data
	b.deadlines = b.deadlines[:b.saved.deadlines]
	s.inTx = false
	s.rollback()
}

// Write adds one command to the open batch.
func (s *Standalone) Write(_ context.Context, c *resp.Command, db int, end psync.Position) error {
	switch s.screen(c.Args, db, end.Offset) {
	case leave:
		s.skip(end)
		return nil
	case entails:
		return s.entail(c.Args, db, end)
	case partly:
		s.cur.append(db, s.without(c.Args, db))
	case pass:
		careful := s.guard && guarded(c.Args)
		switch {
		case careful && len(c.Args) > unpackLimit:
			return s.entail(c.Args, db, end)
		case careful:
			s.watch(guardScript, c.Args, db)
		case deadline(c.Args):
			s.watch(deadlineScript, c.Args, db)
		case route.EqualFold(c.Args[0], "eval") && !rewrite.Ours(c.Args):
			keys, err := route.Keys(nil, c.Args)
			if err != nil {
				return err
			}
			s.cur.append(db, wrapped(c.Args, len(keys)))
		default:
			s.cur.append(db, c.Raw)
		}
	}
	s.cur.data = true
	s.cur.end = end
	return s.grown(end.Offset, c.Kept)
}

// use selects a database for the next command.
func (b *batch) use(db int) {
	if b.db != db {
		b.buf = resp.AppendCommand(b.buf, "SELECT", strconv.Itoa(db))
		b.db = db
		b.n++
	}
}

// append adds one command.
func (b *batch) append(db int, raw []byte) {
	b.use(db)
	b.buf = append(b.buf, raw...)
	b.n++
}

// Pass notes a position after commands without data.
func (s *Standalone) Pass(end psync.Position) {
	s.cur.end, s.inTx = end, false
	if !s.cur.data && s.prev == nil {
		s.passed = end
	}
}

// Full reports whether the open batch should be flushed.
func (s *Standalone) Full() bool {
	return len(s.cur.buf) >= BatchBytes || s.cur.n >= s.o.BatchCount || s.cur.inFiles > 0
}

// SendFull leaves it to Flush: there is one batch.
func (s *Standalone) SendFull(context.Context) (bool, error) { return false, nil }

// Applied is the position up to which the target has everything.
func (s *Standalone) Applied() psync.Position { return s.passed }

// Ahead is 0: all that the target has is in its checkpoint.
func (s *Standalone) Ahead() int64 { return 0 }

// Prefix is the offset up to which the target is a prefix of the history.
func (s *Standalone) Prefix() int64 { return s.complete(s.passed.Offset) }

// Flush sends the open batch. Its EXEC is sent only when the batch before it
// has been applied: a batch that fails must not be overtaken.
func (s *Standalone) Flush(ctx context.Context, wait bool) error {
	b := s.cur
	moved := b.end.Offset > s.committed.Offset && time.Since(s.lastCkpt) >= time.Second
	if b.data || s.force || moved && s.prev == nil {
		if err := s.commit(ctx, b); err != nil {
			return err
		}
	}
	if wait && s.prev != nil {
		return s.await(ctx)
	}
	return nil
}

// Checkpoint applies the open batch with a checkpoint, whatever is in it.
func (s *Standalone) Checkpoint(ctx context.Context) error {
	s.force = true
	return s.Flush(ctx, true)
}

func (s *Standalone) commit(ctx context.Context, b *batch) error {
	if b.db != 0 {
		b.tail = resp.AppendCommand(b.tail, "SELECT", "0")
		b.n++
	}
	key := wire.CheckpointKey(s.o.Identity.Pair, s.o.Identity.Shard)
	b.tail = resp.AppendCommand(b.tail, append([]string{"HSET", key}, fence.Fields(s.o.Identity, b.end, s.o.Seen())...)...)
	b.n++
	s.force = false
	if s.prev == nil {
		s.next(b)
		b.buf = append(append(b.buf, b.tail...), execCommand...)
		if s.c != nil {
			if err := s.o.write(s.c, b.buf); err == nil {
				return nil
			}
			_ = s.c.Close()
			s.c = nil
		}
		return nil // await finds the connection gone and sends it again
	}
	b.buf = append(b.buf, b.tail...)
	sent := false
	c := s.c
	if c != nil {
		err := s.o.write(c, b.buf)
		if sent = err == nil; !sent {
			_ = c.Close()
			s.c = nil // nothing may follow half a batch
		}
	}
	// b is still the open batch: what it has is not passed with the one before.
	if err := s.await(ctx); err != nil {
		return err
	}
	s.next(b)
	rest := execCommand
	b.buf = append(b.buf, execCommand...)
	if !sent || s.c != c { // it was on a connection that is gone
		rest = b.buf
	}
	if s.c != nil {
		if err := s.o.write(s.c, rest); err != nil {
			_ = s.c.Close()
			s.c = nil
		}
	}
	return nil
}

// next makes b the batch in flight, and opens another one.
func (s *Standalone) next(b *batch) {
	b.start = s.committed.Offset
	s.prev, s.cur = b, s.newBatch()
	s.cur.end = b.end
}

// await reads the answer to the batch in flight; when it was not applied, it
// is sent again until it is.
func (s *Standalone) await(ctx context.Context) error {
	b := s.prev
	err := error(errGone)
	if s.c != nil {
		err = s.readBatch(b)
	}
	var wait backoff
	for err != nil {
		if err := s.retry(ctx, &wait, err); err != nil {
			return s.diverged(ctx, err)
		}
		var ck fence.Checkpoint
		if ck, err = s.connect(ctx); err != nil {
			continue
		}
		switch {
		case !ck.Usable() || ck.Pos.ReplID != s.committed.ReplID && ck.Pos.ReplID != b.end.ReplID || ck.Pos.Offset < b.start:
			return ErrRewound
		case ck.Pos.Offset == b.end.Offset: // it was applied, the answer got lost
			err = s.loadPending(max(b.end.Offset, s.cur.end.Offset))
		case ck.Pos.Offset == b.start:
			if err = s.o.write(s.c, b.buf); err == nil {
				err = s.readBatch(b)
			}
		default:
			return fmt.Errorf("the checkpoint at %s is at offset %d, which this replicator never wrote (it is between %d and %d)",
				s.c.Addr, ck.Pos.Offset, b.start, b.end.Offset)
		}
	}
	s.o.Waiting(nil)
	s.trusted = s.runID // its checkpoint says that it has everything
	s.committed, s.passed, s.lastCkpt = b.end, b.end, time.Now()
	s.prev = nil
	s.free = append(s.free, b)
	if !s.inTx && !s.cur.data && s.cur.end.Offset > s.passed.Offset {
		s.passed = s.cur.end
	}
	return nil
}

// errGone stands for a connection that was found closed.
var errGone = &resp.ReadError{Err: errors.New("the connection was lost")}

// diverged makes a refused command void the checkpoint: the target is no
// prefix of the source's history any more, and only a full copy mends it. What
// keeps it from being written (a right that is missing) is waited out: the next
// process would do again what was done.
func (s *Standalone) diverged(ctx context.Context, err error) error {
	var data *DataError
	if !errors.As(err, &data) || s.c == nil || unreadable(err) {
		return err
	}
	void := append([]string{"HSET", wire.CheckpointKey(s.o.Identity.Pair, s.o.Identity.Shard)}, fence.FullFields(s.o.Identity)...)
	var wait backoff
	_, markErr := s.c.Do(void...)
	for markErr != nil {
		if waitErr := s.retry(ctx, &wait, markErr); waitErr != nil {
			return errors.Join(err, fmt.Errorf("marking the target as incomplete: %w", waitErr))
		}
		if _, markErr = s.connect(ctx); markErr == nil {
			_, markErr = s.c.Do(void...)
		}
	}
	return err
}

// unreadable reports whether the server could not read a command at all: an
// argument over its proto-max-bulk-len (networking.c, processMultibulkBuffer).
// It has run nothing of the batch, and its copy is as good as before.
func unreadable(err error) bool {
	var server *resp.ServerError
	return errors.As(err, &server) && strings.HasPrefix(server.Text, "Protocol error")
}
