// Package apply writes a shard into a target: the values of a snapshot as
// RESTORE, the commands of the stream in batches that carry the checkpoint.
// One writer per shape of a target implements Writer.
package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/pause"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// Writer writes one shard into a target. Its methods are called by one
// goroutine. Whatever may pass (a failover, a full memory, a cut connection)
// is waited out inside, in order, and told to Options.Waiting; an error that
// is returned means that the shard stops, except ErrRewound.
type Writer interface {
	// Take connects and becomes the only writer of the shard.
	Take(ctx context.Context) (fence.Checkpoint, error)
	// Target says what is written to.
	Target() wire.TargetStatus
	Delivery() wire.Delivery
	// RDBVersion is the newest payload version that RESTORE takes there.
	RDBVersion() int
	// Servers are the masters that are written to.
	Servers() []rewrite.Server

	// Dropped reads what each server has dropped by itself since it started.
	Dropped(ctx context.Context) ([]Dropped, error)

	// BeginSnapshot marks the target as incomplete.
	BeginSnapshot(ctx context.Context) error
	// Restore writes one value. It may keep it for a while.
	Restore(ctx context.Context, r *rdb.Record, o rdb.RestoreOptions) error
	// Rebuild writes one value as commands, alone.
	Rebuild(ctx context.Context, r *rdb.Record, o RebuildOptions) error
	// Adopt changes which slots the shard holds (fence.Claim). Only after
	// BeginSnapshot: the checkpoint must be void. Held reads what all shards
	// of the pair hold.
	Adopt(ctx context.Context, want func(map[int]fence.Holding) (route.SlotSet, error)) (route.SlotSet, error)
	Held(ctx context.Context) (map[int]fence.Holding, error)
	// Everywhere runs a command on every master (functions, scripts), after
	// everything before it.
	Everywhere(ctx context.Context, args ...string) error
	// KeepScript keeps a script of the source beside the checkpoint, by the
	// hash that EVALSHA names it by; Script finds it there.
	KeepScript(ctx context.Context, sha, body string) error
	Script(ctx context.Context, sha string) (body string, ok bool, err error)
	// DropScripts forgets all of them.
	DropScripts(ctx context.Context) error
	// Settle waits until everything is written.
	Settle(ctx context.Context) error
	// Scan calls f with every key of the target, database by database. Delete
	// removes keys.
	Scan(ctx context.Context, f func(db int, key []byte) error) error
	Delete(ctx context.Context, db int, keys [][]byte) error
	// EndSnapshot settles and notes that the snapshot is written up to pos.
	// held: deadlines were held back (wire.HeldMillis).
	EndSnapshot(ctx context.Context, pos psync.Position, held bool) error
	// Release takes wire.HeldMillis off a key's deadline, if it is on it.
	// Released notes that this was done for all keys.
	Release(ctx context.Context, db int, key []byte) error
	Released(ctx context.Context) error

	// Resume says where the stream that follows begins, without a snapshot.
	Resume(pos psync.Position)
	// Write takes one command of the stream; db is the database selected for
	// it and end the position after it.
	Write(ctx context.Context, c *resp.Command, db int, end psync.Position) error
	// WriteAll takes several commands that stand for one of the stream, end
	// being the position after it. All but the last can be repeated.
	WriteAll(ctx context.Context, commands []rewrite.Command, db int, end psync.Position) error
	// Entail passes a command and makes the keys that it writes pending.
	Entail(ctx context.Context, args [][]byte, db int, end psync.Position) error
	// Save remembers the open batch as it is now, at the start of a
	// transaction; Rollback returns to it when the transaction never ends.
	Save()
	Rollback()
	// Pass notes a position after commands without data.
	Pass(end psync.Position)
	// Full reports whether the open batch should be flushed.
	Full() bool
	// SendFull sends what is full of the open batch, where that needs nothing
	// else to be sent; Applied stays. When it does not, Flush is due.
	SendFull(ctx context.Context) (bool, error)
	// Flush sends the open batch; with wait it returns when the target has it.
	Flush(ctx context.Context, wait bool) error
	// Checkpoint flushes, and writes the checkpoint of where the stream is now.
	Checkpoint(ctx context.Context) error
	// Pending returns up to limit of the keys whose values have to be fetched
	// from the source (see pending.go); PendingCount is the number of all.
	Pending(limit int) []Key
	PendingCount() int
	// Put writes fetched values, each by write. Nothing is in flight, no transaction of the
	// source is open, and the stream has come to their offsets and not beyond
	// the next command. A value that is older than what was left out is not
	// written; its key stays pending.
	Put(ctx context.Context, values []Fetched, write func(Fetched) error) error
	// Guard makes every key that is not found in the target a pending one (see
	// pending.go), until it is called off.
	Guard(on bool)
	// HoldBack notes that deadlines of the stream are held back from now on.
	HoldBack(ctx context.Context) error
	// Applied is the position up to which the target has everything, except
	// for pending keys; Prefix is the offset up to which it has those too.
	Applied() psync.Position
	Prefix() int64
	// Ahead is the offset up to which parts of the target may have something of
	// the stream; 0 when nothing is beyond Applied, or beyond what Take returned.
	Ahead() int64

	Close() error
}

// ErrRewound is returned when the target has lost writes that it had
// acknowledged (its own failover): the stream has to be read again from its
// checkpoint, which Take returns.
var ErrRewound = errors.New("the target lost acknowledged writes in a failover; reading again from its checkpoint")

// deadline reports whether a command sets or takes away the deadline of a
// key: what EXPIRE, GETEX and PERSIST turn into in a stream.
func deadline(args [][]byte) bool {
	return len(args) > 1 && (route.EqualFold(args[0], "pexpireat") || route.EqualFold(args[0], "persist") ||
		route.EqualFold(args[0], "expireat") || route.EqualFold(args[0], "pexpire") || route.EqualFold(args[0], "expire"))
}

// DataError says that the target refused a command for what it is. The copy
// has diverged; nothing is written after it.
type DataError struct {
	Command string
	Key     string
	DB      int
	Err     error
}

func (e *DataError) Error() string {
	return fmt.Sprintf("the target refused %s of key %q in database %d: %v", e.Command, e.Key, e.DB, e.Err)
}
func (e *DataError) Unwrap() error { return e.Err }

// Options of a writer.
type Options struct {
	Identity   fence.Identity
	Slots      route.SlotSet // of the link; nil without [link]
	Addrs      []string
	Sentinels  []string
	MasterName string
	Conn       conn.Options
	Sentinel   conn.Options
	BatchCount int // commands in one batch
	Log        *slog.Logger
	// Waiting is told why nothing is being written, and nil when it goes on.
	Waiting func(error)
	// Bulk has the arguments for which tokens stand in the commands of the
	// stream; nil where there are none.
	Bulk *bulk.Store
	// MaxQueued is how many bytes of commands the target takes in one
	// transaction; 0 for no limit.
	MaxQueued int64
	// Seen gives the source's own position, noted in each checkpoint.
	Seen func() fence.Seen
	// Existing says what BUSYKEY means when values are not to be replaced.
	SkipExisting bool
}

// BatchBytes is the size at which a batch is sent.
const BatchBytes = 256 << 10

// transientCodes are answers that pass with time.
var transientCodes = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "OOM", "NOREPLICAS", "NOPERM",
	"MISCONF", "NOAUTH", "UNKILLABLE", "MOVED", "ASK", "EXECABORT",
}

// transient reports whether waiting may mend the error: a connection, a
// failover, a full memory, a fence that the plugin is about to open.
func transient(err error) bool {
	var (
		read    *resp.ReadError
		notM    *fence.NotMasterError
		fenced  *fence.FencedError
		auth    *conn.AuthError
		server  *resp.ServerError
		noWrite *NoMasterError
		whole   *TopologyError
		held    *fence.HeldError
	)
	switch {
	case errors.As(err, new(*DataError)): // whatever it was: something else has been written
		return false
	case errors.As(err, &held), errors.As(err, &notM), errors.As(err, &fenced), errors.As(err, &auth), errors.As(err, &noWrite), errors.As(err, &whole), fence.IsRace(err):
		return true
	case errors.As(err, &server):
		return resp.IsCode(err, transientCodes...) || strings.Contains(server.Text, "max number of clients")
	case errors.As(err, &read), conn.Broken(err):
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// backoff waits between attempts: 50 ms, doubling, at most 2 s.
type backoff struct{ d time.Duration }

func (b *backoff) wait(ctx context.Context) error {
	if b.d == 0 {
		b.d = 25 * time.Millisecond
	}
	b.d = min(2*b.d, 2*time.Second)
	return pause.For(ctx, b.d)
}

// retry tells why it waits and waits, or returns the error that waiting does
// not mend.
func retry(ctx context.Context, waiting func(error), b *backoff, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !transient(err) {
		return err
	}
	waiting(err)
	return b.wait(ctx)
}

// harmless reports whether an error inside a batch is one that a replica of
// the source would meet as well. A key with a TTL may expire here a moment
// before the source's own DEL arrives; commands that need it then find none,
// and the source deletes what they were to leave.
func harmless(err error, cmd []byte) bool {
	if route.ClassOf(cmd) == route.ClassEval && !transient(err) && !resp.IsCode(err, "NOSCRIPT", rewrite.ErrorCode) {
		return true // a script that fails there, failed on the source as well
	}
	var e *resp.ServerError
	return errors.As(err, &e) && e.Code == "ERR" && e.Text == "no such key"
}
