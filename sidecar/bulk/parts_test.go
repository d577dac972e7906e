package bulk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// joined reads a stream and puts the parts of commands together again, tokens
// replaced.
func joined(t *testing.T, s *bulk.Store, stream string) (commands [][]string, parts int) {
	t.Helper()
	w := window.New(strings.NewReader(stream), 4096, 0)
	c := resp.Command{Keeper: s}
	var size int64
	for more := false; w.Offset() < int64(len(stream)); {
		if err := resp.ReadCommand(w, &c); err != nil {
			t.Fatal(err)
		}
		if size += c.Size; size != w.Offset() {
			t.Fatalf("%d bytes of commands, %d of the stream", size, w.Offset())
		}
		if c.Part && (len(c.Raw) > 4<<20 || len(c.Args) > 4097) {
			t.Fatalf("a part has %d bytes and %d arguments", len(c.Raw), len(c.Args))
		}
		again := resp.Command{}
		if err := resp.ReadCommand(window.New(strings.NewReader(sent(t, s, c.Raw)), 4096, 0), &again); err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, a := range again.Args {
			words = append(words, string(a))
		}
		if more {
			last := &commands[len(commands)-1]
			*last = append(*last, words[1:]...)
		} else {
			commands = append(commands, words)
		}
		if more = c.More; c.Part {
			parts++
		}
	}
	return commands, parts
}

// TestParts: a command of very many keys is read as several ones that do the
// same together.
func TestParts(t *testing.T) {
	large := strings.Repeat("v", bulk.ArgumentAbove+1)
	list := func(name string, n int, value ...string) []string {
		words := []string{name}
		for i := range n {
			words = append(append(words, "key "+strconv.Itoa(i)), value...)
		}
		return words
	}
	long := list("DEL", 5000)
	long[3000] = strings.Repeat("k", 2<<20)
	mixed := list("MSET", 3000, "v")
	mixed[2], mixed[4002] = large, large
	for _, c := range []struct {
		words []string
		as    string
		parts int
	}{
		{list("DEL", 4095), "DEL", 0},
		{list("DEL", 4096), "DEL", 1},
		{list("UNLINK", 4097), "UNLINK", 2},
		{list("touch", 10_000), "touch", 3},
		{list("MSET", 2048, ""), "MSET", 1},
		{list("MSET", 2049, "value"), "MSET", 2},
		{list("MSETNX", 5000, "value"), "MSET", 3},
		{list("MSET", 3000, strings.Repeat("v", 1000)), "MSET", 3},
		{long, "DEL", 2},
		{mixed, "MSET", 2},
		{list("SUNIONSTORE", 5000), "SUNIONSTORE", 0},
		{list("MSET", 3000, "v")[:6000], "MSET", 0}, // the server says what is wrong with it
	} {
		s := bulk.New(t.TempDir(), 0)
		stream := string(resp.AppendCommand(nil, c.words...))
		next := string(resp.AppendCommand(nil, "SET", "next", "v"))
		got, parts := joined(t, s, stream+next+stream)
		want := append([]string{c.as}, c.words[1:]...)
		if len(got) != 3 || !equal(got[0], want) || !equal(got[2], want) || !equal(got[1], []string{"SET", "next", "v"}) {
			t.Errorf("%s of %d arguments is another one", c.words[0], len(c.words))
		}
		if len(c.words) < 5000 && parts != 2*c.parts || parts < 2*c.parts {
			t.Errorf("%s of %d arguments: %d parts, want %d", c.words[0], len(c.words), parts/2, c.parts)
		}
	}
}

func equal(a, b []string) bool { return fmt.Sprint(len(a), a) == fmt.Sprint(len(b), b) }

// TestPartsEnd: a stream that ends, or lies, inside of a part is an error, and
// what is read after it is no part.
func TestPartsEnd(t *testing.T) {
	stream := "*2000000000\r\n$3\r\nDEL\r\n" + strings.Repeat("$1\r\nk\r\n", 10_000)
	for name, tail := range map[string]string{
		"end": "", "end in a length": "$1", "no string": ":1\r\n", "length": "$-1\r\n", "hostile length": "$9999999999\r\nk", "longer than it says": "$1\r\nkk\r\n",
	} {
		w := window.New(strings.NewReader(stream+tail), 4096, 1<<20)
		c := resp.Command{Keeper: bulk.New(t.TempDir(), 0)}
		var err error
		n := 0
		for ; err == nil; n++ {
			err = resp.ReadCommand(w, &c)
		}
		if n != 3 || c.More || errors.Is(err, io.EOF) && name != "end" {
			t.Errorf("%s: after %d parts: %v", name, n-1, err)
		}
	}
}

// TestKeptCommands: commands in files go out in their place, arguments in
// files among them too, and can be read again.
func TestKeptCommands(t *testing.T) {
	s := bulk.New(t.TempDir(), 0)
	value := strings.Repeat("v", bulk.ArgumentAbove+1)
	first := read(t, s, string(resp.AppendCommand(nil, "SET", "a", value)))[0].Raw
	second := read(t, s, string(resp.AppendCommand(nil, "APPEND", "b", value)))[0].Raw
	kept, err := s.KeepCommands(append(bytes.Clone(first), resp.AppendCommand(nil, "INCR", "n")...), 5<<20)
	if err != nil {
		t.Fatal(err)
	}
	more, err := s.KeepCommands(resp.AppendCommand(nil, "INCR", "m"), 6<<20)
	if err != nil {
		t.Fatal(err)
	}
	multi := resp.AppendCommand(nil, "MULTI")
	buf := append(append(append(append(bytes.Clone(multi), kept...), second...), more...), resp.AppendCommand(nil, "EXEC")...)
	want := string(multi)
	var names []string
	for _, words := range [][]string{{"SET", "a", value}, {"INCR", "n"}, {"APPEND", "b", value}, {"INCR", "m"}, {"EXEC"}} {
		want += string(resp.AppendCommand(nil, words...))
	}
	if sent(t, s, buf) != want {
		t.Error("what is sent is not what was kept")
	}
	w := window.New(s.Commands(buf), 64, 0)
	for c := (resp.Command{}); ; {
		if err := resp.ReadCommand(w, &c); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		names = append(names, string(c.Args[0]))
		if len(c.Raw) > 1000 {
			t.Error("an argument was read again")
		}
	}
	if got := strings.Join(names, " "); got != "MULTI SET INCR APPEND INCR EXEC" {
		t.Errorf("read again: %s", got)
	}
	s.Release(5 << 20)
	var lost *bulk.FileError
	if err := s.Send(io.Discard, buf); !errors.As(err, &lost) {
		t.Errorf("after Release: %v", err)
	}
	if _, err := io.ReadAll(s.Commands(buf)); !errors.As(err, &lost) {
		t.Errorf("after Release: %v", err)
	}
}
