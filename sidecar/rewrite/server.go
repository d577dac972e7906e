// Package rewrite fits the commands of a replication stream to a target that
// does not take them as they come: an older server, or one of the other
// product. A command is replaced by one that has exactly the same effect, or
// refused with the reason; what would mean something else is never sent.
//
// What a source writes into its stream, and what a target takes of it, was
// read from real servers: Redis 6.0.16, 7.0.15, 8.0.2, Valkey 8.0.1, 8.1.1,
// 9.1.2. Most of what is new in a release never reaches a stream: GETEX
// arrives as PEXPIREAT or PERSIST, LMPOP as LPOP, BLMOVE as LMOVE.
//
// A command is in the stream because it took effect on the source. Its
// conditions (IFEQ, NX, GT of one member) were met there, so they can go.
package rewrite

import (
	"fmt"
	"strconv"
	"strings"
)

// Server is a product and its version, as INFO server says.
type Server struct {
	Valkey  bool
	Version int    // 100 times the major number, plus the minor one: 602 is 6.2
	Text    string // as the server says it
}

// ParseServer reads the fields redis_version and valkey_version of INFO
// server. A version that cannot be read counts as the oldest.
func ParseServer(info map[string]string) Server {
	s := Server{Text: info["redis_version"]}
	if v := info["valkey_version"]; v != "" {
		s.Valkey, s.Text = true, v
	}
	major, rest, _ := strings.Cut(s.Text, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA == nil && errB == nil {
		s.Version = 100*a + b
	}
	return s
}

// String is "Redis 6.0.16".
func (s Server) String() string {
	if s.Valkey {
		return "Valkey " + s.Text
	}
	return "Redis " + s.Text
}

// from reports whether the server is at least of a release; 0: never.
func (s Server) from(redis, valkey int) bool {
	first := redis
	if s.Valkey {
		first = valkey
	}
	return first != 0 && s.Version >= first
}

func (s Server) has62() bool      { return s.from(602, 702) }
func (s Server) has70() bool      { return s.from(700, 702) }
func (s Server) setIfEq() bool    { return s.from(804, 801) }
func (s Server) fieldTTL() bool   { return s.from(704, 900) }
func (s Server) hsetex() bool     { return s.from(800, 900) }
func (s Server) hgetdel() bool    { return s.from(800, 901) }
func (s Server) msetex() bool     { return s.from(804, 901) }
func (s Server) vectorSets() bool { return s.from(800, 0) }

// Functions reports whether the server has functions.
func (s Server) Functions() bool { return s.has70() }

// VectorSets reports whether the server brings the vector sets of Redis 8.
func (s Server) VectorSets() bool { return s.vectorSets() }

// UnsupportedError says that a target has nothing with the effect of a command.
type UnsupportedError struct {
	Command string
	Key     string
	DB      int
	Target  Server
	Reason  string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s of key %q in database %d cannot be applied to the target (%s): %s; nothing of it was written", e.Command, e.Key, e.DB, e.Target, e.Reason)
}
