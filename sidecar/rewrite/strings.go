package rewrite

import (
	"encoding/binary"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// set fits SET key value [NX | XX | IFEQ value | IFNE.. | IFDEQ.. | IFDNE..]
// [GET] [PXAT ms | KEEPTTL ...]: conditions were met on the source.
func set(noPXAT bool) fit {
	return func(args Command) ([]Command, error) {
		if len(args) == 3 {
			return keep, nil
		}
		if len(args) < 3 {
			return nil, malformed
		}
		out, at, changed := Command{args[0], args[1], args[2]}, []byte(nil), false
		for i := 3; i < len(args); i++ {
			a := args[i]
			switch {
			case is(a, "ifeq"), is(a, "ifne"), is(a, "ifdeq"), is(a, "ifdne"):
				i++
				changed = true
			case noPXAT && is(a, "get"):
				changed = true
			case noPXAT && is(a, "pxat") && i+1 < len(args):
				i++
				at = args[i]
			default:
				out = append(out, a)
			}
		}
		if at != nil {
			c, err := setUntil(args[1], args[2], at)
			return []Command{c}, err
		}
		if !changed {
			return keep, nil
		}
		return only(out)
	}
}

// setUntil is SET key value PXAT ms for a server that has no PXAT: RESTORE of
// the value with an absolute deadline, which is one command as well.
func setUntil(key, value, ms []byte) (Command, error) {
	if n, err := strconv.ParseInt(string(ms), 10, 64); err != nil || n <= 0 {
		return nil, malformed
	}
	return Command{[]byte("RESTORE"), key, ms, stringPayload(value), []byte("REPLACE"), []byte("ABSTTL")}, nil
}

// oldFooter is the RDB version of Redis 5.0 to 6.2.
const oldFooter = 9

// stringPayload is a string as DUMP returns it (rdb.c, rdbSaveRawString,
// without compression; cluster.c, createDumpPayload).
func stringPayload(value []byte) []byte {
	n := len(value)
	p := make([]byte, 0, n+20)
	p = append(p, rdb.TypeString)
	switch {
	case n < 1<<6:
		p = append(p, byte(n))
	case n < 1<<14:
		p = append(p, byte(n>>8)|0x40, byte(n))
	default: // no argument of a command is longer than 4 GiB
		p = binary.BigEndian.AppendUint32(append(p, 0x80), uint32(n)) //nolint:gosec // bounded by proto-max-bulk-len
	}
	p = append(p, value...)
	p = append(p, oldFooter, 0)
	return binary.LittleEndian.AppendUint64(p, rdb.CRC64(0, p))
}

// msetex fits MSETEX numkeys key value... [NX | XX] [PXAT ms | KEEPTTL].
func msetex(noPXAT bool) fit {
	return func(args Command) ([]Command, error) {
		n, err := count(args, 1)
		if err != nil || n > (len(args)-2)/2 {
			return nil, malformed
		}
		pairs, rest := args[2:2+2*n], args[2+2*n:]
		var option Command
		for i := 0; i < len(rest); i++ {
			switch {
			case is(rest[i], "nx"), is(rest[i], "xx"):
			case is(rest[i], "keepttl"):
				option = rest[i : i+1]
			case is(rest[i], "pxat") && i+1 < len(rest):
				option = rest[i : i+2]
				i++
			default:
				return nil, malformed
			}
		}
		if option == nil {
			return only(append(with("MSET"), pairs...))
		}
		var out []Command
		for i := 0; i < len(pairs); i += 2 {
			c := append(with("SET"), pairs[i], pairs[i+1])
			if noPXAT && len(option) == 2 {
				if c, err = setUntil(pairs[i], pairs[i+1], option[1]); err != nil {
					return nil, err
				}
			} else {
				c = append(c, option...)
			}
			out = append(out, c)
		}
		return out, nil
	}
}

// count reads the argument that says how many follow it.
func count(args Command, at int) (int, error) {
	if at >= len(args) {
		return 0, malformed
	}
	n, err := strconv.Atoi(string(args[at]))
	if err != nil || n < 1 || n > len(args) {
		return 0, malformed
	}
	return n, nil
}

// copyKey fits COPY source destination [DB db] [REPLACE].
func copyKey(args Command) ([]Command, error) {
	if len(args) < 3 {
		return nil, malformed
	}
	out := eval(copyScript, args[1], args[2])
	for i := 3; i < len(args); i++ {
		switch {
		case is(args[i], "replace"):
		case is(args[i], "db") && i+1 < len(args):
			i++
			out = append(out, args[i])
		default:
			return nil, malformed
		}
	}
	return only(out)
}
