package preflight

import (
	"strconv"
	"strings"
)

// redisVersion is the version of a server, with what it means for values in
// the form of DUMP and RESTORE.
type redisVersion struct {
	text         string
	valkey       bool
	major, minor int
}

func parseVersion(text string) redisVersion {
	v := redisVersion{text: text}
	number, ok := strings.CutPrefix(text, "valkey ")
	v.valkey = ok
	major, rest, _ := strings.Cut(number, ".")
	minor, _, _ := strings.Cut(rest, ".")
	v.major, _ = strconv.Atoi(major) // 0 for a text that is no version
	v.minor, _ = strconv.Atoi(minor)
	return v
}

func (v redisVersion) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// rdb is the version of the RDB format that the server writes; 0 = unknown.
// Redis and Valkey share the numbers up to 11 and part ways then.
func (v redisVersion) rdb() int {
	if v.valkey {
		if v.atLeast(9, 0) {
			return 80
		}
		return 11
	}
	for _, step := range []struct{ major, minor, rdb int }{
		{8, 0, 12}, {7, 4, 12}, {7, 2, 11}, {7, 0, 10}, {5, 0, 9}, {4, 0, 8}, {3, 2, 7}, {2, 6, 6},
	} {
		if v.atLeast(step.major, step.minor) {
			return step.rdb
		}
	}
	return 0
}

// reads reports whether a target of this version reads what a source writes.
func (v redisVersion) reads(source redisVersion) bool {
	const lastCommon = 11
	if source.rdb() > lastCommon && source.valkey != v.valkey {
		return false
	}
	return v.rdb() >= source.rdb()
}
