package resp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

func windowOf(p []byte) *window.Window {
	return window.New(iotest.HalfReader(bytes.NewReader(p)), 16, 1<<20)
}

func TestReadCommand(t *testing.T) {
	stream := AppendCommand(nil, "SET", "k", "")
	stream = AppendCommand(stream, "PING")
	stream = AppendCommand(stream, "LPUSH", "l", strings.Repeat("x", 100_000), "a\r\nb")
	w := windowOf(stream)
	var c Command
	var got [][]string
	var raw []byte
	for {
		err := ReadCommand(w, &c)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, c.Raw...)
		var words []string
		for _, a := range c.Args {
			words = append(words, string(a))
		}
		got = append(got, words)
	}
	if !bytes.Equal(raw, stream) {
		t.Error("the raw bytes are not those of the stream")
	}
	if len(got) != 3 || got[0][2] != "" || got[1][0] != "PING" || got[2][3] != "a\r\nb" || len(got[2][2]) != 100_000 {
		t.Errorf("read %d commands", len(got))
	}
	if w.Offset() != int64(len(stream)) {
		t.Errorf("offset %d after %d bytes", w.Offset(), len(stream))
	}
}

func TestBadCommands(t *testing.T) {
	for _, bad := range []string{
		"\n", "PING\r\n", "*0\r\n", "*-1\r\n", "*x\r\n", "*1\r\n+OK\r\n", "*1\r\n$-1\r\n", "*1\r\n$-0\r\n\r\n", "*1\r\n$1\r\nabc\r\n",
		"*1\r\n$99999999999999999999\r\n", "*1\r\n$9999999999\r\nx", strings.Repeat("*", 200),
	} {
		var c Command
		if err := ReadCommand(windowOf([]byte(bad)), &c); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func TestReplies(t *testing.T) {
	w := windowOf([]byte("+OK\r\n:7\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n*-1\r\n-MOVED 7 1.2.3.4:5\r\n"))
	kinds := "+:$$**-"
	for i := range kinds {
		r, err := ReadReply(w)
		if err != nil || r.Kind != kinds[i] {
			t.Fatalf("reply %d: %+v %v", i, r, err)
		}
		if r.Kind == '-' && !IsCode(r.Err(), "MOVED") {
			t.Errorf("error %v", r.Err())
		}
	}
}

func TestSkipReplyKeepsTheFirstError(t *testing.T) {
	w := windowOf([]byte("*3\r\n+OK\r\n-WRONGTYPE no\r\n-ERR later\r\n+OK\r\n"))
	if err := SkipReply(w); !IsCode(err, "WRONGTYPE") {
		t.Errorf("got %v", err)
	}
	if err := SkipReply(w); err != nil {
		t.Errorf("the next reply: %v", err)
	}
	var broken *ReadError
	if err := SkipReply(w); !errors.As(err, &broken) {
		t.Errorf("at the end: %v", err)
	}
}

// TestErrorsHideArguments: some servers quote the arguments of a command.
func TestErrorsHideArguments(t *testing.T) {
	err := NewServerError("ERR unknown command 'FOO', with args beginning with: 'key' 'secret value' ")
	if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "unknown command 'FOO'") {
		t.Errorf("got %v", err)
	}
}

func FuzzReadCommand(f *testing.F) {
	f.Add(AppendCommand(nil, "SET", "k", "v"))
	f.Add([]byte("*1\r\n$4\r\nPING\r\n*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"))
	f.Add([]byte("*2147483647\r\n$2147483647\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		w := windowOf(p)
		var c Command
		consumed := 0
		for ReadCommand(w, &c) == nil {
			if !bytes.Equal(c.Raw, p[consumed:consumed+len(c.Raw)]) {
				t.Fatal("raw bytes differ from the input")
			}
			consumed += len(c.Raw)
		}
	})
}

// inParts lets every command be read in parts, with per arguments to a key.
type inParts int

func (inParts) Keeps([]byte, int, int64, int64) bool { return false }
func (inParts) Cuts([]byte, int64, int64) bool       { return false }
func (inParts) Keep(int64, func(int) ([]byte, error)) ([]byte, error) {
	return nil, errors.New("it was not to be kept")
}
func (p inParts) Parts(name []byte) (string, int) { return string(name), int(p) }

// FuzzReadParts compares commands that are read in parts with the same ones
// read at once.
func FuzzReadParts(f *testing.F) {
	f.Add(AppendCommand(AppendCommand(nil, "DEL", "k", "", "another", "k"), "SET", "k", "v"), byte(2), byte(1))
	f.Add(AppendCommand(nil, "MSET", "a", "1", "b", "2", "c", "3"), byte(3), byte(2))
	f.Add([]byte("*2147483647\r\n$1\r\nD\r\n$2147483647\r\n"), byte(1), byte(1))
	f.Fuzz(func(t *testing.T, p []byte, most, per byte) {
		if most == 0 || most > 16 || per == 0 || per > 3 {
			return
		}
		a, b := windowOf(p), windowOf(p)
		c := Command{Keeper: inParts(per), partArgs: int(most)}
		var whole Command
		for {
			errWhole := ReadCommand(a, &whole)
			at, n := 0, 0
			for {
				if err := ReadCommand(b, &c); err != nil {
					if errWhole == nil {
						t.Fatalf("in parts: %v", err)
					}
					return
				}
				if len(c.Args) > int(most)+int(per)+1 && c.Part {
					t.Fatalf("a part has %d arguments", len(c.Args))
				}
				var again Command
				if err := ReadCommand(windowOf(c.Raw), &again); err != nil || len(again.Args) != len(c.Args) {
					t.Fatalf("a part is no command: %v", err)
				}
				for i, word := range c.Args {
					which := 0 // the name is that of all parts
					if i > 0 {
						at++
						which = at
					}
					if errWhole == nil && (which >= len(whole.Args) || !bytes.Equal(word, whole.Args[which])) || !bytes.Equal(word, again.Args[i]) {
						t.Fatal("an argument is another one")
					}
				}
				n++
				if !c.More {
					break
				}
			}
			if errWhole != nil {
				t.Fatalf("at once: %v, in %d parts nothing", errWhole, n)
			}
			if at != len(whole.Args)-1 {
				t.Fatalf("%d arguments in parts, %d at once", at, len(whole.Args)-1)
			}
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("*2\r\n+OK\r\n$3\r\nabc\r\n"))
	f.Add([]byte(strings.Repeat("*1\r\n", 100)))
	f.Fuzz(func(t *testing.T, p []byte) {
		a, b := windowOf(p), windowOf(p)
		for {
			_, errA := ReadReply(a)
			errB := SkipReply(b)
			var broken *ReadError
			if (errA != nil) != errors.As(errB, &broken) {
				t.Fatalf("reading says %v, skipping says %v", errA, errB)
			}
			if errA != nil {
				return
			}
			if a.Offset() != b.Offset() {
				t.Fatalf("reading consumed %d bytes, skipping %d", a.Offset(), b.Offset())
			}
		}
	})
}

func BenchmarkReadCommand(b *testing.B) {
	stream := bytes.Repeat(AppendCommand(nil, "SET", "key:000000000001", strings.Repeat("v", 100)), 1000)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	var c Command
	for b.Loop() {
		w := window.New(bytes.NewReader(stream), 256<<10, 0)
		for ReadCommand(w, &c) == nil { //nolint:revive // counts nothing, only reads
		}
	}
}
