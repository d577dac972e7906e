package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/spool"
)

// Some values cannot be had from the stream: of keys that a cluster target
// cannot compute (a command over several slots), and of keys that the target
// let expire before the stream could say that they live on. The writer calls
// such keys pending (apply/pending.go). Here their values are fetched from the
// server that the stream comes from, together with the offset at which they
// were read, and written when the stream has come to that offset.
//
// The fetching runs beside the stream, which meanwhile leaves the keys out.
// One round of keys is under way at a time, so that what waits is bounded.
//
// A key that is written to all the time would never be current when its value
// comes. So after some rounds like that the stream stands still while the next
// one is read: that one is not older than anything left out.

const (
	// fetchKeys is the number of keys of one round.
	fetchKeys = 128
	// fetchPause is the pause between rounds.
	fetchPause = 2 * time.Millisecond
	// fetchAgain is the pause before keys are asked for again of which the
	// source could not say yet whether they are there.
	fetchAgain = 50 * time.Millisecond
	// fetchRefused is the pause after an error of the source.
	fetchRefused = time.Second
	// holdAfter is the number of rounds in turn that brought a value that was
	// too old, after which the stream waits for the next one.
	holdAfter = 3
	// holdLong bounds that wait: a connection for values may hang while the
	// stream's own is well.
	holdLong = 5 * time.Second
	// pendingLong is how long keys may be pending before a finding says so.
	pendingLong = 10 * time.Second
)

const pendingFinding = "keys have been waiting for 10 s and more to be fetched from the source (stream.pendingKeys): appliedOffset stays at the command that needed them"

// fetcher brings values from the source. Its methods are called by the
// goroutine that applies the stream.
type fetcher struct {
	r    *Replicator
	ctx  context.Context //nolint:containedctx // ends with the session
	stop context.CancelFunc
	sess *psync.Session
	sp   *spool.Spool

	want  chan []apply.Key
	got   chan fetchRound
	out   bool // a round was asked for and is not written yet
	round *fetchRound
	since time.Time // when keys began to be pending
	told  string    // the finding that says why the source gives nothing
	old   int       // rounds in turn that brought a value that was too old
}

// fetchRound is a number of values as they were at one offset.
type fetchRound struct {
	offset int64
	values []apply.Fetched
	// unsure: of some keys the source does not know yet.
	unsure bool
	err    error
}

func (f *fetchRound) close() {
	for i := range f.values {
		if rec := f.values[i].Rec; rec != nil && rec.Big != nil {
			rec.Big.Close()
		}
	}
}

func newFetcher(ctx context.Context, r *Replicator, sess *psync.Session, sp *spool.Spool) *fetcher {
	f := &fetcher{r: r, sess: sess, sp: sp}
	f.ctx, f.stop = context.WithCancel(ctx)
	return f
}

// close ends the fetching. What was not written stays pending.
func (f *fetcher) close() {
	f.stop()
	f.tell(nil)
	f.r.st.Update(func(s *wire.Status) { setFinding(s, pendingFinding, false) })
	if f.round != nil {
		f.round.close()
	}
	if f.want != nil {
		close(f.want)
		for late := range f.got {
			late.close()
		}
	}
}

// next takes what has arrived and asks for more.
func (f *fetcher) next() error {
	if f.out && f.round == nil {
		select {
		case round := <-f.got:
			if err := f.take(round); err != nil {
				return err
			}
		default:
		}
	}
	keys := f.r.w.PendingCount()
	f.report(keys)
	if f.out || keys == 0 {
		return nil
	}
	if f.want == nil {
		f.want, f.got = make(chan []apply.Key, 1), make(chan fetchRound, 1)
		go f.run()
	}
	f.want <- f.r.w.Pending(fetchKeys)
	f.out = true
	return nil
}

func (f *fetcher) take(round fetchRound) error {
	f.tell(round.err)
	var said *resp.ServerError
	if round.err != nil && !errors.As(round.err, &said) {
		return &SourceError{fmt.Errorf("fetching the value of a key: %w", round.err)}
	}
	f.round = &round
	return nil
}

// holds reports whether the stream has to stand still for the round under way.
func (f *fetcher) holds() bool { return f.out && f.round == nil && f.old >= holdAfter }

// hold waits for the round that is under way, where the stream has to: what
// comes meanwhile goes to the spool. A round that was asked for at this very
// place of the stream is not older than what was left out.
func (f *fetcher) hold() error {
	if !f.holds() {
		return nil
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for end := time.Now().Add(holdLong); !f.sp.Ended() && time.Now().Before(end); { // then the session ends, and the server may not answer any more
		select {
		case round := <-f.got:
			return f.take(round)
		case <-f.ctx.Done():
			return context.Cause(f.ctx)
		case <-t.C:
		}
	}
	f.old = 0 // the stream goes on; after some more rounds it is tried again
	return nil
}

// tell shows why the source refuses to give values; they are asked for again,
// and the stream goes on meanwhile.
func (f *fetcher) tell(err error) {
	text := ""
	if err != nil {
		text = fmt.Sprintf("values cannot be fetched from the source: %v", err)
	}
	if text == f.told {
		return
	}
	f.r.st.Update(func(s *wire.Status) {
		setFinding(s, f.told, false)
		if text != "" {
			setFinding(s, text, true)
		}
	})
	if f.told = text; text != "" {
		f.r.log.Warn("values cannot be fetched from the source", "error", err.Error())
	}
}

// report says when keys are pending for long.
func (f *fetcher) report(keys int) {
	switch {
	case keys == 0 && f.since.IsZero():
		return
	case keys == 0:
		f.since = time.Time{}
		f.r.st.Update(func(s *wire.Status) { setFinding(s, pendingFinding, false) })
	case f.since.IsZero():
		f.since = time.Now()
	case time.Since(f.since) > pendingLong:
		f.r.st.Update(func(s *wire.Status) { setFinding(s, pendingFinding, true) })
	}
}

// run asks the source, until the session ends.
func (f *fetcher) run() {
	defer close(f.got)
	src := &valueSource{sess: f.sess, options: f.r.cfg.Source, dir: f.r.dir}
	defer src.close()
	wait := time.Duration(0)
	for keys := range f.want {
		select {
		case <-f.ctx.Done():
		case <-time.After(wait):
		}
		round := src.fetch(f.ctx, keys)
		switch wait = fetchPause; {
		case round.err != nil:
			src.close()
			wait = fetchRefused
		case round.unsure:
			wait = fetchAgain
		}
		f.got <- round
		f.sp.Wake()
	}
}

// putFetched writes the values of a round, when the stream has come to their
// offset. at is the offset of the next command; no transaction is open.
func (s *streaming) putFetched(at int64) error {
	f := s.fetch
	if err := f.next(); err != nil {
		return err
	}
	if err := f.hold(); err != nil { // the flush that asked for it has applied all that was read
		return err
	}
	if f.round == nil || f.round.offset > at {
		return nil
	}
	if err := s.flush(true); err != nil {
		return err
	}
	values := f.round.values[:0:0]
	for _, v := range f.round.values {
		v.Offset = f.round.offset
		if s.r.slots != nil && !s.r.slots.Has(route.Slot([]byte(v.Name))) {
			v.Foreign = true
		}
		if v.Rec != nil && !v.Foreign && s.r.held.late {
			if err := s.r.hold(v.Rec, time.Now()); err != nil {
				return err
			}
		}
		values = append(values, v)
	}
	write := func(v apply.Fetched) error {
		version := int(v.Rec.Count)
		o := rdb.RestoreOptions{Footer: rdb.FooterVersion(version, s.r.w.RDBVersion()), Replace: true}
		return s.r.writeValue(s.ctx, v.Rec, version, o)
	}
	before := s.r.w.PendingCount()
	if err := s.r.w.Put(s.ctx, values, write); err != nil {
		return err
	}
	f.count(f.round.err, len(values), before-s.r.w.PendingCount())
	s.r.log.Debug("values were fetched from the source", "keys", len(values), "offset", f.round.offset)
	f.done()
	return s.flush(true)
}

// count counts the rounds in turn that brought a value that was too old. One
// without any value says nothing about that: the source does not know yet
// whether the keys are there. While it refuses, the stream must go on.
func (f *fetcher) count(refused error, values, written int) {
	switch {
	case refused != nil:
		f.old = 0
	case values == 0:
	case written < values:
		f.old++
	default:
		f.old = 0
	}
}

// done makes room for the next round.
func (f *fetcher) done() {
	f.round.close()
	f.round, f.out = nil, false
}

// errHistory ends a session whose server has another history by now.
var errHistory = errors.New("the source's history has changed")
