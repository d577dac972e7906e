package apply

import (
	"context"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// A pending key is one whose value the target does not have and cannot get
// from the stream: a command of the source that wrote it needs keys of several
// slots of a target cluster, or the target let it expire too early. Its value
// is fetched from the source, with the offset at which it was read, and
// written when the stream has come to that offset (see sidecar/refetch.go).
//
// Until then the commands of the stream on that key are left out: what they do
// is part of the value already. A command that reads a pending key and writes
// another one makes that one pending too.
//
// The names are kept in a set in the target, on the node of the key, and move
// with the data: the name is added in the step that passes the command which
// made the key pending, and taken away in the step that notes that the stream
// has come to the offset of the value. So a restart, or a failover of the
// target, finds for every position exactly the names that it needs. A name too
// many does no harm: its key is fetched once more.

// Key is a key of a database.
type Key struct {
	DB   int
	Name string
}

// Fetched is the value of a pending key.
type Fetched struct {
	Key
	Offset  int64       // of the source when the value was read
	Rec     *rdb.Record // nil: the source has no such key there
	Foreign bool        // it is not in the slots of the link: nothing is written
}

// waiting is what is known of a pending key.
type waiting struct {
	// since is the offset of the stream before the command that made it
	// pending: up to there the target is a prefix of the source's history.
	since int64
	// after is the end of the last command on it that was left out; the value
	// must not be older.
	after int64
}

// pendingKeys are the pending keys of a writer.
type pendingKeys struct {
	m     map[Key]*waiting
	added []Key // since Save
	guard bool
	keys  []int
	write []int
}

// pend makes a key pending.
func (p *pendingKeys) pend(k Key, since, after int64) {
	if was := p.m[k]; was != nil {
		was.after = max(was.after, after)
		return
	}
	if p.m == nil {
		p.m = map[Key]*waiting{}
	}
	p.m[k] = &waiting{since, after}
}

// pendInTx is pend for a command that Rollback may take back.
func (p *pendingKeys) pendInTx(k Key, since, after int64) {
	if p.m[k] == nil {
		p.added = append(p.added, k)
	}
	p.pend(k, since, after)
}

// rewind notes that the stream will be read from an offset: what was left out
// after it comes again. A key that is ahead of it, says floor, stays so.
func (p *pendingKeys) rewind(offset int64, floor func(Key) int64) {
	for k, w := range p.m {
		w.since, w.after = min(w.since, offset), min(w.after, offset)
		if floor != nil {
			w.after = max(w.after, floor(k))
		}
	}
	p.added = nil
}

// PendingCount is the number of pending keys.
func (p *pendingKeys) PendingCount() int { return len(p.m) }

// Pending returns up to limit pending keys.
func (p *pendingKeys) Pending(limit int) []Key {
	var list []Key
	for k := range p.m {
		if len(list) == limit {
			break
		}
		list = append(list, k)
	}
	return list
}

// complete is the position up to which nothing is missing: applied, or what
// is before the first command that made a key pending.
func (p *pendingKeys) complete(applied int64) int64 {
	for _, w := range p.m {
		applied = min(applied, w.since)
	}
	return applied
}

// current reports whether a value read at an offset has all that was left out.
func (p *pendingKeys) current(k Key, offset int64) bool {
	w := p.m[k]
	return w != nil && w.after <= offset
}

// writeFetched writes those of the values that are current, removes keys that
// the source has not, and waits until the target has answered. It gives what
// was written or removed.
func (p *pendingKeys) writeFetched(ctx context.Context, w Writer, values []Fetched, write func(Fetched) error) ([]Fetched, error) {
	put := values[:0:0]
	for _, v := range values {
		if !p.current(v.Key, v.Offset) {
			continue
		}
		put = append(put, v)
		var err error
		switch {
		case v.Foreign:
		case v.Rec == nil:
			err = w.Delete(ctx, v.DB, [][]byte{[]byte(v.Name)})
		default:
			err = write(v)
		}
		if err != nil {
			return nil, err
		}
	}
	return put, w.Settle(ctx)
}

func (p *pendingKeys) save() { p.added = p.added[:0] }

// rollback forgets the keys that became pending since save: the commands that
// made them so will come again.
func (p *pendingKeys) rollback() {
	for _, k := range p.added {
		delete(p.m, k)
	}
	p.added = nil
}

func (p *pendingKeys) clear() { p.m, p.added = nil, nil }

// Guard makes the writer suspect every key that it does not find, until it is
// called off: the target may have let it expire while the stream was behind.
// A command that builds on what a key held, and finds none, makes it pending
// and is left out; that the key is a new one cannot be told here.
func (p *pendingKeys) Guard(on bool) { p.guard = on }

// overwrites are commands of one key that do not ask what it held.
var overwrites = []string{"del", "unlink", "touch", "mset", "setex", "psetex", "getset", "restore", "restore-asking"}

// guarded reports whether a command of one key, its first argument, builds on
// what the key held.
func guarded(args [][]byte) bool {
	if route.ClassOf(args[0]) != route.ClassWrite || deadline(args) {
		return false // a deadline says itself that it found no key
	}
	for _, name := range overwrites {
		if route.EqualFold(args[0], name) {
			return false
		}
	}
	if !route.EqualFold(args[0], "set") {
		return true
	}
	for i := 3; i < len(args); i++ {
		for _, option := range []string{"keepttl", "xx", "ifeq", "ifne", "ifdeq", "ifdne"} {
			if route.EqualFold(args[i], option) {
				return true
			}
		}
	}
	return false
}

// verdict says what is to be done with a command of the stream while keys are
// pending.
type verdict uint8

const (
	pass    verdict = iota // it has nothing to do with them
	partly                 // its other keys are to be written
	leave                  // it is part of values to be fetched
	entails                // ... and makes the keys that it writes pending
)

// screen judges a command that ends at an offset. With leave and partly the
// pending keys note it.
func (p *pendingKeys) screen(args [][]byte, db int, end int64) verdict {
	if len(p.m) == 0 && !p.guard || route.ClassOf(args[0]) == route.ClassPublish {
		return pass
	}
	var err error
	if p.keys, err = route.Keys(p.keys[:0], args); err != nil {
		return pass // the writer says what is wrong with it
	}
	touched := 0
	for _, k := range p.keys {
		if w := p.m[Key{db, string(args[k])}]; w != nil {
			touched++
		}
	}
	toDB := targetDB(args, db)
	if toDB != db {
		for _, k := range p.keys {
			if p.m[Key{toDB, string(args[k])}] != nil {
				touched++
			}
		}
	}
	_, splittable := route.Splittable(args[0])
	switch {
	case touched == 0 && p.guard && !splittable && route.ClassOf(args[0]) == route.ClassWrite && (len(p.keys) > 1 || toDB != db || route.EqualFold(args[0], "xgroup")):
		return entails // one of its keys may be gone
	case touched == 0:
		return pass
	case splittable && touched < len(p.keys):
		p.noteAll(args, db, end)
		return partly
	case splittable || len(p.keys) == 1 && toDB == db:
		p.noteAll(args, db, end)
		return leave
	}
	return entails
}

func (p *pendingKeys) noteAll(args [][]byte, db int, end int64) {
	for _, k := range p.keys {
		if w := p.m[Key{db, string(args[k])}]; w != nil {
			w.after = max(w.after, end)
		}
	}
}

// written returns the keys that a command changes, in the databases where it
// does.
func (p *pendingKeys) written(args [][]byte, db int) ([]Key, error) {
	var err error
	if p.keys, err = route.Keys(p.keys[:0], args); err != nil {
		return nil, err
	}
	p.write = route.Written(p.write[:0], p.keys, args)
	toDB := targetDB(args, db)
	var list []Key
	for _, k := range p.write {
		if toDB != db && route.EqualFold(args[0], "move") {
			list = append(list, Key{db, string(args[k])})
		}
		list = append(list, Key{toDB, string(args[k])})
	}
	return list, nil
}

// without is a command that may be split, without its pending keys.
func (p *pendingKeys) without(args [][]byte, db int) []byte {
	per, _ := route.Splittable(args[0])
	words := [][]byte{args[0]}
	for _, k := range p.keys {
		if p.m[Key{db, string(args[k])}] == nil {
			words = append(words, args[k:k+per]...)
		}
	}
	return framedArgs(words)
}

// targetDB is the database that MOVE or COPY writes to; db for all others.
func targetDB(args [][]byte, db int) int {
	at := 0
	switch {
	case route.EqualFold(args[0], "move") && len(args) == 3:
		at = 2
	case route.EqualFold(args[0], "copy"):
		for i := 3; i+1 < len(args); i++ {
			if route.EqualFold(args[i], "db") {
				at = i + 1
			}
		}
	}
	if at > 0 {
		if n, err := strconv.Atoi(string(args[at])); err == nil {
			return n
		}
	}
	return db
}
