package apply

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// pendingKey is the set of the pending keys' names, "<database>:<name>".
func (s *Standalone) pendingKey() string {
	return wire.PendingKey(s.o.Identity.Pair, s.o.Identity.Shard)
}

func (k Key) member() string { return strconv.Itoa(k.DB) + ":" + k.Name }

// loadPending reads the names in the target. offset: the values must not be
// older.
func (s *Standalone) loadPending(offset int64) error {
	r, err := s.c.Do("SMEMBERS", s.pendingKey())
	if err != nil {
		return err
	}
	for _, e := range r.Elems {
		db, name, ok := strings.Cut(e.Text, ":")
		n, err := strconv.Atoi(db)
		if !ok || err != nil {
			return fmt.Errorf("the pending keys at %s: a member names no database", s.c.Addr)
		}
		s.pend(Key{n, name}, offset-1, offset) // the command was before it
	}
	return nil
}

// deadlineScript sets or takes away a deadline and notes the key when it is
// not there, in the transaction that passes the command.
// KEYS: the key, the set of names. ARGV: the name's member, the command.
const deadlineScript = `local r=redis.call(unpack(ARGV,2))
if r==0 then redis.call('SELECT',0) redis.call('SADD',KEYS[2],ARGV[1]) end
return r`

// guardScript leaves a command out and notes its key when the key is not
// there. KEYS and ARGV as above.
const guardScript = `if redis.call('EXISTS',KEYS[1])==0 then
redis.call('SELECT',0) redis.call('SADD',KEYS[2],ARGV[1])
return {ok='` + absent + `'} end
return redis.call(unpack(ARGV,2))`

const absent = "ABSENT"

// watch adds a command of one key inside a script that looks whether the key
// is there.
func (s *Standalone) watch(script string, args [][]byte, db int) {
	k := Key{db, string(args[1])}
	words := []string{"EVAL", script, "2", k.Name, s.pendingKey(), k.member()}
	for _, a := range args {
		words = append(words, string(a))
	}
	s.cur.use(db)
	place := watched(2 * s.cur.n)
	if script == guardScript {
		place++
	}
	s.cur.deadlines = append(s.cur.deadlines, place)
	s.cur.buf = resp.AppendCommand(s.cur.buf, words...)
	s.cur.n++
}

// pendWatched makes the keys of those commands of a batch pending that found
// none. They are in order, and few.
func (s *Standalone) pendWatched(b *batch, places []int) error {
	if len(places) == 0 {
		return nil
	}
	w := s.o.commandsOf(b.buf)
	var c resp.Command
	db := 0
	for i := -1; len(places) > 0; i++ { // MULTI is before the first
		if err := resp.ReadCommand(w, &c); err != nil {
			return fmt.Errorf("reading back a batch: %w", err)
		}
		switch {
		case len(c.Args) == 2 && string(c.Args[0]) == "SELECT":
			n, err := strconv.Atoi(string(c.Args[1]))
			if err != nil {
				return fmt.Errorf("reading back a batch: %w", err)
			}
			db = n
		case i == places[0]:
			s.pend(Key{db, string(c.Args[3])}, b.start, max(b.end.Offset, s.cur.end.Offset)) // as watch made it
			places = places[1:]
		}
	}
	return nil
}

// skip leaves a command out.
func (s *Standalone) skip(end psync.Position) {
	if s.inTx {
		s.cur.end = end
		return
	}
	s.Pass(end)
}

// Entail passes a command and makes the keys that it writes pending.
func (s *Standalone) Entail(_ context.Context, args [][]byte, db int, end psync.Position) error {
	return s.entail(args, db, end)
}

// entail makes the keys that a command writes pending.
func (s *Standalone) entail(args [][]byte, db int, end psync.Position) error {
	keys, err := s.written(args, db)
	if err != nil {
		return err
	}
	noted := false
	for _, k := range keys {
		if s.m[k] == nil {
			s.cur.append(0, resp.AppendCommand(nil, "SADD", s.pendingKey(), k.member()))
			s.cur.data, noted = true, true
		}
		s.pendInTx(k, s.cur.end.Offset, end.Offset)
	}
	if !noted {
		s.skip(end)
	}
	s.cur.end = end
	return s.grown(end.Offset, 0)
}

// Put writes fetched values.
func (s *Standalone) Put(ctx context.Context, values []Fetched, write func(Fetched) error) error {
	put, err := s.writeFetched(ctx, s, values, write)
	if err != nil {
		return err
	}
	// The names go with the checkpoint: before it the stream would be read
	// again from a place that the values are ahead of.
	for _, v := range put {
		s.cur.append(0, resp.AppendCommand(nil, "SREM", s.pendingKey(), v.member()))
		s.cur.data = true
	}
	if err := s.Flush(ctx, true); err != nil {
		return err
	}
	for _, v := range put {
		delete(s.m, v.Key)
	}
	return nil
}
