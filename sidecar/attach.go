package sidecar

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/pause"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
)

// identify makes an identity for a file without [link]: a hash of the
// source's address and of its cluster node id, so that a restart finds its
// checkpoint.
func (r *Replicator) identify(ctx context.Context) error {
	var b backoff
	for {
		n := psync.Probe(ctx, r.cfg.SourceAddrs[0], r.cfg.Source)
		if n.Err == nil {
			sum := sha256.Sum256([]byte(r.cfg.SourceAddrs[0] + "\n" + n.NodeID))
			r.id.Pair = "unnamed-" + hex.EncodeToString(sum[:6])
			if r.slots == nil && n.Cluster {
				r.slots = n.Slots
			}
			r.st.Update(func(s *wire.Status) { s.Pair, s.Error = r.id.Pair, "" })
			return nil
		}
		if !isSourceError(n.Err) {
			return n.Err
		}
		r.st.SetError(n.Err)
		r.log.Warn("waiting for the source", "reason", n.Err.Error())
		if err := b.wait(ctx); err != nil {
			return errDrained
		}
	}
}

// attach finds a pod of the shard and asks it for the position, again until
// one answers.
func (r *Replicator) attach(ctx context.Context, pos psync.Position) (*psync.Session, error) {
	var b backoff
	for {
		if r.full {
			pos = psync.Position{}
		}
		s, err := r.attachOnce(ctx, pos)
		if err == nil {
			r.st.Update(func(st *wire.Status) {
				st.Error = ""
				st.Source.Address, st.Source.Role, st.Source.Version = s.Node.Addr, s.Node.Role, s.Node.Version
				st.Source.ReplID, st.Source.Offset = s.Pos.ReplID, s.Pos.Offset
			})
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, errDrained
		}
		if !isSourceError(err) {
			return nil, err
		}
		r.st.Update(func(st *wire.Status) { st.Phase, st.InSync, st.Error = wire.PhaseConnecting, false, err.Error() })
		r.log.Warn("waiting for the source", "reason", err.Error())
		if err := b.wait(ctx); err != nil {
			return nil, errDrained
		}
	}
}

func (r *Replicator) attachOnce(ctx context.Context, pos psync.Position) (*psync.Session, error) {
	nodes, master, err := psync.Choose(ctx, r.cfg.SourceAddrs, r.cfg.Source, r.wanted(), pos)
	if err != nil {
		return nil, r.follow(ctx, err)
	}
	r.settle = settling{}
	if master != nil {
		r.master.Store(master)
	}
	var errs []error
	for _, n := range nodes {
		s, err := psync.Attach(ctx, n, r.cfg.Source, pos, r.cfg.SyncFile.Source.ElastiCachePsync)
		if err == nil {
			if s.Full && !pos.Zero() {
				r.why = reason{wire.CauseNotGranted, fmt.Sprintf("%s did not grant a partial resync from %s:%d (its backlog begins at %d)", n.Addr, pos.ReplID, pos.Offset, s.Node.FirstByte)}
			}
			r.session.Store(s)
			if ctx.Err() != nil { // the drain began before it could see the session
				_ = s.Close()
				return nil, context.Cause(ctx)
			}
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// PartedError says that a part of the target has commands of the stream that
// the source's history, since a failover, does not have. They cannot be taken
// back, so only a full copy helps.
type PartedError struct {
	Addr         string
	Ahead, Until int64 // offsets
}

func (e *PartedError) Error() string {
	return fmt.Sprintf("nodes of the target have the stream up to offset %d, and the source at %s lost what came after %d in its failover", e.Ahead, e.Addr, e.Until)
}

// parted compares what the target has with where the history of a granted
// continuation left the one that was asked for: up to second_repl_offset - 1
// they are the same (replication.c, shiftReplicationId). The nodes of a cluster
// are not at one place after a crash, and the position asked for is the least.
func (r *Replicator) parted(sess *psync.Session, asked psync.Position) error {
	until := sess.Node.SecondOff - 1
	if sess.Full || sess.Pos.ReplID == asked.ReplID || r.w.Ahead() <= until {
		return nil
	}
	return &SourceError{&PartedError{sess.Node.Addr, r.w.Ahead(), until}}
}

// backoff waits between attempts at the source: 100 ms, doubling, at most 3 s.
type backoff struct{ d time.Duration }

func (p *backoff) wait(ctx context.Context) error {
	p.d = min(max(2*p.d, 100*time.Millisecond), 3*time.Second)
	return pause.For(ctx, p.d)
}
