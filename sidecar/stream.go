package sidecar

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/spool"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// input is the spool as the window reads it: before it would wait for bytes,
// it lets the stream flush its batch. There is no timer in the path.
type input struct {
	sp         *spool.Spool
	dry        func() error
	total      atomic.Int64
	streamFrom atomic.Int64 // bytes of the snapshot and its framing; -1 while unknown
}

func (in *input) Read(p []byte) (int, error) {
	for {
		if in.dry != nil && in.sp.Empty() {
			if err := in.dry(); err != nil {
				return 0, &applyError{err}
			}
		}
		n, err := in.sp.Read(p)
		if !errors.Is(err, spool.ErrWoken) {
			return n, err
		}
	}
}

// applyError carries an error of the target through the reader of the source.
type applyError struct{ err error }

func (e *applyError) Error() string { return e.err.Error() }
func (e *applyError) Unwrap() error { return e.err }

// streaming is one session's stream being applied.
type streaming struct {
	r       *Replicator
	ctx     context.Context //nolint:containedctx // lives as long as the one call that made it
	sess    *psync.Session
	w       *window.Window
	db      int
	start   int64 // window offset of the stream's first byte
	at      int64 // source offset after the last command
	base    int64 // source offset there
	tx      transaction
	cluster bool // the target is one

	fetch *fetcher

	commands, bytes int64

	fits *rewrite.Table
	keys []int // of the command at hand
}

// stream applies commands until the session ends. Whatever ended it on the
// source's side, nothing is in flight to the target afterwards: the next
// session asks for what follows the position that is applied.
func (r *Replicator) stream(ctx context.Context, sess *psync.Session, w *window.Window, in *input) error {
	s := &streaming{r: r, ctx: ctx, sess: sess, w: w, db: sess.Pos.DB, start: w.Offset(), base: sess.Pos.Offset, at: sess.Pos.Offset}
	s.cluster = r.w.Target().Type == "cluster"
	s.fits = rewrite.For(sess.Node.Server(), r.w.Servers()...)
	r.beginGuard(sess.Full)
	s.fetch = newFetcher(ctx, r, sess, in.sp)
	defer s.fetch.close()
	defer r.bulk.Clear()
	err := s.consume(in)
	in.dry = nil
	if !errors.As(err, new(*SourceError)) {
		return err
	}
	if s.tx.open { // the rest of the transaction will come again
		r.w.Rollback()
	}
	if flushErr := r.w.Flush(ctx, true); flushErr != nil {
		return flushErr
	}
	r.applied.Store(r.w.Prefix())
	return err
}

// skipNewlines passes over what some servers send after +CONTINUE; it is no
// part of the stream.
func (s *streaming) skipNewlines(in *input) error {
	for {
		p, err := s.w.Peek(1)
		if err != nil {
			return &SourceError{err}
		}
		if p[0] != '\n' {
			return nil
		}
		if _, err := s.w.Byte(); err != nil {
			return &SourceError{err}
		}
		s.start++
		in.streamFrom.Add(1)
	}
}

// whenDry runs before the stream would wait for bytes.
func (s *streaming) whenDry() error {
	if err := s.flush(true); err != nil {
		return err
	}
	if s.tx.open {
		return nil
	}
	if err := s.putFetched(s.at); err != nil {
		return err
	}
	if err := s.lookAtTarget(); err != nil {
		return err
	}
	if s.r.held.late && s.r.caughtUp() {
		if s.r.held.any() {
			return s.r.release(s.ctx)
		}
		s.r.held.late = false
	}
	return nil
}

// lookEvery is how often the stream asks the target for what no answer to a
// command says.
const lookEvery = 2 * time.Second

// lookAtTarget asks for it. Nothing is in flight now.
func (s *streaming) lookAtTarget() error {
	if time.Since(s.r.lookedAt) < lookEvery {
		return nil
	}
	s.r.lookedAt = time.Now()
	if err := s.r.countDropped(s.ctx); err != nil {
		return err
	}
	return s.r.findHoles(s.ctx)
}

// consume reads and applies commands until something ends it.
func (s *streaming) consume(in *input) error {
	if !s.sess.Full {
		if err := s.skipNewlines(in); err != nil {
			return err
		}
	}
	in.dry = s.whenDry
	if err := s.flush(true); err != nil { // the checkpoint under the replid of now
		return err
	}
	c := resp.Command{Keeper: s.r.bulk}
	for {
		if err := resp.ReadCommand(s.w, &c); err != nil {
			return unread(err)
		}
		if err := s.command(&c); err != nil {
			return err
		}
	}
}

// unread says what it means that a command could not be read.
func unread(err error) error {
	var target *applyError
	switch {
	case errors.As(err, &target):
		return target.err
	case errors.As(err, new(*bulk.FileError)):
		return err
	case errors.Is(err, bulk.ErrTooLong):
		return stopf("%v; raise proto-max-bulk-len at the target and advanced.target_redis_proto_max_bulk_len here", err)
	case errors.Is(err, window.ErrTooLarge):
		return stopf("a command of the stream is too large: %v", err)
	}
	return &SourceError{err}
}

// flush sends the open batch, unless a transaction of the source is open.
func (s *streaming) flush(wait bool) error {
	if s.tx.open {
		return nil
	}
	if err := s.r.w.Flush(s.ctx, wait); err != nil {
		return err
	}
	applied := s.r.w.Applied()
	s.r.reached.Store(applied.Offset)
	if err := s.r.watchGuard(); err != nil {
		return err
	}
	s.r.bulk.Release(applied.Offset)
	prefix := s.r.w.Prefix()
	s.r.applied.Store(prefix)
	if wait {
		received := s.r.received.Load()
		s.r.st.Update(func(st *wire.Status) {
			st.AppliedOffset, st.Complete = prefix, s.r.complete()
			st.Stream.PendingKeys = int64(s.r.w.PendingCount())
			st.Delivery = s.r.w.Delivery()
			st.Source.Offset, st.Source.ReplID = received, applied.ReplID
			st.Stream.Commands += s.commands
			st.Stream.Bytes += s.bytes
		})
		s.commands, s.bytes = 0, 0
	}
	return s.fetch.next()
}

func (s *streaming) command(c *resp.Command) error {
	s.bytes += c.Size
	if s.fetch.out && !s.tx.open {
		if err := s.putFetched(s.at); err != nil {
			return err
		}
	}
	s.at = s.base + s.w.Offset() - s.start
	if c.Kept > 0 {
		s.r.bulk.Seal(s.at)
	}
	if c.Part && !s.tx.open {
		s.begin(true)
	}
	switch class := route.ClassOf(c.Args[0]); class {
	case route.ClassSelect:
		return s.selectDB(c)
	case route.ClassMulti:
		s.begin(false)
		return nil
	case route.ClassExec:
		return s.end()
	case route.ClassIgnore:
		return s.ignore(c)
	case route.ClassPublish:
		if len(c.Args) > 1 && bytes.HasPrefix(c.Args[1], []byte("__sentinel__:")) {
			s.pass()
			return nil
		}
		return s.write(c)
	case route.ClassFlush:
		return s.flushall(c)
	case route.ClassSwapDB:
		return stopf("the source ran SWAPDB, which cannot be merged into a target that other links or our own keys share; stop writing to the source, swap on both sides and apply again")
	case route.ClassFunction, route.ClassScript:
		return s.everywhere(c)
	case route.ClassUnknown, route.ClassWrite, route.ClassEval:
		return s.write(c)
	}
	return s.flushFull()
}

func (s *streaming) pass() {
	if !s.tx.open {
		s.r.w.Pass(s.position())
	}
}

func (s *streaming) selectDB(c *resp.Command) error {
	if len(c.Args) != 2 {
		return stopf("SELECT in the stream has %d arguments", len(c.Args)-1)
	}
	db, err := strconv.Atoi(string(c.Args[1]))
	if err != nil || db < 0 {
		return stopf("SELECT in the stream names no database")
	}
	s.db = db
	s.pass()
	return nil
}

// ignore handles what is part of the stream and not of the data. GETACK asks
// for an answer on the source's connection; forwarded to the target it would
// get none, and every later answer would be taken for the wrong command.
func (s *streaming) ignore(c *resp.Command) error {
	s.pass()
	if len(c.Args) > 1 && route.EqualFold(c.Args[1], "getack") {
		if err := s.flush(true); err != nil {
			return err
		}
		// When the write fails, the reader of the same connection ends.
		_ = s.sess.Ack(s.r.applied.Load())
	}
	return nil
}

func (s *streaming) write(c *resp.Command) error {
	switch left, err := s.r.withoutOurs(c); {
	case err != nil:
		return err
	case !left && s.tx.parts && !c.More:
		return s.end()
	case !left:
		s.pass()
		return nil
	}
	if s.sess.Node.Slots != nil && !s.own(c) {
		moving := &psync.SlotsMovingError{Addr: s.sess.Node.Addr}
		s.r.moved.Store(moving)
		return &SourceError{moving}
	}
	if err := s.grow(c); err != nil {
		return err
	}
	postponed := s.postpones(c)
	var err error
	if postponed {
		err = s.postpone(c)
	} else {
		err = s.apply(c)
	}
	switch {
	case err != nil:
		return err
	case s.tx.parts && !c.More:
		return s.end()
	case postponed:
		return nil
	case c.Kept > 0:
		return s.flush(false) // the next one waits in a file of its own
	}
	return s.flushFull()
}

// apply gives a command to the target.
func (s *streaming) apply(c *resp.Command) error {
	if c.Cut {
		s.commands++
		return s.r.w.Entail(s.ctx, c.Args, s.db, s.position())
	}
	unconditional(c)
	if err := s.restore(c); err != nil {
		return err
	}
	s.commands++
	if err := s.r.holdStream(s.ctx, c, s.db); err != nil {
		return err
	}
	if err := s.r.inherit(c, s.db); err != nil {
		return err
	}
	if err := s.r.throttle(s.ctx, int(c.Size), 1); err != nil {
		return err
	}
	return s.put(c)
}

// put gives a command to the target in the form that it takes.
func (s *streaming) put(c *resp.Command) error {
	if route.ClassOf(c.Args[0]) == route.ClassEval {
		if err := s.script(c); err != nil {
			return err
		}
	}
	fitted, err := s.fits.Rewrite(c.Args, s.db)
	switch {
	case err != nil:
		if errors.As(err, new(*rewrite.UnsupportedError)) {
			return stopf("%v", err)
		}
		return err
	case fitted == nil:
		return s.r.w.Write(s.ctx, c, s.db, s.position())
	case len(fitted) == 0:
		s.pass()
		return nil
	case c.Kept > 0, s.r.guard.on && scripted(fitted): // the other form may need what is not in memory, or not see that a key is gone
		return s.r.w.Entail(s.ctx, c.Args, s.db, s.position())
	}
	return s.r.w.WriteAll(s.ctx, fitted, s.db, s.position())
}

// scripted reports whether a script is among the commands.
func scripted(commands []rewrite.Command) bool {
	for _, args := range commands {
		if route.ClassOf(args[0]) == route.ClassEval {
			return true
		}
	}
	return false
}

// own reports whether a command of a cluster's node is about the slots that
// the shard holds, and no sign that slots are moving: MIGRATE brings a key from
// another shard with RESTORE-ASKING.
func (s *streaming) own(c *resp.Command) bool {
	if route.EqualFold(c.Args[0], "restore-asking") || route.EqualFold(c.Args[0], "cluster") {
		return false
	}
	var err error
	if s.keys, err = route.Keys(s.keys[:0], c.Args); err != nil {
		return true // what is not known is judged where it is written
	}
	for _, k := range s.keys {
		if !s.r.slots.Has(route.Slot(c.Args[k])) {
			return false
		}
	}
	return true
}

// restore fits the payload of a RESTORE in the stream to the target, which may
// not read the RDB version that the source wrote.
func (s *streaming) restore(c *resp.Command) error {
	if !route.EqualFold(c.Args[0], "restore") || len(c.Args) < 4 {
		return nil
	}
	payload, target := c.Args[3], s.r.w.RDBVersion()
	typ, version, ok := rdb.Payload(payload)
	if !ok {
		return nil // the target says what is wrong with it
	}
	rec := rdb.Record{DB: s.db, Key: c.Args[1], Type: typ, Value: rdb.PayloadValue(payload)}
	o := rdb.RestoreOptions{Footer: rdb.FooterVersion(version, target)}
	if err := s.r.fitWhole(&rec, version, &o); err != nil {
		return err
	}
	if o.Footer == version && rec.Type == typ {
		return nil
	}
	words := make([]string, len(c.Args))
	for i, a := range c.Args {
		words[i] = string(a)
	}
	words[3] = string(rdb.AppendPayload(nil, rec.Type, rec.Value, o.Footer))
	c.Raw = resp.AppendCommand(nil, words...)
	return nil
}

// maxKept bounds the large arguments of a transaction: the target counts what
// it has queued (networking.c, readQueryFromClient), and ends the connection
// above its client-query-buffer-limit, 1 GB.
func (r *Replicator) maxKept() int64 {
	if limit := r.cfg.Advanced.TargetMaxQuerybufLen; limit > 0 {
		return limit
	}
	return 1 << 62
}

// unconditional cuts NX, XX, GT and LT off a command that sets a deadline.
// The source replicates it because it took effect there; here the deadline
// may be held back, and the condition would be judged by that.
func unconditional(c *resp.Command) {
	if len(c.Args) != 4 {
		return
	}
	for _, name := range []string{"pexpireat", "expireat", "pexpire", "expire"} {
		if route.EqualFold(c.Args[0], name) {
			c.Raw = resp.AppendCommand(nil, string(c.Args[0]), string(c.Args[1]), string(c.Args[2]))
			c.Args = c.Args[:3]
			return
		}
	}
}

func (s *streaming) flushFull() error {
	if !s.r.w.Full() || s.tx.open {
		return nil
	}
	if sent, err := s.r.w.SendFull(s.ctx); sent || err != nil {
		return err
	}
	return s.flush(false)
}
