package psync

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// canned is a connection whose other end says the same whatever it is asked.
type canned struct {
	net.Conn // nothing else is called
	in       io.Reader
}

func (c canned) Read(p []byte) (int, error)     { return c.in.Read(p) }
func (canned) Write(p []byte) (int, error)      { return len(p), nil }
func (canned) Close() error                     { return nil }
func (canned) SetReadDeadline(time.Time) error  { return nil }
func (canned) SetWriteDeadline(time.Time) error { return nil }
func (canned) LocalAddr() net.Addr              { return nil }
func overBytes(t testing.TB, p string) *conn.Conn {
	c, err := conn.Over(canned{in: strings.NewReader(p)}, "source:6379", conn.Options{Window: 64, MaxReply: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func bulk(text string) string {
	return string(resp.AppendCommand(nil, text)[len("*1\r\n"):])
}

// introduction is what a server of replication id idA, promoted from idB at
// offset 500 and now at 1000, answers before PSYNC.
func introduction() string {
	return bulk("# Replication\r\nrole:master\r\nmaster_replid:"+idA+"\r\nmaster_replid2:"+idB+
		"\r\nmaster_repl_offset:1000\r\nsecond_repl_offset:500\r\nrepl_backlog_active:1\r\nrepl_backlog_first_byte_offset:1\r\n") +
		bulk("redis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:r\r\n") + "+OK\r\n+OK\r\n"
}

// TestAnswers goes through what a source may answer to PSYNC, honest or not.
func TestAnswers(t *testing.T) {
	const ok, again, other = "ok", "refused", "protocol"
	at := Position{ReplID: idA, Offset: 700, DB: 2}
	for name, tc := range map[string]struct {
		pos    Position
		answer string
		want   string
	}{
		"full":                        {Position{}, "+FULLRESYNC " + idB + " 1000\r\n$100\r\n", ok},
		"full after newlines":         {at, "\n\n\n+FULLRESYNC " + idB + " 1000\r\n\n\n$EOF:" + idA + "\r\n", ok},
		"short replication id":        {at, "+FULLRESYNC abc 1000\r\n$100\r\n", other},
		"long replication id":         {at, "+FULLRESYNC " + idA + "a 1000\r\n$100\r\n", other},
		"replication id of no digits": {at, "+FULLRESYNC " + strings.Repeat("g", 40) + " 1000\r\n$100\r\n", other},
		"no offset":                   {at, "+FULLRESYNC " + idA + "\r\n", other},
		"a word too much":             {at, "+FULLRESYNC " + idA + " 1 2\r\n", other},
		"negative offset":             {at, "+FULLRESYNC " + idA + " -5\r\n", other},
		"offset over 64 bits":         {at, "+FULLRESYNC " + idA + " 99999999999999999999\r\n", other},
		"offset that would wrap":      {at, "+FULLRESYNC " + idA + " 9223372036854775800\r\n$100\r\n", other},
		"offset in hexadecimal":       {at, "+FULLRESYNC " + idA + " 0x10\r\n", other},
		"lower case":                  {at, "+fullresync " + idA + " 10\r\n", other},
		"endless newlines":            {at, strings.Repeat("\n", newlineLimit+1), other},
		"endless line":                {at, strings.Repeat("x", 5000), "any"},
		"continue":                    {at, "+CONTINUE " + idA + "\r\n", ok},
		"continue of an old server":   {at, "+CONTINUE\r\n", ok},
		"continue after a promotion":  {Position{ReplID: idB, Offset: 400}, "+CONTINUE " + idA + "\r\n", ok},
		"continue unasked":            {Position{}, "+CONTINUE " + idA + "\r\n", other},
		"continue under another id":   {at, "+CONTINUE " + idB + "\r\n", again},
		"continue another's history":  {Position{ReplID: strings.Repeat("c", 40), Offset: 700}, "+CONTINUE " + idA + "\r\n", again},
		"continue from the future":    {Position{ReplID: idA, Offset: 1001}, "+CONTINUE " + idA + "\r\n", again},
		"continue with half an id":    {at, "+CONTINUE aaaa\r\n", other},
		"no link to its master":       {at, "-NOMASTERLINK Can't SYNC while not connected with my master\r\n", again},
		"loading":                     {at, "-LOADING Redis is loading the dataset in memory\r\n", again},
		"no such command":             {at, "-ERR unknown command 'PSYNC'\r\n", again},
		"an integer":                  {at, ":1\r\n", other},
		"nothing":                     {at, "", "any"},
		"half an answer":              {at, "+FULLRESYNC " + idA + " 10", "any"},
		"no snapshot":                 {at, "+FULLRESYNC " + idA + " 10\r\n", "any"},
		"a snapshot without a size":   {at, "+FULLRESYNC " + idA + " 10\r\nREDIS0010", "any"},
		"a snapshot of -1 bytes":      {at, "+FULLRESYNC " + idA + " 10\r\n$-1\r\n", other},
		"a snapshot of no bytes":      {at, "+FULLRESYNC " + idA + " 10\r\n$0\r\n", other},
		"a snapshot over 64 bits":     {at, "+FULLRESYNC " + idA + " 10\r\n$99999999999999999999\r\n", other},
		"a short end marker":          {at, "+FULLRESYNC " + idA + " 10\r\n$EOF:abc\r\n", other},
		"an error for a snapshot":     {at, "+FULLRESYNC " + idA + " 10\r\n-ERR no disk\r\n", again},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := attach(overBytes(t, introduction()+tc.answer), Node{Addr: "source:6379"}, tc.pos, "")
			if err == nil && s.Full {
				err = s.Begin()
			}
			var refused *RefusedError
			got := "any"
			switch {
			case err == nil:
				got = ok
			case errors.As(err, &refused):
				got = again
			case errors.Is(err, resp.ErrProtocol):
				got = other
			}
			if got != tc.want && (tc.want != "any" || got == ok) {
				t.Errorf("got %s (%v), want %s", got, err, tc.want)
			}
			if err == nil && !s.Full && (s.Pos.Offset != tc.pos.Offset || s.Pos.DB != tc.pos.DB || s.Pos.ReplID != idA) {
				t.Errorf("continues at %+v", s.Pos)
			}
		})
	}
}

// TestLinkLostSinceTheProbe: a replica whose master went away between the
// probe and the attachment is left alone.
func TestLinkLostSinceTheProbe(t *testing.T) {
	c := overBytes(t, bulk("role:slave\r\nmaster_link_status:down\r\nmaster_repl_offset:5\r\n")+bulk("redis_version:7.0.15\r\n")+
		"+OK\r\n+OK\r\n+FULLRESYNC "+idA+" 10\r\n")
	var refused *RefusedError
	if _, err := attach(c, Node{}, Position{}, ""); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}

// TestBigIntroduction: what a source says of itself is bounded.
func TestBigIntroduction(t *testing.T) {
	for name, text := range map[string]string{
		"bytes":    "$99999999\r\n" + strings.Repeat("x", 1<<17),
		"elements": "*99999999\r\n" + strings.Repeat("+x\r\n", 1<<17),
		"integers": "*1099511627776\r\n" + strings.Repeat(":1\r\n", 1<<18+1000),
	} {
		if _, err := attach(overBytes(t, text), Node{}, Position{}, ""); err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: read to the end: %v", name, err)
		}
	}
}

// FuzzHandshake reads everything that a source sends until the snapshot or
// the stream begins.
func FuzzHandshake(f *testing.F) {
	node := bulk(strings.Repeat("c", 40) + " 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-5460 [5->-b2]\n")
	cluster := bulk("role:master\r\nmaster_replid:"+idA+"\r\nmaster_repl_offset:1000\r\n") +
		bulk("redis_version:7.0.15\r\nredis_mode:cluster\r\n") + node + "+OK\r\n+OK\r\n"
	valkey := bulk("role:slave\r\nmaster_link_status:up\r\nmaster_host:h\r\nmaster_port:1\r\nmaster_replid:"+idA+"\r\nmaster_repl_offset:1000\r\n") +
		bulk("redis_version:7.2.4\r\nvalkey_version:9.0.0\r\n") + "+OK\r\n+OK\r\n-ERR Unrecognized REPLCONF option\r\n"
	for _, head := range []string{introduction(), cluster, valkey} {
		f.Add([]byte(head+"+FULLRESYNC "+idB+" 1000\r\n\n\n$EOF:"+idA+"\r\nREDIS0010"), false)
		f.Add([]byte(head+"\n+FULLRESYNC "+idB+" 1000\r\n$767\r\nREDIS0010"), true)
		f.Add([]byte(head+"+CONTINUE "+idA+"\r\n\n*1\r\n$4\r\nPING\r\n"), true)
		f.Add([]byte(head+"-NOMASTERLINK no\r\n"), true)
	}
	f.Fuzz(func(t *testing.T, p []byte, resume bool) {
		pos := Position{}
		if resume {
			pos = Position{ReplID: idA, Offset: 700, DB: 2}
		}
		s, err := attach(overBytes(t, string(p)), Node{Addr: "source:6379"}, pos, "")
		if err == nil && s.Full {
			err = s.Begin()
		}
		switch {
		case err != nil:
			if s != nil && err.Error() == "" {
				t.Error("an error without a text")
			}
		case !isReplID(s.Pos.ReplID):
			t.Errorf("attached to the history %q", s.Pos.ReplID)
		case s.Full && (s.Pos.Offset < 0 || s.Pos.Offset > maxOffset):
			t.Errorf("a snapshot at offset %d", s.Pos.Offset)
		case s.Full && (len(s.Marker) != markerLen) == (s.Size < 10):
			t.Errorf("a snapshot of %d bytes that ends with %q", s.Size, s.Marker)
		case !s.Full && (!resume || s.Pos.Offset != pos.Offset || s.Pos.DB != pos.DB):
			t.Errorf("continues at %+v, asked was %+v", s.Pos, pos)
		case !bytes.Contains(p, []byte("+FULLRESYNC")) && !bytes.Contains(p, []byte("+CONTINUE")):
			t.Error("attached without an answer")
		}
	})
}
