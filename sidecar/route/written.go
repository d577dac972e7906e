package route

import "bytes"

// firstTwo are the commands whose first two arguments are keys that both
// change.
var firstTwo = []string{"rename", "renamenx", "smove", "lmove", "blmove", "rpoplpush", "brpoplpush"}

// destinations are the commands that write one key from others, and where it
// stands.
var destinations = map[string]int{
	"copy": 2, "bitop": 2, "pfmerge": 1, "geosearchstore": 1, "zrangestore": 1,
	"sdiffstore": 1, "sinterstore": 1, "sunionstore": 1, "zunionstore": 1, "zinterstore": 1, "zdiffstore": 1,
}

// Written appends the positions of the keys that a command may change to dst:
// of those that Keys finds, without the ones that it only reads. For a command
// of which that is not known, all of them.
func Written(dst, keys []int, args [][]byte) []int {
	for _, name := range firstTwo {
		if equalFold(args[0], name) {
			return append(dst, keys...)
		}
	}
	for name, at := range destinations {
		if equalFold(args[0], name) {
			return append(dst, at)
		}
	}
	if lookup(args[0]).store { // SORT, GEORADIUS: the keys after STORE
		return append(dst, keys[min(1, len(keys)):]...)
	}
	return append(dst, keys...)
}

// Outside reports whether a command reads keys that its arguments do not name,
// so that a node of a cluster cannot run it: SORT with a pattern in BY or GET.
func Outside(args [][]byte) bool {
	if !equalFold(args[0], "sort") {
		return false
	}
	for i := 2; i+1 < len(args); i++ {
		if (equalFold(args[i], "by") || equalFold(args[i], "get")) && bytes.IndexByte(args[i+1], '*') >= 0 {
			return true
		}
	}
	return false
}
