package rewrite

import (
	"math"
	"strconv"
	"strings"
)

// lmove fits LMOVE source destination LEFT|RIGHT LEFT|RIGHT.
func lmove(args Command) ([]Command, error) {
	if len(args) != 5 {
		return nil, malformed
	}
	from, to := is(args[3], "left"), is(args[4], "left")
	if !from && to {
		return only(append(with("RPOPLPUSH"), args[1:3]...))
	}
	side := map[bool]string{true: "L", false: "R"}
	return only(append(eval(lmoveScript, args[1], args[2]), []byte(side[from]+"POP"), []byte(side[to]+"PUSH")))
}

// pop fits LPOP and RPOP with a count: what is left is a range.
func pop(args Command) ([]Command, error) {
	if len(args) == 2 {
		return keep, nil
	}
	if len(args) != 3 {
		return nil, malformed
	}
	n, err := strconv.ParseInt(string(args[2]), 10, 64)
	switch {
	case err != nil || n < 1:
		return nil, malformed
	case n == math.MaxInt64:
		return only(append(with("DEL"), args[1]))
	case is(args[0], "lpop"):
		return only(append(with("LTRIM"), args[1], args[2], []byte("-1")))
	}
	return only(append(with("LTRIM"), args[1], []byte("0"), strconv.AppendInt(nil, -n-1, 10)))
}

// zadd fits ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member...
func zadd(args Command) ([]Command, error) {
	out := Command{args[0]}
	compare, incr, xx := "", false, "0"
	i := 2
	for ; i < len(args); i++ {
		a := args[i]
		switch {
		case is(a, "gt"), is(a, "lt"):
			compare = strings.ToLower(string(a))
			continue
		case is(a, "incr"):
			incr = true
		case is(a, "xx"):
			xx = "1"
		case is(a, "nx"), is(a, "ch"):
		default:
			goto members
		}
		out = append(out, a)
	}
members:
	members := args[min(i, len(args)):]
	if compare == "" {
		return keep, nil
	}
	if len(members) == 0 || len(members)%2 != 0 {
		return nil, malformed
	}
	if incr || len(members) == 2 { // it took effect, so the comparison held
		options := out[1:]
		return only(append(append(Command{args[0], args[1]}, options...), members...))
	}
	if len(members) > argsLimit {
		return nil, unsupported(tooLong)
	}
	return only(append(append(eval(zaddScript, args[1]), []byte(compare), []byte(xx)), members...))
}

// argsLimit is how many arguments a script can hand on (Lua's stack,
// LUAI_MAXCSTACK 8000), with room for its own.
const argsLimit = 7000

const tooLong = "it has more arguments than a script there can take"

// zrangestore fits ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV]
// [LIMIT offset count].
func zrangestore(args Command) ([]Command, error) {
	if len(args) < 5 {
		return nil, malformed
	}
	rev, by := "", ""
	var limit Command
	for i := 5; i < len(args); i++ {
		switch a := args[i]; {
		case is(a, "byscore"), is(a, "bylex"):
			by = strings.ToUpper(string(a))
		case is(a, "rev"):
			rev = "REV"
		case is(a, "limit") && i+2 < len(args):
			limit = args[i : i+3]
			i += 2
		default:
			return nil, malformed
		}
	}
	kind := "scores"
	if by == "BYLEX" {
		kind = "lex"
	}
	out := append(eval(zrangestoreScript, args[1], args[2]), []byte(kind), []byte("Z"+rev+"RANGE"+by), args[3], args[4])
	if kind == "scores" {
		out = append(out, []byte("WITHSCORES"))
	}
	return only(append(out, limit...))
}

// zdiffstore fits ZDIFFSTORE destination numkeys key...
func zdiffstore(args Command) ([]Command, error) {
	n, err := count(args, 2)
	if err != nil || len(args) != 3+n {
		return nil, malformed
	}
	return only(eval(zdiffstoreScript, append(Command{args[1]}, args[3:]...)...))
}

// geosearchstore fits GEOSEARCHSTORE dst src FROMMEMBER m | FROMLONLAT lon lat
// BYRADIUS r unit [ASC | DESC] [COUNT n] [STOREDIST], which GEORADIUS did
// before.
func geosearchstore(args Command) ([]Command, error) {
	if len(args) < 3 {
		return nil, malformed
	}
	store := "STORE"
	var name string
	var center, radius, options Command
	for i := 3; i < len(args); i++ {
		left := len(args) - i - 1
		switch a := args[i]; {
		case is(a, "frommember") && left >= 1:
			name, center = "GEORADIUSBYMEMBER", args[i+1:i+2]
			i++
		case is(a, "fromlonlat") && left >= 2:
			name, center = "GEORADIUS", args[i+1:i+3]
			i += 2
		case is(a, "byradius") && left >= 2:
			radius = args[i+1 : i+3]
			i += 2
		case is(a, "asc"), is(a, "desc"):
			options = append(options, a)
		case is(a, "count") && left >= 1:
			options = append(options, a, args[i+1])
			i++
		case is(a, "storedist"):
			store = "STOREDIST"
		default:
			return nil, unsupported("GEORADIUS, which it has instead, knows no " + strings.ToUpper(string(a)))
		}
	}
	if name == "" || radius == nil {
		return nil, malformed
	}
	out := append(append(with(name), args[2]), center...)
	out = append(append(out, radius...), options...)
	return only(append(out, []byte(store), args[1]))
}

// hgetdel fits HGETDEL key FIELDS n field...
func hgetdel(args Command) ([]Command, error) {
	n, err := count(args, 3)
	if err != nil || len(args) != 4+n {
		return nil, malformed
	}
	return only(append(append(with("HDEL"), args[1]), args[4:]...))
}

// hsetex fits HSETEX key [FNX | FXX] [PXAT ms | KEEPTTL] FIELDS n field
// value...; fields says that fields can expire on the target.
func hsetex(fields bool) fit {
	return func(args Command) ([]Command, error) {
		var at []byte
		i, keepTTL := 2, false
		for ; i < len(args) && !is(args[i], "fields"); i++ {
			switch {
			case is(args[i], "fnx"), is(args[i], "fxx"):
			case is(args[i], "keepttl"):
				keepTTL = true
			case is(args[i], "pxat") && i+1 < len(args):
				at = args[i+1]
				i++
			default:
				return nil, malformed
			}
		}
		n, err := count(args, i+1)
		if err != nil || len(args) != i+2+2*n {
			return nil, malformed
		}
		pairs := args[i+2:]
		switch {
		case at != nil && !fields:
			return nil, unsupported(noFieldTTL)
		case keepTTL && fields:
			return nil, unsupported("HSET, which it has instead, takes the deadline of a field away")
		}
		out := []Command{append(append(with("HSET"), args[1]), pairs...)}
		if at != nil {
			c := append(with("HPEXPIREAT"), args[1], at, []byte("FIELDS"), args[i+1])
			for k := 0; k < len(pairs); k += 2 {
				c = append(c, pairs[k])
			}
			out = append(out, c)
		}
		return out, nil
	}
}

// function fits FUNCTION for servers before 7.0, which have no functions: none
// is there to be removed.
func function(args Command) ([]Command, error) {
	if len(args) > 1 && (is(args[1], "flush") || is(args[1], "delete")) {
		return drop(args)
	}
	return nil, unsupported("it has no functions")
}
