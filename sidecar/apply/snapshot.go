package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// chunk is a run of commands of a snapshot. It begins with its own SELECT, so
// it can be sent again on another connection; order between keys does not
// matter in a snapshot.
type chunk struct {
	buf    []byte
	n      int // replies due
	db     int
	resent bool
}

// inflight is the number of chunks sent and not answered: one that the server
// works on, one in its socket.
const inflight = 3

func (s *Standalone) resetSnapshot() {
	s.sent = s.sent[:0]
	s.chunk.reset()
	s.snapshotDB = 0
}

func (k *chunk) reset() { k.buf, k.n, k.db, k.resent = k.buf[:0], 0, -1, false }

// BeginSnapshot marks the target as incomplete.
func (s *Standalone) BeginSnapshot(ctx context.Context) error {
	s.resetSnapshot()
	s.clear()
	if err := s.simple(ctx, append([]string{"HSET", wire.CheckpointKey(s.o.Identity.Pair, s.o.Identity.Shard)}, fence.FullFields(s.o.Identity)...)...); err != nil {
		return err
	}
	return s.clearStaging(ctx)
}

// Restore writes one value.
func (s *Standalone) Restore(ctx context.Context, r *rdb.Record, o rdb.RestoreOptions) error {
	if r.Big != nil {
		return s.restoreBig(ctx, r, o)
	}
	k := s.chunk
	k.use(r.DB)
	k.buf = rdb.AppendWrite(k.buf, r, o)
	k.n++
	if len(k.buf) < BatchBytes && k.n < 4*s.o.BatchCount {
		return nil
	}
	return s.sendChunk(ctx)
}

// restoreBig streams a value from its file.
func (s *Standalone) restoreBig(ctx context.Context, r *rdb.Record, o rdb.RestoreOptions) error {
	return s.single(ctx, r, "RESTORE", func(c *conn.Conn) error {
		err := sendBig(c, r, o)
		o.Replace = o.Replace || !s.o.SkipExisting // what is there the next time is our own first try
		return err
	})
}

// single writes one value alone, again until the target has it.
func (s *Standalone) single(ctx context.Context, r *rdb.Record, what string, write func(*conn.Conn) error) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	var b backoff
	for {
		err := error(errGone)
		if s.c != nil {
			err = write(s.c)
		}
		if err == nil || s.o.SkipExisting && resp.IsCode(err, "BUSYKEY") {
			s.o.Waiting(nil)
			return nil
		}
		if serverSaid(err) && !transient(err) {
			return &DataError{Command: what, Key: string(r.Key), DB: r.DB, Err: err}
		}
		for err != nil {
			if err := s.retry(ctx, &b, err); err != nil {
				return err
			}
			err = s.reconnectSame(ctx)
		}
	}
}

// sendBig selects the database, streams one RESTORE, and selects database 0
// again.
func sendBig(c *conn.Conn, r *rdb.Record, o rdb.RestoreOptions) error {
	if r.DB != 0 {
		if _, err := c.Do("SELECT", strconv.Itoa(r.DB)); err != nil {
			return err
		}
	}
	if err := rdb.WriteRestore(c, r, o); err != nil {
		return err
	}
	// The answer comes when the value is built, which blocks the server.
	c.SetTimeout(slowAnswer)
	defer c.SetTimeout(time.Minute)
	err := resp.SkipReply(c.W)
	if broken := (*resp.ReadError)(nil); errors.As(err, &broken) {
		return err
	}
	if r.DB != 0 {
		if _, selectErr := c.Do("SELECT", "0"); selectErr != nil {
			return selectErr
		}
	}
	return err
}

// slowAnswer bounds the wait for a command that blocks the server.
const slowAnswer = 10 * time.Minute

// use makes the chunk's next command run in a database.
func (k *chunk) use(db int) {
	if k.n == 0 || k.db != db {
		k.buf = resp.AppendCommand(k.buf, "SELECT", strconv.Itoa(db))
		k.db = db
		k.n++
	}
}

func (s *Standalone) sendChunk(ctx context.Context) error {
	if s.chunk.n == 0 {
		return nil
	}
	k := s.chunk
	if n := len(s.spare); n > 0 {
		s.chunk, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		s.chunk = &chunk{}
	}
	s.chunk.reset()
	s.snapshotDB = k.db
	s.sent = append(s.sent, k)
	if _, err := s.c.Write(k.buf); err != nil {
		return s.resend(ctx, err)
	}
	for len(s.sent) > inflight {
		if err := s.answerChunk(ctx); err != nil {
			return err
		}
	}
	return nil
}

// answerChunk reads the replies of the oldest chunk.
func (s *Standalone) answerChunk(ctx context.Context) error {
	k := s.sent[0]
	err := s.readChunk(k)
	if err == nil {
		s.sent = s.sent[:copy(s.sent, s.sent[1:])]
		if len(s.spare) < inflight {
			s.spare = append(s.spare, k)
		}
		return nil
	}
	if !transient(err) {
		return err
	}
	return s.resend(ctx, err)
}

// readChunk reads the replies of a chunk and returns the first error of which
// the chunk may not be forgotten.
func (s *Standalone) readChunk(k *chunk) error {
	var first error
	for i := range k.n {
		err := resp.SkipReply(s.c.W)
		if err == nil {
			continue
		}
		var broken *resp.ReadError
		if errors.As(err, &broken) {
			return err
		}
		if resp.IsCode(err, "BUSYKEY") && (s.o.SkipExisting || k.resent) {
			continue
		}
		if first == nil {
			if first = err; !transient(err) {
				return dataError(k.buf, i, err)
			}
		}
	}
	return first
}

// resend waits, connects again and sends everything that is not answered.
func (s *Standalone) resend(ctx context.Context, cause error) error {
	var b backoff
	for {
		if err := s.retry(ctx, &b, cause); err != nil {
			return err
		}
		if cause = s.reconnectSame(ctx); cause != nil {
			continue
		}
		for _, k := range s.sent {
			k.resent = true
			if _, cause = s.c.Write(k.buf); cause != nil {
				break
			}
			if cause = s.readChunk(k); cause != nil {
				if !transient(cause) {
					return cause
				}
				break
			}
		}
		if cause == nil {
			s.sent = s.sent[:0]
			s.o.Waiting(nil)
			return nil
		}
	}
}

// Settle waits until everything is written. It leaves the connection in
// database 0, where batches of the stream begin.
func (s *Standalone) Settle(ctx context.Context) error {
	if s.snapshotDB != 0 || s.chunk.n > 0 && s.chunk.db != 0 {
		s.chunk.use(0)
	}
	if err := s.sendChunk(ctx); err != nil {
		return err
	}
	for len(s.sent) > 0 {
		if err := s.answerChunk(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Everywhere runs a command after everything before it.
func (s *Standalone) Everywhere(ctx context.Context, args ...string) error {
	if s.prev != nil { // its answer comes first
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	err := s.simple(ctx, args...)
	if err != nil && !transient(err) && ctx.Err() == nil {
		return &DataError{Command: args[0], Err: err}
	}
	return err
}

// EndSnapshot settles and notes that the snapshot is written up to pos.
func (s *Standalone) EndSnapshot(ctx context.Context, pos psync.Position, held bool) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	if err := s.simple(ctx, "UNLINK", s.pendingKey()); err != nil { // of the copy before
		return err
	}
	key := wire.CheckpointKey(s.o.Identity.Pair, s.o.Identity.Shard)
	if err := s.simple(ctx, append([]string{"HSET", key}, append(fence.Fields(s.o.Identity, pos, s.o.Seen()), fence.HeldField(held)...)...)...); err != nil {
		return err
	}
	s.Resume(pos)
	return nil
}

// releaseScript takes the hold off a deadline; servers before 7.0 have no
// PEXPIRETIME, and there it may be off by the millisecond in between. Held
// deadlines were at most 6 hours ahead, and are not left for 30 days; one that
// the stream has set since is none.
const releaseScript = `local t=redis.call('PTTL',KEYS[1]) local h=tonumber(ARGV[1])
if t<h-2592000000 or t>h+25200000 then return 0 end
local e=redis.pcall('PEXPIRETIME',KEYS[1])
if type(e)=='number' then redis.call('PEXPIREAT',KEYS[1],string.format('%.0f',e-h))
else redis.call('PEXPIRE',KEYS[1],string.format('%.0f',t-h)) end
return 0`

func appendRelease(dst []byte, key []byte) []byte {
	return resp.AppendCommand(dst, "EVAL", releaseScript, "1", string(key), strconv.Itoa(wire.HeldMillis))
}

// Release takes the hold off a key's deadline.
func (s *Standalone) Release(ctx context.Context, db int, key []byte) error {
	s.chunk.use(db)
	s.chunk.buf = appendRelease(s.chunk.buf, key)
	s.chunk.n++
	if s.chunk.n < s.o.BatchCount {
		return nil
	}
	return s.sendChunk(ctx)
}

// Released notes that no deadline is held.
func (s *Standalone) Released(ctx context.Context) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	key := wire.CheckpointKey(s.o.Identity.Pair, s.o.Identity.Shard)
	return s.simple(ctx, append([]string{"HSET", key}, fence.HeldField(false)...)...)
}

// HoldBack notes that deadlines are held.
func (s *Standalone) HoldBack(ctx context.Context) error {
	if s.prev != nil { // its answer comes first
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	key := wire.CheckpointKey(s.o.Identity.Pair, s.o.Identity.Shard)
	return s.simple(ctx, append([]string{"HSET", key}, fence.HeldField(true)...)...)
}

// Scan calls f with every key of every database of the target.
func (s *Standalone) Scan(ctx context.Context, f func(db int, key []byte) error) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	// SELECT and SCAN have to run on one connection; another one, so that a
	// failover in the middle starts the walk again.
	var b backoff
	for {
		err := s.scanOnce(ctx, f)
		if err == nil || !transient(err) {
			return err
		}
		if err := s.retry(ctx, &b, err); err != nil {
			return err
		}
	}
}

func (s *Standalone) scanOnce(ctx context.Context, f func(db int, key []byte) error) error {
	c, err := s.o.dialMaster(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	info, err := c.Info("keyspace")
	if err != nil {
		return err
	}
	for name := range info {
		db, err := strconv.Atoi(trimDB(name))
		if err != nil {
			continue
		}
		if _, err := c.Do("SELECT", strconv.Itoa(db)); err != nil {
			return err
		}
		if err := scanDB(c, db, f); err != nil {
			return err
		}
	}
	return nil
}

func trimDB(name string) string {
	if len(name) > 2 && name[:2] == "db" {
		return name[2:]
	}
	return ""
}

func scanDB(c interface {
	Do(args ...string) (resp.Reply, error)
}, db int, f func(db int, key []byte) error,
) error {
	cursor := "0"
	for {
		r, err := c.Do("SCAN", cursor, "COUNT", "1000")
		if err != nil {
			return err
		}
		if len(r.Elems) != 2 {
			return fmt.Errorf("SCAN: %w: %d elements", resp.ErrProtocol, len(r.Elems))
		}
		for _, k := range r.Elems[1].Elems {
			if err := f(db, []byte(k.Text)); err != nil {
				return err
			}
		}
		if cursor = r.Elems[0].Text; cursor == "0" {
			return nil
		}
	}
}

// Delete removes keys of a database.
func (s *Standalone) Delete(ctx context.Context, db int, keys [][]byte) error {
	for len(keys) > 0 {
		n := min(len(keys), 500)
		s.chunk.use(db)
		args := []string{"UNLINK"}
		for _, k := range keys[:n] {
			args = append(args, string(k))
		}
		s.chunk.buf = resp.AppendCommand(s.chunk.buf, args...)
		s.chunk.n++
		if err := s.sendChunk(ctx); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// dataError finds the i-th command of a buffer that we framed ourselves.
func dataError(buf []byte, i int, err error) error { return dataErrorIn(commandsOf(buf), i, err) }

// dataError is that of a buffer of which a part may be in files.
func (o *Options) dataError(buf []byte, i int, err error) error {
	return dataErrorIn(o.commandsOf(buf), i, err)
}

func dataErrorIn(w *window.Window, i int, err error) error {
	var c resp.Command
	db := 0
	for k := 0; ; k++ {
		if resp.ReadCommand(w, &c) != nil {
			return &DataError{Command: "a command", Err: err}
		}
		if k == i {
			break
		}
		if len(c.Args) == 2 && string(c.Args[0]) == "SELECT" {
			db, _ = strconv.Atoi(string(c.Args[1]))
		}
	}
	e := &DataError{Command: string(c.Args[0]), DB: db, Err: err}
	if keys, keyErr := route.Keys(nil, c.Args); keyErr == nil && len(keys) > 0 {
		e.Key = string(c.Args[keys[0]])
	}
	return e
}

// commandsOf reads a buffer of commands.
func commandsOf(buf []byte) *window.Window {
	return window.New(bytes.NewReader(buf), min(len(buf)+1, 1<<20), len(buf)+64)
}

// commandsOf reads a buffer of commands of which a part may be in files.
func (o *Options) commandsOf(buf []byte) *window.Window {
	return window.New(o.Bulk.Commands(buf), min(len(buf)+64, 1<<20), 0)
}

// parseArgs reads the arguments of one command.
func parseArgs(raw []byte) [][]byte {
	var c resp.Command
	if resp.ReadCommand(commandsOf(raw), &c) != nil {
		return nil
	}
	return c.Args
}
