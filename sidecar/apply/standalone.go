package apply

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/fence"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
)

// Standalone writes to one master: a standalone server, or what Sentinel or
// an operator says is the master. Every batch of the stream is one MULTI/EXEC
// with the checkpoint in it, so each command is applied exactly once.
type Standalone struct {
	o           Options
	c           *conn.Conn
	incarnation string
	rdbVersion  int
	server      rewrite.Server
	runID       string // of the server that it is connected to
	trusted     string // of the server that has everything acknowledged so far

	// Snapshot: the chunk being filled, and those sent and not answered.
	chunk      *chunk
	sent       []*chunk
	spare      []*chunk
	snapshotDB int // selected by the last chunk sent

	// Stream: the batch being filled, and the one whose EXEC was sent.
	cur, prev *batch
	free      []*batch // used batches, to be filled again
	pendingKeys
	inTx      bool // between Save and Pass or Rollback
	committed psync.Position
	passed    psync.Position // read, and nothing before it is outstanding
	lastCkpt  time.Time
	force     bool // the checkpoint is to be written, data or not
}

// NewStandalone returns a writer that is not connected yet.
func NewStandalone(o Options) *Standalone {
	return &Standalone{o: o, chunk: &chunk{}, cur: &batch{}}
}

// Target says which server is written to.
func (s *Standalone) Target() wire.TargetStatus {
	t := wire.TargetStatus{Type: "standalone", Version: s.server.Text}
	if s.c != nil {
		t.Address, t.User = s.c.Addr, s.c.User
	}
	return t
}

// Delivery of a standalone target.
func (s *Standalone) Delivery() wire.Delivery { return wire.ExactlyOnce }

// RDBVersion is the payload version of the target's own DUMP.
func (s *Standalone) RDBVersion() int { return s.rdbVersion }

// Servers is the master.
func (s *Standalone) Servers() []rewrite.Server { return []rewrite.Server{s.server} }

// Take connects, waits out what passes, and returns the checkpoint.
func (s *Standalone) Take(ctx context.Context) (fence.Checkpoint, error) {
	var b backoff
	for {
		ck, err := s.connect(ctx)
		if err == nil {
			s.o.Waiting(nil)
			s.resetSnapshot()
			s.cur.reset()
			s.prev = nil
			s.trusted = s.runID
			s.committed = ck.Pos
			s.clear()
			if err = s.loadPending(ck.Pos.Offset); err == nil {
				return ck, nil
			}
		}
		if err := s.retry(ctx, &b, err); err != nil {
			return fence.Checkpoint{}, err
		}
	}
}

func (s *Standalone) retry(ctx context.Context, b *backoff, err error) error {
	return retry(ctx, s.o.Waiting, b, err)
}

// connect dials the master and takes the shard.
func (s *Standalone) connect(ctx context.Context) (fence.Checkpoint, error) {
	if s.c != nil {
		_ = s.c.Close()
		s.c = nil
	}
	c, err := s.o.dialMaster(ctx)
	if err != nil {
		return fence.Checkpoint{}, err
	}
	others := s.o.dialOthers(ctx, c.Addr)
	inc, id, ck, err := fence.Take(s.o.Identity, s.incarnation, c, nil, others)
	for _, other := range others {
		_ = other.Close()
	}
	if err == nil {
		s.incarnation, s.o.Identity = inc, id
		s.rdbVersion, s.server, s.runID, err = features(c, wire.IncarnationKey(s.o.Identity.Pair, s.o.Identity.Shard))
	}
	if err != nil {
		_ = c.Close()
		return fence.Checkpoint{}, err
	}
	s.c = c
	return ck, nil
}

// reconnectSame connects again where only the same server will do: another
// one, or the same after a restart, may lack what was acknowledged and is in
// no checkpoint yet.
func (s *Standalone) reconnectSame(ctx context.Context) error {
	ck, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if s.runID != s.trusted || ck.Usable() && s.prev == nil && ck.Pos.Offset != s.committed.Offset {
		return ErrRewound
	}
	return nil
}

// features reads the server's version and, from the footer of a payload that
// it makes itself, the RDB version that it reads.
func features(c *conn.Conn, key string) (rdbVersion int, server rewrite.Server, runID string, err error) {
	r, err := c.Do("DUMP", key)
	if err != nil {
		return 0, server, "", err
	}
	if n := len(r.Text); n >= 10 {
		rdbVersion = int(binary.LittleEndian.Uint16([]byte(r.Text[n-10 : n-8])))
	}
	if rdbVersion == 0 {
		return 0, server, "", fmt.Errorf("DUMP at %s: %w: no payload", c.Addr, resp.ErrProtocol)
	}
	info, err := c.Info("server")
	if err != nil {
		return 0, server, "", err
	}
	return rdbVersion, rewrite.ParseServer(info), info["run_id"], nil
}

// Close ends the connection.
func (s *Standalone) Close() error {
	if s.c == nil {
		return nil
	}
	return s.c.Close()
}

// simple runs a command outside of batches and snapshots, again until the
// target takes it.
func (s *Standalone) simple(ctx context.Context, args ...string) error {
	return s.alone(ctx, func() error {
		_, err := s.c.Do(args...)
		return err
	})
}

// alone calls f, which asks the target something while nothing is in flight,
// again until it succeeds.
func (s *Standalone) alone(ctx context.Context, f func() error) error {
	var b backoff
	for {
		var err error
		if s.c == nil {
			err = s.reconnectSame(ctx)
		}
		if err == nil {
			if err = f(); err == nil {
				s.o.Waiting(nil)
				return nil
			}
		}
		if reconnects(err) && s.c != nil {
			_ = s.c.Close()
			s.c = nil
		}
		if err := s.retry(ctx, &b, err); err != nil {
			return err
		}
	}
}

// reconnects reports whether the error says that the connection, or the
// server at its end, is not the right one any more.
func reconnects(err error) bool {
	var server *resp.ServerError
	return !errors.As(err, &server) || resp.IsCode(err, "READONLY", "MASTERDOWN", "NOAUTH", "NOPERM", "LOADING")
}
