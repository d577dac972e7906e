package bulk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

func read(t *testing.T, s *bulk.Store, stream string) []resp.Command {
	t.Helper()
	w := window.New(strings.NewReader(stream), 4096, 0)
	var list []resp.Command
	for w.Offset() < int64(len(stream)) {
		c := resp.Command{Keeper: s}
		if err := resp.ReadCommand(w, &c); err != nil {
			t.Fatal(err)
		}
		c.Raw = bytes.Clone(c.Raw)
		for i := range c.Args {
			c.Args[i] = bytes.Clone(c.Args[i])
		}
		s.Seal(w.Offset())
		list = append(list, c)
	}
	return list
}

func sent(t *testing.T, s *bulk.Store, p []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := s.Send(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestCommandsPassThrough: what is kept goes out as it came, in the command as
// in parts of it, and takes no memory in between.
func TestCommandsPassThrough(t *testing.T) {
	dir := t.TempDir()
	s := bulk.New(dir, 0)
	a, b := strings.Repeat("a\r\n$", 300_000), strings.Repeat("b", bulk.ArgumentAbove+1)
	commands := [][]string{
		{"SET", "k", a, "PXAT", "5"},
		{"SET", "k", "small"},
		{"MSET", "k1", b, "k2", "", "k3", a},
		{"RPUSH", "l", "x", a, b, "y", b},
		{"PUBLISH", "c", a},
		{"RENAME", "k", a}, // a key stays
		{"EVAL", "return 1", "0", a},
		{"SET", a, "v"},
	}
	kept := []int{1, 0, 2, 3, 1, 0, 0, 0}
	stream := ""
	for _, c := range commands {
		stream += string(resp.AppendCommand(nil, c...))
	}
	var all []byte
	for i, c := range read(t, s, stream) {
		if want := string(resp.AppendCommand(nil, commands[i]...)); sent(t, s, c.Raw) != want || c.Size != int64(len(want)) {
			t.Errorf("command %d is not what it was, size %d of %d", i, c.Size, len(want))
		}
		tokens := 0
		for k, arg := range c.Args {
			framed := fmt.Appendf(nil, "$%d\r\n%s\r\n", len(arg), arg)
			if want := fmt.Sprintf("$%d\r\n%s\r\n", len(commands[i][k]), commands[i][k]); sent(t, s, framed) != want {
				t.Errorf("command %d, argument %d is not what it was", i, k)
			}
			if s.Size(arg) != int64(len(commands[i][k])) {
				t.Errorf("command %d, argument %d: size %d", i, k, s.Size(arg))
			}
			if string(arg) != commands[i][k] {
				tokens++
			}
		}
		if tokens != kept[i] || (c.Kept > 0) != (tokens > 0) || tokens > 0 && len(c.Raw) > 4096 {
			t.Errorf("command %d has %d tokens, %d bytes kept, %d in memory", i, tokens, c.Kept, len(c.Raw))
		}
		all = append(all, c.Raw...)
	}
	if sent(t, s, all) != stream {
		t.Error("the stream is not what it was")
	}
	s.Release(int64(len(stream)) - 1)
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files with names: %v, %v", files, err)
	}
}

// TestReleased: an argument is there until its command is applied, and then
// its token is an error and never written.
func TestReleased(t *testing.T) {
	s := bulk.New(t.TempDir(), 0)
	value := strings.Repeat("v", bulk.ArgumentAbove+1)
	one := string(resp.AppendCommand(nil, "SET", "k", value))
	list := read(t, s, one+one)
	s.Release(int64(len(one)) - 1)
	if s.Held() != 2*int64(len(value)) {
		t.Errorf("%d bytes are held", s.Held())
	}
	s.Release(int64(len(one)))
	if sent(t, s, list[1].Raw) != one || s.Held() != int64(len(value)) {
		t.Errorf("%d bytes are held", s.Held())
	}
	var lost *bulk.FileError
	var out bytes.Buffer
	if err := s.Send(&out, list[0].Raw); !errors.As(err, &lost) || out.Len() > 0 {
		t.Errorf("a token of a released argument: %v, %d bytes written", err, out.Len())
	}
	if err := s.Send(&out, bytes.Replace(list[1].Raw, []byte("$"), []byte("#"), 3)); !errors.As(err, &lost) {
		t.Errorf("a token without its frame: %v", err)
	}
	s.Clear()
	if err := s.Send(&out, list[1].Raw); !errors.As(err, &lost) || s.Held() != 0 {
		t.Errorf("after Clear: %v, %d bytes are held", err, s.Held())
	}
}

// TestManyArguments: a command of many arguments is kept or cut in bounded
// memory, and what follows it is read.
func TestManyArguments(t *testing.T) {
	s := bulk.New(t.TempDir(), 0)
	middle, small := []string{"HSET", "h"}, []string{"RPUSH", "l"}
	for i := range 100 {
		middle = append(middle, fmt.Sprint("f", i), strings.Repeat("m", 200_000))
	}
	for range bulk.CutAbove / 20 {
		small = append(small, "a short element")
	}
	stream := string(resp.AppendCommand(nil, middle...)) + string(resp.AppendCommand(nil, small...)) + string(resp.AppendCommand(nil, "SET", "k", "v"))
	list := read(t, s, stream)
	if len(list) != 3 || list[0].Cut || !list[1].Cut || list[2].Cut {
		t.Fatalf("%d commands", len(list))
	}
	if len(list[0].Raw) > bulk.CommandAbove+100_000 || sent(t, s, list[0].Raw) != string(resp.AppendCommand(nil, middle...)) {
		t.Errorf("the command of middling arguments: %d bytes in memory", len(list[0].Raw))
	}
	if string(list[1].Raw) != string(resp.AppendCommand(nil, "RPUSH", "l")) || len(list[1].Args) != 2 || string(list[1].Args[0]) != "RPUSH" || string(list[1].Args[1]) != "l" {
		t.Errorf("cut: %q, %q", list[1].Raw, list[1].Args)
	}
	if string(list[2].Raw) != string(resp.AppendCommand(nil, "SET", "k", "v")) {
		t.Errorf("after it: %q", list[2].Raw)
	}
}

func TestLimit(t *testing.T) {
	s := bulk.New(t.TempDir(), 2<<20)
	w := window.New(strings.NewReader("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9223372036854775807\r\n"), 4096, 0)
	c := resp.Command{Keeper: s}
	if err := resp.ReadCommand(w, &c); !errors.Is(err, bulk.ErrTooLong) {
		t.Errorf("an argument of 2^63-1 bytes: %v", err)
	}
}
