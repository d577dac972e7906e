package sidecar_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
)

// logText keeps what a replicator logs.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// startLogged is start with the log kept.
func startLogged(t *testing.T, l link) (*running, *logText) {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "sync.toml"), l.toml(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	log := &logText{}
	r, err := sidecar.New(cfg, "test", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{Replicator: r, stop: cancel, done: make(chan error, 1)}
	go func() { run.done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Logf("the replicator:\n%s", log)
		}
	})
	return run, log
}

// waitApplied waits until the target has everything up to an offset.
func (r *running) waitApplied(t *testing.T, offset int64) wire.Status {
	t.Helper()
	var s wire.Status
	testredis.Eventually(t, 60*time.Second, "the target to have the whole stream", func() bool {
		select {
		case err := <-r.done:
			t.Fatalf("the replicator ended: %v", err)
		default:
		}
		s = r.Status().Get()
		return !s.FullSync.Running && s.AppliedOffset == offset
	})
	return s
}

func linkTo(source, target string) link {
	return link{slots: "0-16383", sources: []string{source}, target: "address = " + strconv.Quote(target) + "\nstale_keys = \"prune\"\nstale_keys_max_share = 1.0"}
}

// isComplete reports what the checkpoint in the target says.
func isComplete(t *testing.T, dst *testredis.Server) bool {
	t.Helper()
	return dst.Do(t, "HGET", wire.CheckpointKey("p", 0), wire.CkptState) == wire.CkptStateStream
}

// TestLyingSource gives the replicator a first session that no honest source
// would give. After it the source is honest, and the copy must be right.
func TestLyingSource(t *testing.T) {
	t.Parallel()
	src, rec := recordSmall(t)
	want := contents(t, src)
	tail := len(rec.snapshot) - 9 // the opcode of the end and the checksum: a place where a type is expected
	send := func(p []byte) func([]string, io.Writer) { return func(_ []string, w io.Writer) { _, _ = w.Write(p) } }
	after := func(stream string) []byte { return append(rec.diskless(rec.snapshot, endMarker), stream...) }
	for name, tc := range map[string]struct {
		lie     func(args []string, w io.Writer)
		times   int    // sessions that lie; 0: one
		reason  string // in the log
		ends    bool   // the replicator ends with the reason, and is started again
		noError bool   // it is no lie that can be told
	}{
		"no such full resync":         {lie: send([]byte("+FULLRESYNC\r\n")), reason: "neither +FULLRESYNC nor +CONTINUE"},
		"short replication id":        {lie: send([]byte("+FULLRESYNC abcdef 1\r\n$5\r\nREDIS")), reason: "is not +FULLRESYNC <replid> <offset>"},
		"negative offset":             {lie: send([]byte("+FULLRESYNC " + rec.replid + " -1\r\n")), reason: "is not +FULLRESYNC <replid> <offset>"},
		"offset near the end":         {lie: send([]byte("+FULLRESYNC " + rec.replid + " 9223372036854775807\r\n")), reason: "is not +FULLRESYNC <replid> <offset>"},
		"endless newlines":            {lie: send(bytes.Repeat([]byte("\n"), 200_000)), reason: "100000 empty lines and no answer"},
		"newlines before a snapshot":  {lie: send(append([]byte(rec.fullLine()), bytes.Repeat([]byte("\n"), 200_000)...)), reason: "100000 empty lines and no answer"},
		"an endless answer":           {lie: send(bytes.Repeat([]byte("x"), 200_000)), reason: "line too long"},
		"no link to its master":       {lie: send([]byte("-NOMASTERLINK Can't SYNC\r\n")), times: 3, reason: "NOMASTERLINK"},
		"loading":                     {lie: send([]byte("-LOADING Redis is loading the dataset in memory\r\n")), times: 4, reason: "LOADING"},
		"continues what nobody asked": {lie: send([]byte("+CONTINUE " + rec.replid + "\r\n*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$1\r\nv\r\n")), reason: "that was not asked for"},
		"a size too small":            {lie: send(rec.sized(rec.snapshot, len(rec.snapshot)-7)), reason: "bytes were announced"},
		"a size too large":            {lie: send(rec.sized(rec.snapshot, len(rec.snapshot)+7)), reason: "bytes were announced"},
		"a size of a petabyte":        {lie: send(rec.sized(rec.snapshot, 1<<50)), reason: "bytes were announced"},
		"half an end marker":          {lie: send(rec.diskless(rec.snapshot, endMarker)[:len(rec.diskless(rec.snapshot, endMarker))-20]), reason: "EOF"},
		"another end marker":          {lie: send(bytes.Replace(rec.diskless(rec.snapshot, endMarker), []byte(endMarker+"\r\n"), []byte(strings.Repeat("x", 40)+"\r\n"), 1)), reason: "the end marker is not the announced one"},
		"the marker inside the data":  {lie: send(after("")), noError: true}, // the value of the key "marker"
		"the stream inside":           {lie: send(rec.diskless(slicesOf(string(rec.snapshot[:tail]), string(rec.stream), string(rec.snapshot[tail:])), endMarker)), ends: true, reason: "opcode 42 is not known"},
		"the snapshot twice":          {lie: send(rec.diskless(slicesOf(string(rec.snapshot), string(rec.snapshot)), endMarker)), reason: "the end marker is not the announced one"},
		"no snapshot":                 {lie: send(rec.diskless([]byte("HTTP/1.1 400 Bad Request"), endMarker)), ends: true, reason: "the magic is neither REDIS nor VALKEY"},
		"a later version":             {lie: send(rec.diskless([]byte("REDIS0099\xff"), endMarker)), ends: true, reason: "RDB version 99 is not known"},
		"a reply in the stream":       {lie: send(after("-ERR something\r\n")), reason: "protocol error"},
		"an endless line":             {lie: send(after("*" + strings.Repeat("1", 100_000))), reason: "line too long"},
		"a command of no words":       {lie: send(after("*0\r\n")), reason: "number of arguments"},
		"a word of -5 bytes":          {lie: send(after("*1\r\n$-5\r\n")), reason: "length of an argument"},
		"a word of a terabyte":        {lie: send(after("*2\r\n$3\r\nSET\r\n$1099511627776\r\nx")), ends: true, reason: "exceeds the read buffer limit"},
		"a billion words":             {lie: send(after("*1000000000\r\n$1\r\nx\r\n")), ends: true, reason: "exceeds the read buffer limit"},
		"a transaction without end":   {lie: send(after("*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$1\r\nv\r\n")), reason: "EOF"},
		"no database":                 {lie: send(after("*2\r\n$6\r\nSELECT\r\n$2\r\n-1\r\n")), ends: true, reason: "names no database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst := testredis.Start(t, debugArgs()...)
			fence(t, dst)
			s := startRecorded(t, rec, func(s *recordedSource) {
				s.psync = func(n int, args []string, w io.Writer) bool {
					if n >= max(tc.times, 1) {
						return false
					}
					tc.lie(args, w)
					return true
				}
			})
			r, log := startLogged(t, linkTo(s.addr, dst.Addr))
			if tc.ends {
				if err := r.waitEnd(t); err == nil || !strings.Contains(err.Error(), tc.reason) {
					t.Fatalf("it ended with %v", err)
				}
				if st := r.Status().Get(); st.Phase != wire.PhaseFailed || st.InSync || !strings.Contains(st.Error, tc.reason) {
					t.Errorf("status %+v", st)
				}
				if dst.Do(t, "EXISTS", "evil") != int64(0) {
					t.Error("it wrote what no source has")
				}
				r, _ = startLogged(t, linkTo(s.addr, dst.Addr))
			}
			st := r.waitApplied(t, rec.end())
			if !tc.noError && !tc.ends && !strings.Contains(log.String(), tc.reason) {
				t.Errorf("the reason %q is not in the log:\n%s", tc.reason, log)
			}
			if st.Error != "" {
				t.Errorf("the error stays: %s", st.Error)
			}
			compare(t, want, contents(t, dst))
			r.finish(t)
		})
	}
}

// TestLiesOnResume breaks an honest session and lies about how it goes on.
func TestLiesOnResume(t *testing.T) {
	t.Parallel()
	src, rec := recordSmall(t)
	want := contents(t, src)
	evil := "*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$1\r\nv\r\n"
	for name, tc := range map[string]struct {
		info   func(text string) string
		answer string
		full   int64 // copies that are made in all
		reason string
	}{
		"another replication id": {nil, "+CONTINUE " + strings.Repeat("c", 40) + "\r\n" + evil, 1, "under another replication id than its own"},
		"half a replication id":  {nil, "+CONTINUE " + rec.replid[:20] + "\r\n" + evil, 1, "+CONTINUE"},
		"a server with another past": {func(text string) string {
			return strings.ReplaceAll(text, rec.replid, strings.Repeat("d", 40))
		}, "+CONTINUE " + strings.Repeat("d", 40) + "\r\n" + evil, 1, "a history that is not its own"},
		"a server that is behind": {func(text string) string {
			return strings.ReplaceAll(text, fmt.Sprintf("master_repl_offset:%d", rec.end()), fmt.Sprintf("master_repl_offset:%d", rec.at))
		}, "+CONTINUE " + rec.replid + "\r\n" + evil, 1, "and is itself at"},
		"newlines after the answer": {nil, "+CONTINUE " + rec.replid + "\r\n\n\n\n", 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst := testredis.Start(t, debugArgs()...)
			fence(t, dst)
			s := startRecorded(t, rec, nil)
			r, log := startLogged(t, linkTo(s.addr, dst.Addr))
			r.waitApplied(t, rec.end())
			s.set(func(s *recordedSource) {
				s.info = tc.info
				lies := 0
				s.psync = func(_ int, _ []string, w io.Writer) bool {
					if lies++; lies > 1 {
						s.set(func(s *recordedSource) { s.info = nil })
						return false
					}
					_, _ = io.WriteString(w, tc.answer)
					return true
				}
			})
			s.cut()
			testredis.Eventually(t, 30*time.Second, "an honest session again", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.asked >= 3
			})
			testredis.Eventually(t, 30*time.Second, "to be streaming without an error", func() bool {
				st := r.Status().Get()
				return st.Error == "" && st.Complete && st.AppliedOffset == rec.end() && !st.FullSync.Running
			})
			if n := r.Status().Get().FullSync.Count; n != tc.full {
				t.Errorf("%d copies, want %d", n, tc.full)
			}
			if tc.reason != "" && !strings.Contains(log.String(), tc.reason) {
				t.Errorf("the reason %q is not in the log:\n%s", tc.reason, log)
			}
			compare(t, want, contents(t, dst))
			r.finish(t)
		})
	}
}
