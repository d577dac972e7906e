package redisx

import (
	"strconv"
	"strings"
	"testing"
)

// FuzzInfo reads INFO and ROLE of a server that may say anything. ROLE is
// made of the text's lines: words of a line are a nested array.
func FuzzInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0.15\r\nvalkey_version:8.1.1\r\n# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb15:keys=1\r\n")
	f.Add("db-1:keys=5\ndb0:keys=-3\ndb99999999999999999999:keys=1\ndb:keys=1\n")
	f.Add("master\n1000\n10.0.0.1 6379 990 | 10.0.0.2 6379 991")
	f.Add("slave\n10.0.0.1\n6379\nconnected\n1000")
	f.Fuzz(func(t *testing.T, text string) {
		info := Info(fields(text))
		for db, n := range info.Keys() {
			if n <= 0 || info["db"+strconv.Itoa(db)] == "" && !strings.Contains(text, "db") {
				t.Errorf("database %d has %d keys", db, n)
			}
		}
		_, _ = info.Version(), info.Int("master_repl_offset")
		var reply []any
		for line := range strings.SplitSeq(text, "\n") {
			if n, err := strconv.ParseInt(line, 10, 64); err == nil {
				reply = append(reply, n)
				continue
			}
			if !strings.Contains(line, " ") {
				reply = append(reply, line)
				continue
			}
			var list []any
			for part := range strings.SplitSeq(line, " | ") {
				var words []any
				for w := range strings.FieldsSeq(part) {
					words = append(words, w)
				}
				list = append(list, words)
			}
			reply = append(reply, list)
		}
		if role, err := parseRole(reply); err == nil && role.Master == (role.MasterHost != "") && !role.Sentinel && reply[0] != "slave" {
			t.Errorf("the role is %+v", role)
		}
	})
}
