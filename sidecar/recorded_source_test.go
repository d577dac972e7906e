package sidecar_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// recording is what a real source said in one session: the answers by
// request, the snapshot and the stream after it.
type recording struct {
	answers  map[string]string // texts of bulk strings
	replid   string
	at       int64 // offset of the snapshot
	snapshot []byte
	stream   []byte
	server   string // address of the server that was recorded
}

// end is the offset after the stream.
func (r *recording) end() int64 { return r.at + int64(len(r.stream)) }

// diskless is the whole answer to PSYNC ? -1 with an end marker.
func (r *recording) diskless(snapshot []byte, marker string) []byte {
	return slicesOf(r.fullLine(), "\n\n$EOF:", marker, "\r\n", string(snapshot), marker)
}

// sized is the same with the size first; the size may be a lie.
func (r *recording) sized(snapshot []byte, size int) []byte {
	return slicesOf(r.fullLine(), "$", strconv.Itoa(size), "\r\n", string(snapshot))
}

func (r *recording) fullLine() string { return fmt.Sprintf("+FULLRESYNC %s %d\r\n", r.replid, r.at) }

func slicesOf(parts ...string) []byte { return []byte(strings.Join(parts, "")) }

var endMarker = strings.Repeat("0123456789", 4)

// record attaches to src as a replica does; write makes the stream.
func record(t *testing.T, src *testredis.Server, write func()) *recording {
	t.Helper()
	c, err := net.Dial("tcp", src.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	rec := &recording{answers: map[string]string{}, server: src.Addr}
	line := func() string {
		l, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimRight(l, "\r\n")
	}
	for _, capa := range []string{"eof", "psync2"} {
		fmt.Fprintf(c, "REPLCONF capa %s\r\n", capa)
		if l := line(); l != "+OK" {
			t.Fatalf("REPLCONF capa %s: %s", capa, l)
		}
	}
	fmt.Fprint(c, "PSYNC ? -1\r\n")
	f := strings.Fields(line())
	if rec.replid = f[1]; f[0] != "+FULLRESYNC" {
		t.Fatalf("PSYNC: %v", f)
	}
	if rec.at, err = strconv.ParseInt(f[2], 10, 64); err != nil {
		t.Fatal(err)
	}
	marker := ""
	for marker == "" {
		marker = strings.TrimPrefix(line(), "$EOF:")
	}
	for !bytes.HasSuffix(rec.snapshot, []byte(marker)) {
		b, err := in.ReadByte()
		if err != nil {
			t.Fatal(err)
		}
		rec.snapshot = append(rec.snapshot, b)
	}
	rec.snapshot = rec.snapshot[:len(rec.snapshot)-len(marker)]
	write()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // one that comes before the server knows that its child is done is not heard
		for {
			fmt.Fprintf(c, "REPLCONF ACK %d\r\n", rec.at)
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	end, err := strconv.ParseInt(infoField(t, src, "master_repl_offset"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	rec.stream = make([]byte, end-rec.at)
	if _, err := io.ReadFull(in, rec.stream); err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{"replication", "server"} {
		text := src.Do(t, "INFO", section).(string)
		if section == "replication" { // a ping of this moment is not in the stream
			text = strings.Replace(text, "master_repl_offset:"+infoField(t, src, "master_repl_offset"), fmt.Sprintf("master_repl_offset:%d", end), 1)
		}
		rec.answers["info "+section] = text
	}
	return rec
}

// recordSmall records a session of about 2 KB with a value of every type.
func recordSmall(t *testing.T) (*testredis.Server, *recording) {
	t.Helper()
	src := testredis.Start(t, append(debugArgs(), "--repl-ping-replica-period", "3600", "--list-max-listpack-size", "2", "--zset-max-listpack-entries", "2")...)
	for _, c := range []string{
		"SET text value", "SET number 12345", "SET lzf " + strings.Repeat("ab", 40), "SET marker " + endMarker, "SET till v PX 90000000",
		"RPUSH list a b c d", "SADD set a b", "SADD ints 1 2 300", "HSET hash f v g 7", "ZADD packed 1.5 a -inf b", "ZADD skip 1 a 2 b 3 c",
		"XADD stream 1-1 f v", "XADD stream 2-1 f v g w", "XGROUP CREATE stream group 0", "XREADGROUP GROUP group alice COUNT 1 STREAMS stream >",
		"SELECT 2", "SET in-two 2", "SELECT 0",
	} {
		src.Do(t, strings.Fields(c)...)
	}
	src.Do(t, "FUNCTION", "LOAD", "#!lua name=f\nredis.register_function('f',function() return 1 end)")
	return src, record(t, src, func() {
		for _, c := range []string{
			"INCR number", "APPEND text more", "RPUSH list e", "SELECT 2", "INCR in-two", "INCR n", "SELECT 0", "MULTI", "INCR number", "LPUSH list z", "EXEC",
			"XADD stream 3-1 f x", "ZINCRBY packed 2 a", "PEXPIRE till 80000000", "DEL set", "EVAL redis.call('incr','number')redis.call('lpush','list','y') 0", "SET last v",
		} {
			src.Do(t, strings.Fields(c)...)
		}
	})
}

// reseal gives a snapshot a right checksum again.
func reseal(p []byte) []byte {
	n := len(p) - 8
	binary.LittleEndian.PutUint64(p[n:], rdb.CRC64(0, p[:n]))
	return p
}

// recordedSource is a server that plays a recording, and says on PSYNC
// whatever a test wants: that is what no real source does.
type recordedSource struct {
	addr string
	rec  *recording

	mu    sync.Mutex
	asked int // PSYNCs so far
	conns map[net.Conn]bool
	// psync answers the n-th PSYNC (from 0); nil, or false: as the recording.
	psync func(n int, args []string, w io.Writer) bool
	// wrap sees each accepted connection.
	wrap func(net.Conn) net.Conn
	// info changes the text of INFO.
	info func(text string) string
}

// startRecorded plays a recording, as change says.
func startRecorded(t *testing.T, rec *recording, change func(s *recordedSource)) *recordedSource {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &recordedSource{addr: l.Addr().String(), rec: rec, conns: map[net.Conn]bool{}}
	if change != nil {
		change(s)
	}
	t.Cleanup(func() { _ = l.Close(); s.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			wrap := s.wrap
			s.mu.Unlock()
			if wrap != nil {
				go s.serve(wrap(c), c)
			} else {
				go s.serve(c, c)
			}
		}
	}()
	return s
}

// set changes what the source does from now on.
func (s *recordedSource) set(f func(s *recordedSource)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// cut ends all connections.
func (s *recordedSource) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *recordedSource) serve(c, key net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, key)
		s.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for {
		args, err := readArgs(in)
		if err != nil {
			return
		}
		answer := []byte("+OK\r\n")
		switch strings.ToLower(args[0]) {
		case "info":
			section := strings.ToLower(args[1])
			s.mu.Lock()
			text := s.rec.answers["info "+section]
			if s.info != nil {
				text = s.info(text)
			}
			answer = fmt.Appendf(nil, "$%d\r\n%s\r\n", len(text), text)
			s.mu.Unlock()
		case "ping":
			answer = []byte("+PONG\r\n")
		case "replconf":
			if strings.EqualFold(args[1], "ack") {
				continue
			}
		case "pexpiretime": // the first command of a connection that asks for values
			s.values(args, in, c)
			return
		case "psync":
			s.mu.Lock()
			n, script := s.asked, s.psync
			s.asked++
			s.mu.Unlock()
			if script == nil || !script(n, args, c) {
				s.honest(args, c)
				continue // what was sent is all there is; the connection stays
			}
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// values lets the server that was recorded answer: nobody has written to it
// since.
func (s *recordedSource) values(first []string, in io.Reader, c net.Conn) {
	up, err := net.Dial("tcp", s.rec.server)
	if err != nil {
		return
	}
	defer up.Close()
	if _, err := fmt.Fprintf(up, "%s\r\n", strings.Join(first, " ")); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(up, in) // ends with either side
		_ = up.Close()
	}()
	_, _ = io.Copy(c, up)
}

// honest answers PSYNC as the recorded source would.
func (s *recordedSource) honest(args []string, w io.Writer) {
	r := s.rec
	if from, err := strconv.ParseInt(args[2], 10, 64); err == nil && args[1] == r.replid && from > r.at && from <= r.end()+1 {
		_, _ = w.Write(slicesOf("+CONTINUE ", r.replid, "\r\n", string(r.stream[from-r.at-1:])))
		return
	}
	_, _ = w.Write(append(r.diskless(r.snapshot, endMarker), r.stream...)) // a client that left is no fault
}

func readArgs(in *bufio.Reader) ([]string, error) {
	number := func(kind byte) (int, error) {
		l, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if l[0] != kind {
			return 0, fmt.Errorf("request begins with %q", l)
		}
		return strconv.Atoi(strings.TrimSpace(l[1:]))
	}
	n, err := number('*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		p := make([]byte, size+2)
		if _, err := io.ReadFull(in, p); err != nil {
			return nil, err
		}
		args[i] = string(p[:size])
	}
	return args, nil
}
