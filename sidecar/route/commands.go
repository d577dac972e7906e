package route

import (
	"fmt"
	"strconv"
)

// Class says how a command of a replication stream is handled.
type Class uint8

const (
	ClassUnknown  Class = iota // not in the table
	ClassWrite                 // changes keys
	ClassSelect                // SELECT
	ClassMulti                 // MULTI
	ClassExec                  // EXEC
	ClassIgnore                // PING, REPLCONF: part of the stream, not of the data
	ClassPublish               // PUBLISH, SPUBLISH
	ClassFlush                 // FLUSHALL, FLUSHDB
	ClassSwapDB                // SWAPDB
	ClassScript                // SCRIPT
	ClassFunction              // FUNCTION
	ClassEval                  // EVAL, EVALSHA, FCALL (sources before 7.0 replicate scripts verbatim)
)

// keySpec finds the keys of a command: from argument first to last (negative:
// from the end) in steps. count > 0: the argument that says how many keys
// follow it.
type keySpec struct {
	class             Class
	first, last, step int
	count             int
	countStep         int  // arguments per key after count; 0 is 1
	split             bool // may be cut into one command per key group
	store             bool // options may name one more key (STORE, STOREDIST)
}

func one(class Class) keySpec { return keySpec{class: class, first: 1, last: 1, step: 1} }

// makeTable lists what Redis 6.0 to 8 and Valkey 8 and 9 write into a
// replication stream, from their COMMAND output.
func makeTable() map[string]keySpec {
	t := map[string]keySpec{
		"select": {class: ClassSelect}, "multi": {class: ClassMulti}, "exec": {class: ClassExec},
		"ping": {class: ClassIgnore}, "replconf": {class: ClassIgnore}, "opinfo": {class: ClassIgnore},
		"publish": {class: ClassPublish}, "spublish": {class: ClassPublish},
		"flushall": {class: ClassFlush}, "flushdb": {class: ClassFlush}, "swapdb": {class: ClassSwapDB},
		"script": {class: ClassScript}, "function": {class: ClassFunction},
		"eval": {class: ClassEval, count: 2}, "evalsha": {class: ClassEval, count: 2}, "fcall": {class: ClassEval, count: 2},
		"del": {class: ClassWrite, first: 1, last: -1, step: 1, split: true}, "unlink": {class: ClassWrite, first: 1, last: -1, step: 1, split: true},
		"touch": {class: ClassWrite, first: 1, last: -1, step: 1, split: true},
		"mset":  {class: ClassWrite, first: 1, last: -1, step: 2, split: true}, "msetnx": {class: ClassWrite, first: 1, last: -1, step: 2},
		"msetex": {class: ClassWrite, count: 1, countStep: 2},
		"bitop":  {class: ClassWrite, first: 2, last: -1, step: 1}, "pfmerge": {class: ClassWrite, first: 1, last: -1, step: 1},
		"blpop": {class: ClassWrite, first: 1, last: -2, step: 1}, "brpop": {class: ClassWrite, first: 1, last: -2, step: 1},
		"bzpopmin": {class: ClassWrite, first: 1, last: -2, step: 1}, "bzpopmax": {class: ClassWrite, first: 1, last: -2, step: 1},
		"xgroup": {class: ClassWrite, first: 2, last: 2, step: 1},
		"sort":   {class: ClassWrite, first: 1, last: 1, step: 1, store: true}, "georadius": {class: ClassWrite, first: 1, last: 1, step: 1, store: true},
		"georadiusbymember": {class: ClassWrite, first: 1, last: 1, step: 1, store: true},
		"lmpop":             {class: ClassWrite, count: 1}, "zmpop": {class: ClassWrite, count: 1}, "blmpop": {class: ClassWrite, count: 2}, "bzmpop": {class: ClassWrite, count: 2},
	}
	for _, name := range []string{"zunionstore", "zinterstore", "zdiffstore"} {
		t[name] = keySpec{class: ClassWrite, first: 1, last: 1, step: 1, count: 2}
	}
	for _, name := range []string{"sdiffstore", "sinterstore", "sunionstore"} {
		t[name] = keySpec{class: ClassWrite, first: 1, last: -1, step: 1}
	}
	for _, name := range []string{
		"rename", "renamenx", "rpoplpush", "brpoplpush", "smove", "lmove", "blmove", "copy",
		"geosearchstore", "zrangestore",
	} {
		t[name] = keySpec{class: ClassWrite, first: 1, last: 2, step: 1}
	}
	for _, name := range []string{
		"append", "bitfield", "decr", "decrby", "expire", "expireat", "geoadd", "getdel", "getex", "getset",
		"hdel", "hincrby", "hincrbyfloat", "hmset", "hset", "hsetnx", "hexpire", "hpexpire", "hexpireat",
		"hpexpireat", "hpersist", "hsetex", "hgetex", "hgetdel", "incr", "incrby", "incrbyfloat", "linsert",
		"lpop", "lpush", "lpushx", "lrem", "lset", "ltrim", "move", "persist", "pexpire", "pexpireat", "pfadd",
		"psetex", "restore", "restore-asking", "rpop", "rpush", "rpushx", "sadd", "set", "setbit", "setex", "setnx",
		"setrange", "spop", "srem", "xack", "xadd", "xautoclaim", "xclaim", "xdel", "xsetid", "xtrim",
		"zadd", "zincrby", "zpopmax", "zpopmin", "zrem", "zremrangebylex", "zremrangebyrank", "zremrangebyscore",
		"vadd", "vrem", "vsetattr", "delifeq", "xackdel", "xdelex",
	} {
		t[name] = one(ClassWrite)
	}
	return t
}

// ClassOf classifies a command by its name.
func ClassOf(name []byte) Class {
	return lookup(name).class
}

// UnknownError says that the keys of a command are not known, so that it
// cannot be sent to a node of a cluster.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("command %q of the replication stream is not known to this release, so its keys are not either", e.Name)
}

// Keys appends the positions of the keys of a command in args to dst.
func Keys(dst []int, args [][]byte) ([]int, error) {
	s := lookup(args[0])
	if s == &unknown {
		return dst, &UnknownError{Name: string(args[0])}
	}
	if s.first > 0 {
		last := s.last
		if last < 0 {
			last += len(args)
		}
		if last >= len(args) || last < s.first {
			return dst, fmt.Errorf("command %s of the replication stream has %d arguments, too few for its keys", args[0], len(args))
		}
		for i := s.first; i <= last; i += s.step {
			dst = append(dst, i)
		}
	}
	if s.count > 0 {
		if s.count >= len(args) {
			return dst, fmt.Errorf("command %s of the replication stream has %d arguments, too few for its keys", args[0], len(args))
		}
		n, err := strconv.Atoi(string(args[s.count]))
		step := max(s.countStep, 1)
		if err != nil || n < 0 || n > len(args) || s.count+n*step >= len(args) {
			return dst, fmt.Errorf("command %s of the replication stream names more keys than it has arguments", args[0])
		}
		for i := range n {
			dst = append(dst, s.count+1+i*step)
		}
	}
	if s.store {
		for i := 2; i+1 < len(args); i++ {
			if equalFold(args[i], "store") || equalFold(args[i], "storedist") {
				dst = append(dst, i+1)
				i++
			}
		}
	}
	return dst, nil
}

// Splittable reports whether a command may be cut into one command per key
// group, and how many arguments belong to each key.
func Splittable(name []byte) (per int, ok bool) {
	s := lookup(name)
	return s.step, s.split
}

// OneKey reports whether a command has one key, its first argument, and writes
// no other one: whatever follows is no key.
func OneKey(name []byte) bool {
	s := lookup(name)
	return s.class == ClassWrite && s.first == 1 && s.last == 1 && s.count == 0 && !s.store
}

// equalFold compares with a lower-case word, ASCII only.
func equalFold(p []byte, low string) bool {
	if len(p) != len(low) {
		return false
	}
	for i, c := range p {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != low[i] {
			return false
		}
	}
	return true
}

// EqualFold reports whether p is the lower-case word low in any case.
func EqualFold(p []byte, low string) bool { return equalFold(p, low) }
