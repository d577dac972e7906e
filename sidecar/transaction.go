package sidecar

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// A transaction of the source is applied only when its end has come: the source
// may be lost in the middle, and the replica that takes its place has nothing
// of it (multi.c runs it at EXEC). The same holds for a command that is read in
// parts. A standalone target gets it as one batch, of which the writer keeps in
// a file what is too much for memory. A cluster cannot take a batch of any size,
// so the rest of a long one waits in a file here, and is applied, when the end
// has come, in as many batches as it needs.

const (
	// postponeAbove is how many bytes of a transaction go to the open batches
	// of a cluster, whose nodes apply their share of them at once.
	postponeAbove = 4 << 20
	// postponedInMemory is how many bytes of what is postponed are in memory.
	postponedInMemory = 1 << 20

	// maxTransaction bounds a transaction of the source, or a command that is
	// read in parts, without its large arguments. The target holds it until EXEC.
	maxTransaction = 256 << 20
)

// transaction is one of the source that is open.
type transaction struct {
	open bool
	// parts: it is a command that is read in parts.
	parts bool
	bytes int64
	kept  int64 // bytes of large arguments
	// later are the commands that wait for its end, each after one that
	// describes it, in a buffer of which a part is in files.
	later   []byte
	spilled int // where in later the part in memory begins
}

// begin opens a transaction.
func (s *streaming) begin(parts bool) {
	s.r.w.Save()
	s.tx = transaction{open: true, parts: parts, later: s.tx.later[:0]}
}

// grow counts a command of the transaction.
func (s *streaming) grow(c *resp.Command) error {
	if !s.tx.open {
		return nil
	}
	if s.tx.bytes += int64(len(c.Raw)); s.tx.bytes > maxTransaction {
		return stopf("a transaction of the source, or one command, has more than %d bytes; the target could not hold it until its end", maxTransaction)
	}
	if s.tx.kept += c.Kept; s.tx.bytes+s.tx.kept > s.r.maxKept() {
		return stopf("a transaction of the source has more than %d bytes; the target would not take it (client-query-buffer-limit, advanced.target_redis_client_max_querybuf_len)", s.r.maxKept())
	}
	return nil
}

// postpones reports whether a command has to wait for the end of the
// transaction.
func (s *streaming) postpones(c *resp.Command) bool {
	return s.tx.open && s.cluster && (c.Part || s.tx.bytes > postponeAbove || len(s.tx.later) > 0)
}

// postpone keeps a command for the end of the transaction.
func (s *streaming) postpone(c *resp.Command) error {
	t := &s.tx
	t.later = resp.AppendCommand(t.later, strconv.Itoa(s.db), strconv.FormatInt(s.at, 10), strconv.FormatInt(c.Size, 10),
		strconv.FormatInt(c.Kept, 10), strconv.FormatBool(c.Cut), strconv.FormatBool(c.Part), strconv.FormatBool(c.More))
	t.later = append(t.later, c.Raw...)
	if len(t.later)-t.spilled < postponedInMemory {
		return nil
	}
	token, err := s.r.bulk.KeepCommands(t.later[t.spilled:], s.at)
	if err != nil {
		return err
	}
	t.later = append(t.later[:t.spilled], token...)
	t.spilled = len(t.later)
	return nil
}

// end ends the transaction: what was postponed is applied.
func (s *streaming) end() error {
	db, at := s.db, s.at
	if len(s.tx.later) > 0 {
		if err := s.applyPostponed(); err != nil {
			return err
		}
	}
	s.db, s.at = db, at
	s.tx.open = false
	if cap(s.tx.later) > 4*postponedInMemory {
		s.tx.later = nil
	}
	s.tx.later, s.tx.spilled = s.tx.later[:0], 0
	s.r.w.Pass(s.position())
	return s.flushFull()
}

// applyPostponed gives the postponed commands to the target. Until the end of
// the transaction is passed, no checkpoint is behind its beginning; what a
// crash leaves done in part, the frontiers of the nodes tell.
func (s *streaming) applyPostponed() error {
	w := window.New(s.r.bulk.Commands(s.tx.later), 256<<10, 0)
	var about, c resp.Command
	for left := true; left; {
		switch _, err := w.Peek(1); {
		case errors.Is(err, io.EOF):
			left = false
			continue
		case err != nil:
			return fmt.Errorf("reading back a transaction: %w", err)
		}
		if err := resp.ReadCommand(w, &about); err != nil {
			return fmt.Errorf("reading back a transaction: %w", err)
		}
		var n [4]int64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseInt(string(about.Args[i]), 10, 64); err != nil {
				return fmt.Errorf("reading back a transaction: %w", err)
			}
		}
		if err := resp.ReadCommand(w, &c); err != nil {
			return fmt.Errorf("reading back a transaction: %w", err)
		}
		is := func(i int) bool { return string(about.Args[i]) == "true" }
		s.db, s.at = int(n[0]), n[1]
		c.Size, c.Kept, c.Cut, c.Part, c.More = n[2], n[3], is(4), is(5), is(6)
		if err := s.apply(&c); err != nil {
			return err
		}
		c.More = false // it is not for the reader
		if !s.r.w.Full() {
			continue
		}
		if err := s.r.w.Flush(s.ctx, false); err != nil {
			return err
		}
	}
	return nil
}

// position is the place after the command at hand.
func (s *streaming) position() psync.Position {
	return psync.Position{ReplID: s.sess.Pos.ReplID, Offset: s.at, DB: s.db}
}
