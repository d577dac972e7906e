package rdb_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// TestSetIsRestore lets a server judge: what AppendWrite makes of a string is
// the key that RESTORE makes of it.
func TestSetIsRestore(t *testing.T) {
	for _, compression := range []string{"no", "yes"} {
		t.Run("compression "+compression, func(t *testing.T) { setIsRestore(t, compression) })
	}
}

func setIsRestore(t *testing.T, compression string) {
	s := testredis.Start(t, "--enable-debug-command", "yes", "--rdbcompression", compression)
	values := []string{"", "v", "12", "-7", "127", "128", "-128", "-129", "32767", "-32769", "2147483647", "-2147483648", "2147483648", "0012", "+1", "1.5", "\x00\r\n\xff"}
	for _, n := range []int{5, 43, 44, 45, 63, 64, 16383, 16384, 70_000, 2 << 20} {
		values = append(values, strings.Repeat("x", n), strings.Repeat("value:1234567 ", n/14))
	}
	values = append(values, "value:1"+strings.Repeat("\x00", 93))
	sets, long := 0, 0
	for _, value := range values {
		if compression == "yes" && len(value) > 4<<10 {
			long++
		}
		s.Do(t, "FLUSHALL")
		s.Do(t, "SET", "source", value)
		payload := []byte(s.Do(t, "DUMP", "source").(string))
		typ, version, _ := rdb.Payload(payload)
		rec := rdb.Record{Key: []byte("k"), Type: typ, Value: rdb.PayloadValue(payload), Idle: -1, Freq: -1}
		describe := func(raw []byte) string {
			var c resp.Command
			if err := resp.ReadCommand(window.New(bytes.NewReader(raw), len(raw)+1, len(raw)+64), &c); err != nil {
				t.Fatal(err)
			}
			words := make([]string, len(c.Args))
			for i, a := range c.Args {
				words[i] = string(a)
			}
			if words[0] == "SET" {
				sets++
			}
			s.Do(t, "RPUSH", "k", "a list that is replaced")
			s.Do(t, words...)
			return fmt.Sprint(s.Do(t, "OBJECT", "ENCODING", "k"), s.Do(t, "TTL", "k"), s.Do(t, "DEBUG", "DIGEST-VALUE", "k"), s.Do(t, "STRLEN", "k"))
		}
		o := rdb.RestoreOptions{Footer: version, Replace: true, Access: true}
		want := describe(rdb.AppendRestore(nil, &rec, o))
		s.Do(t, "DEL", "k")
		if got := describe(rdb.AppendWrite(nil, &rec, o)); got != want {
			t.Errorf("%.40q (%d bytes): %s, with RESTORE %s", value, len(value), got, want)
		}
	}
	if sets != len(values)-long {
		t.Errorf("%d of %d strings were written with SET, %d are long", sets, len(values), long)
	}
}

// TestRestoreStays: what SET cannot say is still said by RESTORE, and a value
// that is not what it seems is left to the server to judge.
func TestRestoreStays(t *testing.T) {
	plain := rdb.Record{Key: []byte("k"), Type: rdb.TypeString, Value: []byte("\x01v"), Idle: -1, Freq: -1}
	replace := rdb.RestoreOptions{Footer: 10, Replace: true, Access: true}
	cases := map[string]func(*rdb.Record, *rdb.RestoreOptions){
		"deadline":         func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Expire = 1 },
		"idle time":        func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Idle = 7 },
		"frequency":        func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Freq = 7 },
		"existing keys":    func(_ *rdb.Record, o *rdb.RestoreOptions) { o.Replace = false },
		"another type":     func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Type = rdb.TypeList },
		"compressed, long": func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\xc3\x02\x50\x01\x00a") },
		"too short":        func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\x02v") },
		"too long":         func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\x01vv") },
		"nothing":          func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = nil },
		"half a length":    func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\x80\x00\x00") },
		"a huge length":    func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\x81\xff\xff\xff\xff\xff\xff\xff\xffv") },
		"half a number":    func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\xc1\x00") },
		"damaged":          func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\xc3\x02\x05\x00a") },
		"cut":              func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\xc3\x02\x01\x00") },
		"no lengths":       func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\xc3") },
		"another opening":  func(r *rdb.Record, _ *rdb.RestoreOptions) { r.Value = []byte("\x8fv") },
	}
	if got := rdb.AppendWrite(nil, &plain, replace); !bytes.HasPrefix(got, []byte("*3\r\n$3\r\nSET\r\n")) {
		t.Errorf("a plain string is written as %q", got)
	}
	for name, change := range cases {
		r, o := plain, replace
		change(&r, &o)
		if got := rdb.AppendWrite(nil, &r, o); !bytes.Contains(got, []byte("\r\nRESTORE\r\n")) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
