package rewrite

import (
	"strconv"
	"strings"
)

// xadd fits XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold
// [LIMIT n]] id field value... LIMIT is written into the stream beside the
// exact threshold that it led to; only a replica takes the two together
// (t_stream.c, streamParseAddOrTrimArgsOrReply). minID says that the target
// has NOMKSTREAM and MINID.
func xadd(minID bool) fit {
	return func(args Command) ([]Command, error) {
		i := 2
		out := append(Command(nil), args[:min(2, len(args))]...)
		changed := false
		if i < len(args) && is(args[i], "nomkstream") {
			if minID {
				out = append(out, args[i])
			}
			changed = !minID // the stream was there
			i++
		}
		trim, next, err := trimming(args, i)
		if err != nil {
			return nil, err
		}
		if trim.limited {
			changed = true
		}
		rest := args[next:]
		if len(rest) < 3 {
			return nil, malformed
		}
		if trim.minID && !minID {
			if len(rest) > argsLimit {
				return nil, unsupported(tooLong)
			}
			least, err := trim.id()
			if err != nil {
				return nil, err
			}
			return only(append(append(eval(minIDScript, args[1]), least...), rest...))
		}
		if !changed {
			return keep, nil
		}
		return only(append(append(out, trim.args...), rest...))
	}
}

// xtrim fits XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT n].
func xtrim(minID bool) fit {
	return func(args Command) ([]Command, error) {
		trim, next, err := trimming(args, 2)
		if err != nil {
			return nil, err
		}
		switch {
		case next < len(args) || trim.args == nil:
			return keep, nil // in a form of a later release: the target decides
		case trim.minID && !minID:
			least, err := trim.id()
			if err != nil {
				return nil, err
			}
			return only(append(eval(minIDScript, args[1]), least...))
		case trim.limited:
			return only(append(Command{args[0], args[1]}, trim.args...))
		}
		return keep, nil
	}
}

// trim is a threshold without its LIMIT.
type trim struct {
	args           Command // MAXLEN or MINID, = or ~, and the threshold
	minID, limited bool
}

// trimming reads a threshold at args[i], if there is one, and says where it ends.
func trimming(args Command, i int) (trim, int, error) {
	var t trim
	if i >= len(args) || !is(args[i], "maxlen") && !is(args[i], "minid") {
		return t, i, nil
	}
	t.minID = is(args[i], "minid")
	from := i
	i++
	approximate := false
	if i < len(args) && (string(args[i]) == "=" || string(args[i]) == "~") {
		approximate = string(args[i]) == "~"
		i++
	}
	if i >= len(args) {
		return t, i, malformed
	}
	i++
	t.args = args[from:i:i]
	if i+1 < len(args) && is(args[i], "limit") {
		if approximate { // sources write what they did, which is exact
			return t, i, malformed
		}
		t.limited = true
		i += 2
	}
	return t, i, nil
}

// id is the threshold of MINID as two numbers.
func (t *trim) id() (Command, error) {
	ms, seq, ok := strings.Cut(string(t.args[len(t.args)-1]), "-")
	if !ok {
		seq = "0"
	}
	a, errA := strconv.ParseUint(ms, 10, 64)
	b, errB := strconv.ParseUint(seq, 10, 64)
	if errA != nil || errB != nil {
		return nil, malformed
	}
	return Command{strconv.AppendUint(nil, a, 10), strconv.AppendUint(nil, b, 10)}, nil
}

// xgroup takes the counters off that servers before 7.0 do not keep:
// XGROUP CREATE | SETID key group id [MKSTREAM] [ENTRIESREAD n], and makes
// consumers where XGROUP cannot (before 6.2).
func xgroup(consumers bool) fit {
	return func(args Command) ([]Command, error) {
		switch {
		case len(args) > 4 && !consumers && is(args[1], "createconsumer"):
			return only(append(eval(consumerScript, args[2]), args[3], args[4]))
		case len(args) > 6 && (is(args[1], "create") || is(args[1], "setid")):
			for i := 5; i+1 < len(args); i++ {
				if is(args[i], "entriesread") {
					out := append(append(Command(nil), args[:i]...), args[i+2:]...)
					return only(out)
				}
			}
		}
		return keep, nil
	}
}

// xsetid takes the counters off XSETID key id [ENTRIESADDED n]
// [MAXDELETEDID id].
func xsetid(args Command) ([]Command, error) {
	if len(args) <= 3 {
		return keep, nil
	}
	return only(args[:3:3])
}

// xclaim fits XCLAIM key group consumer 0 id TIME ... JUSTID LASTID id. Since
// 7.0 a claim of an entry that was deleted takes it off the pending ones;
// before, it was claimed all the same.
func xclaim(args Command) ([]Command, error) {
	if len(args) < 6 {
		return nil, malformed
	}
	return only(append(eval(xclaimScript, args[1]), args[2:]...))
}
