package apply

import (
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// wideCommands may be cut into several of the same name: how many arguments
// come before the elements, and how many make one element.
var wideCommands = map[string][2]int{
	"rpush": {2, 1}, "lpush": {2, 1}, "rpushx": {2, 1}, "lpushx": {2, 1}, "sadd": {2, 1}, "srem": {2, 1},
	"zrem": {2, 1}, "hdel": {2, 1}, "pfadd": {2, 1}, "xdel": {2, 1}, "xack": {3, 1},
	"hset": {2, 2}, "hmset": {2, 2}, "zadd": {2, 2}, "geoadd": {2, 3},
}

// splitWide cuts a command that has more arguments than a script can hand on.
// It returns nil for one that is short enough.
func splitWide(args [][]byte) [][][]byte {
	if len(args) <= unpackLimit {
		return nil
	}
	for name, shape := range wideCommands {
		if !route.EqualFold(args[0], name) {
			continue
		}
		head, per := shape[0], shape[1]
		if per > 1 && (len(args)-head)%per != 0 || name == "zadd" && !isNumber(args[2]) {
			return nil // it carries options
		}
		var parts [][][]byte
		for rest := args[head:]; len(rest) > 0; {
			n := min(len(rest), (unpackLimit-head)/per*per)
			parts = append(parts, append(append([][]byte(nil), args[:head]...), rest[:n]...))
			rest = rest[n:]
		}
		return parts
	}
	return nil
}

func isNumber(p []byte) bool {
	_, err := strconv.ParseFloat(string(p), 64)
	return err == nil
}
