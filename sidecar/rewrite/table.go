package rewrite

import (
	"errors"
	"maps"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// Command is a command as its arguments.
type Command [][]byte

// keep says that a command is to be sent as it came.
var keep []Command

// unsupported carries a reason to Rewrite, which adds the rest.
type unsupported string

func (e unsupported) Error() string { return string(e) }

// fit replaces one command: by none (an empty slice that is not nil), by
// others, or by itself (nil).
type fit func(args Command) ([]Command, error)

// Table holds what is to be done with the commands of one source for one
// target. The zero table leaves everything as it is.
type Table struct {
	target Server
	fits   map[string]fit
	first  uint64 // which of the letters a to z the names begin with
	length uint64 // which lengths the names have
}

// For returns the table of a source and the servers of a target; those of a
// cluster may be of several versions while it is upgraded.
func For(source Server, targets ...Server) *Table {
	t := &Table{fits: map[string]fit{"xadd": xadd(true), "xtrim": xtrim(true)}}
	for i, s := range targets {
		if i == 0 || s.Version < t.target.Version {
			t.target = s
		}
	}
	lacks := func(has func(Server) bool) bool {
		for _, s := range targets {
			if !has(s) {
				return true
			}
		}
		return false
	}
	// What the source does not have either never comes.
	lost := func(has func(Server) bool) bool { return has(source) && lacks(has) }
	if lost(Server.has62) {
		t.before62()
	}
	if lost(Server.has70) {
		t.before70()
	}
	noPXAT := lost(Server.has62)
	if noPXAT || lost(Server.setIfEq) || source.setIfEq() && otherProduct(source, targets) {
		t.fits["set"] = set(noPXAT)
	}
	if lost(Server.msetex) {
		t.fits["msetex"] = msetex(noPXAT)
	}
	if lost(Server.hgetdel) {
		t.fits["hgetdel"] = hgetdel
	}
	if lost(Server.hsetex) {
		t.fits["hsetex"] = hsetex(!lacks(Server.fieldTTL))
	}
	if lost(Server.fieldTTL) {
		for _, name := range []string{"hpexpireat", "hexpireat", "hpexpire", "hexpire", "hpersist"} {
			t.fits[name] = refuse(noFieldTTL)
		}
	}
	if lost(Server.vectorSets) {
		for _, name := range []string{"vadd", "vrem", "vsetattr"} {
			t.fits[name] = refuse("it has no vector sets (module vectorset)")
		}
	}
	for name := range t.fits {
		t.first |= 1 << (name[0] & 63)
		t.length |= 1 << (len(name) & 63)
	}
	return t
}

// otherProduct reports whether a target is not of the source's product: their
// conditions of SET are not the same.
func otherProduct(source Server, targets []Server) bool {
	for _, s := range targets {
		if s.Valkey != source.Valkey {
			return true
		}
	}
	return false
}

const noFieldTTL = "fields of a hash cannot expire there"

func (t *Table) before62() {
	maps.Copy(t.fits, map[string]fit{
		"xadd": xadd(false), "xtrim": xtrim(false), "copy": copyKey, "lmove": lmove, "lpop": pop, "rpop": pop,
		"zadd": zadd, "zrangestore": zrangestore, "zdiffstore": zdiffstore, "geosearchstore": geosearchstore,
	})
	t.fits["xgroup"] = xgroup(false)
}

func (t *Table) before70() {
	t.fits["xgroup"] = xgroup(t.target.has62())
	t.fits["xsetid"] = xsetid
	t.fits["xclaim"] = xclaim
	t.fits["spublish"] = drop // without shard channels nobody can listen to one
	t.fits["function"] = function
}

// Rewrite returns the commands to run instead of one that is selected in
// database db; nil means the command itself, an empty slice means none. An
// *UnsupportedError says that there are none with the same effect. All
// commands but the last may be repeated.
func (t *Table) Rewrite(args [][]byte, db int) ([]Command, error) {
	name := args[0]
	if len(args) < 2 || len(name) == 0 || len(name) > maxName ||
		t.length&(1<<(len(name)&63)) == 0 || t.first&(1<<((name[0]|0x20)&63)) == 0 {
		return keep, nil
	}
	var low [maxName]byte
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	f, ok := t.fits[string(low[:len(name)])]
	if !ok {
		return keep, nil
	}
	out, err := f(args)
	var reason unsupported
	if errors.As(err, &reason) {
		e := &UnsupportedError{Command: string(name), DB: db, Target: t.target, Reason: string(reason)}
		if keys, keyErr := route.Keys(nil, args); keyErr == nil && len(keys) > 0 {
			e.Key = string(args[keys[0]])
		}
		return nil, e
	}
	return out, err
}

// maxName bounds the names in the table; none of Redis is as long.
const maxName = 32

func refuse(reason string) fit {
	return func(Command) ([]Command, error) { return nil, unsupported(reason) }
}

func drop(Command) ([]Command, error) { return []Command{}, nil }

// with returns a command of words and arguments.
func with(words ...string) Command {
	c := make(Command, len(words))
	for i, w := range words {
		c[i] = []byte(w)
	}
	return c
}

func is(arg []byte, low string) bool { return route.EqualFold(arg, low) }

func only(c Command) ([]Command, error) { return []Command{c}, nil }

// malformed is the reason for a command that is not as any release writes it.
const malformed = unsupported("it is not in a form that is known")
