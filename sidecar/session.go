package sidecar

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/spool"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// ackEvery is the period of acknowledgements; a source gives up a replica
// that is silent for repl-timeout (60 s).
const ackEvery = time.Second

// silence is how long a source may send nothing: it pings every
// repl-ping-replica-period (10 s).
const silence = 60 * time.Second

// serve applies one session until it ends. It returns a *SourceError when the
// source's side ended it.
func (r *Replicator) serve(hard context.Context, sess *psync.Session, established bool) error {
	if sess.Full {
		if err := sess.Begin(); err != nil {
			return &SourceError{err}
		}
	}
	r.received.Store(sess.Pos.Offset)
	id := sess.Pos.ReplID
	r.replid.Store(&id)
	if sess.Full {
		r.history.Add(1)
	}
	sp := spool.New(r.dir, r.cfg.Advanced.SpoolMemory, r.cfg.Advanced.SpoolDisk)
	defer sp.Abort()
	left, err := sess.Conn.W.Next(sess.Conn.W.Buffered())
	if err != nil {
		return &SourceError{err}
	}
	sess.Conn.SetTimeout(silence)
	src := io.MultiReader(bytes.NewReader(bytes.Clone(left)), sess.Conn.Reader())
	in := &input{sp: sp}
	// During a snapshot the bytes received are not bytes of the stream.
	streamFrom := int64(-1)
	if !sess.Full {
		streamFrom = 0
	}
	in.streamFrom.Store(streamFrom)
	go sp.Fill(src, func(n int) {
		total := in.total.Add(int64(n))
		if from := in.streamFrom.Load(); from >= 0 {
			r.received.Store(sess.Pos.Offset + total - from)
		}
	})
	done := make(chan struct{})
	defer close(done)
	// Nothing of a snapshot is acknowledged before it is written: the source
	// would count this copy as durable.
	r.applied.Store(0)
	if !sess.Full {
		r.applied.Store(sess.Pos.Offset)
		r.reached.Store(sess.Pos.Offset)
	}
	r.spool.Store(sp)
	defer r.spool.Store(nil)
	go r.acknowledge(sess, done)
	go r.watchSpool(sp, done)

	if err := r.countDropped(hard); err != nil {
		return err
	}
	w := window.New(in, 256<<10, 0)
	if sess.Full {
		if err := r.snapshot(hard, sess, w, established); err != nil {
			return r.brokenOff(hard, err)
		}
		in.streamFrom.Store(w.Offset())
		r.received.Store(sess.Pos.Offset + in.total.Load() - w.Offset())
		if err := sess.Ack(sess.Pos.Offset); err != nil {
			return &SourceError{err}
		}
	} else {
		r.st.Update(func(s *wire.Status) { s.FullSync.Partial++ })
		r.w.Resume(sess.Pos)
		r.log.Info("partial resync", "source", sess.Node.Addr, "offset", sess.Pos.Offset)
	}
	if err := r.findHoles(hard); err != nil {
		return err
	}
	r.st.Update(func(s *wire.Status) {
		if s.Phase != wire.PhaseDraining {
			s.Phase = wire.PhaseCatchingUp
		}
		s.Complete = r.complete()
	})
	r.waker.Store(sp)
	defer r.waker.Store(nil)
	return r.stream(hard, sess, w, in)
}

// brokenOff waits for the answers to what a snapshot had sent when its source
// ended it: whatever follows uses the same connections.
func (r *Replicator) brokenOff(ctx context.Context, err error) error {
	if !errors.As(err, new(*SourceError)) {
		return err
	}
	if settleErr := r.w.Settle(ctx); settleErr != nil {
		return settleErr
	}
	return err
}

func (r *Replicator) acknowledge(sess *psync.Session, done <-chan struct{}) {
	t := time.NewTicker(ackEvery)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
			// A write that fails shows at the reader of the same connection.
			_ = sess.Ack(r.applied.Load())
		}
	}
}

func (r *Replicator) watchSpool(sp *spool.Spool, done <-chan struct{}) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
			total, disk := sp.Buffered()
			full := sp.Full()
			r.st.Update(func(s *wire.Status) {
				s.Stream.SpoolBytes, s.Stream.SpoolDiskBytes = total, disk
				setFinding(s, spoolFull, full)
			})
		}
	}
}

const spoolFull = "the spool is full (advanced.spool_disk_bytes): the source is being held back; when its output buffer overflows, it will drop this replicator and a full copy may follow"

// setFinding adds or removes one finding.
func setFinding(s *wire.Status, text string, on bool) {
	for i, f := range s.Findings {
		if f == text {
			if !on {
				s.Findings = append(s.Findings[:i:i], s.Findings[i+1:]...)
			}
			return
		}
	}
	if on {
		s.Findings = append(s.Findings, text)
	}
}
