package rescue_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hdt3213/rdb/parser"

	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

var header = rescue.Header{
	Pair: "dr1", Epoch: 2, Operation: "0badcafe", Time: time.Unix(1_700_000_000, 0).UTC(),
	From: rescue.Site{Name: "redis-a", Namespace: "redis", Instance: "a", Cluster: "uid-a"},
	To:   rescue.Site{Name: "redis-b", Namespace: "redis", Instance: "b", Cluster: "uid-b"},
}

// footer is what a payload of DUMP ends with: version and checksum.
const footer = 10

// add writes what DUMP gave for a key, in two pieces.
func add(t *testing.T, w *rescue.Writer, db int, key string, deadline int64, payload string) {
	t.Helper()
	value := payload[1 : len(payload)-footer]
	err := w.Key(db, key, deadline, payload[0], int64(len(value)))
	for _, piece := range []string{value[:len(value)/2], value[len(value)/2:]} {
		if err == nil {
			_, err = io.WriteString(w, piece)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func version(payload string) int {
	return int(payload[len(payload)-footer]) | int(payload[len(payload)-footer+1])<<8
}

// TestLoads makes a file of what DUMP gives, and lets a server, another decoder
// and this package read it.
func TestLoads(t *testing.T) {
	src := testredis.Start(t, "--enable-debug-command", "local")
	long := strings.Repeat("x", 20_000)
	deadline := time.Now().Add(time.Hour).UnixMilli()
	for _, command := range [][]string{
		{"SET", "string", "v"},
		{"SET", "number", "12345"},
		{"SET", "compressed", long},
		{"SET", "binary \x00\xff\r\n", "\x00\xff"},
		{"SET", strings.Repeat("k", 100), "of a long name"},
		{"SET", strings.Repeat("l", 20_000), "of a longer name"},
		{"SET", "deadline", "v", "PXAT", fmt.Sprint(deadline)},
		{"RPUSH", "list", "a", "b", long},
		{"SADD", "set", "a", "b"},
		{"SADD", "numbers", "1", "2"},
		{"HSET", "hash", "f", long, "g", "1"},
		{"ZADD", "zset", "1.5", "a", "inf", "b"},
		{"XADD", "stream", "1-1", "f", "v"},
		{"XGROUP", "CREATE", "stream", "group", "0"},
		{"XREADGROUP", "GROUP", "group", "c", "STREAMS", "stream", ">"},
	} {
		src.Do(t, command...)
	}
	const library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
	keys := src.Do(t, "KEYS", "*").([]any)
	var file bytes.Buffer
	w := rescue.NewWriter(&file, version(src.Do(t, "DUMP", "string").(string)), header)
	if err := w.Function(library); err != nil {
		t.Fatal(err)
	}
	for _, db := range []int{0, 3} {
		for _, key := range keys {
			at := int64(0)
			if key == "deadline" {
				at = deadline
			}
			add(t, w, db, prefixes[db]+key.(string), at, src.Do(t, "DUMP", key.(string)).(string))
		}
	}
	if err := w.Close(1); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rescue.rdb"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	dst := testredis.Start(t, "--dir", dir, "--dbfilename", "rescue.rdb", "--save", "", "--enable-debug-command", "local")
	for db, prefix := range prefixes {
		dst.Do(t, "SELECT", fmt.Sprint(db))
		if n := dst.Do(t, "DBSIZE"); fmt.Sprint(n) != fmt.Sprint(len(keys)) {
			t.Errorf("database %d holds %v keys, expected %d", db, n, len(keys))
		}
		for _, key := range keys {
			// The order of a hash table's elements is another in every server.
			same := dst.Do(t, "DUMP", prefix+key.(string)) == src.Do(t, "DUMP", key.(string)) ||
				fmt.Sprint(dst.Do(t, "DEBUG", "DIGEST-VALUE", prefix+key.(string))) == fmt.Sprint(src.Do(t, "DEBUG", "DIGEST-VALUE", key.(string)))
			if !same {
				t.Errorf("database %d: %.20q is not the same", db, key)
			}
		}
		if at := dst.Do(t, "PEXPIRETIME", prefix+"deadline"); fmt.Sprint(at) != fmt.Sprint(deadline) {
			t.Errorf("database %d: the deadline is %v, expected %d", db, at, deadline)
		}
	}
	if answer := dst.Do(t, "FCALL", "f", "0"); fmt.Sprint(answer) != "1" {
		t.Errorf("the function answers %v", answer)
	}

	seen := 0
	err := parser.NewDecoder(bytes.NewReader(file.Bytes())).Parse(func(parser.RedisObject) bool { seen++; return true })
	if err != nil || seen != 2*len(keys) {
		t.Errorf("another decoder reads %d keys of %d: %v", seen, 2*len(keys), err)
	}

	types := map[string]int{}
	summary, err := rescue.Check(bytes.NewReader(file.Bytes()), func(k *rescue.Key, _ int64) error {
		types[rescue.TypeName(k.Type)]++
		if name := prefixes[k.DB] + "deadline"; (k.Name == name) != (k.DeadlineMS == deadline) {
			t.Errorf("%.20q in database %d has the deadline %d", k.Name, k.DB, k.DeadlineMS)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := rescue.Summary{Header: header, Version: summary.Version, Keys: int64(2 * len(keys)), Bytes: int64(file.Len()), Functions: 1, Gone: 1}
	if *summary != want {
		t.Errorf("read %+v, expected %+v", *summary, want)
	}
	if fmt.Sprint(types) != "map[hash:2 list:2 set:4 stream:2 string:14 zset:2]" {
		t.Errorf("types %v", types)
	}
}

var prefixes = map[int]string{0: "", 3: "again:"}

// small makes a file of two keys whose values are no RDB: nobody looks at them.
func small(t *testing.T) []byte {
	t.Helper()
	var file bytes.Buffer
	w := rescue.NewWriter(&file, 10, header)
	for _, key := range []string{"one", "two"} {
		add(t, w, 0, key, 5, "\x00"+strings.Repeat(key, 30_000)+strings.Repeat("f", footer))
	}
	if err := w.Close(0); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestDamaged cuts a file off everywhere, and changes every byte of its ends
// and some of its middle.
func TestDamaged(t *testing.T) {
	file := small(t)
	if s, err := rescue.Check(bytes.NewReader(file), nil); err != nil || s.Keys != 2 {
		t.Fatalf("the file itself: %+v, %v", s, err)
	}
	positions := map[int]bool{}
	for i := range file {
		if i < 600 || i > len(file)-300 || i%997 == 0 || i > 90_000 && i < 90_900 {
			positions[i] = true
		}
	}
	for i := range positions {
		_, err := rescue.Check(bytes.NewReader(file[:i]), nil)
		var format *rescue.FormatError
		if !errors.As(err, &format) || format.Offset != int64(i) && format.Offset > 9 || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("cut off at %d: %v", i, err)
		}
		damaged := bytes.Clone(file)
		damaged[i] ^= 0x11
		if _, err := rescue.Check(bytes.NewReader(damaged), nil); !errors.As(err, &format) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if _, err := rescue.Check(bytes.NewReader(append(bytes.Clone(file), 0)), nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("offset %d", len(file))) {
		t.Errorf("a byte too many: %v", err)
	}
	for text, want := range map[string]string{
		"":                      "cut off",
		"#!/bin/sh\necho hello": "no RDB file",
		"REDIS0011\xff\x00\x00\x00\x00\x00\x00\x00\x00": "no rescue file",
	} {
		if _, err := rescue.Check(strings.NewReader(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	var file bytes.Buffer
	w := rescue.NewWriter(&file, 11, header)
	if err := errors.Join(w.Function("code"), w.Key(1, "key", 7, 0, 2)); err != nil {
		f.Fatal(err)
	}
	_, _ = w.Write([]byte("\x01v"))
	if err := w.Close(0); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := rescue.Check(bytes.NewReader(data), nil)
		if err == nil && s.Bytes != int64(len(data)) {
			t.Errorf("read %d bytes of %d", s.Bytes, len(data))
		}
	})
}

// TestLengths: a value that is not as long as was said is an error.
func TestLengths(t *testing.T) {
	for _, said := range []int64{2, 4} {
		w := rescue.NewWriter(&bytes.Buffer{}, 10, header)
		if err := w.Key(0, "k", 0, 0, said); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, "abc")
		if err := w.Close(0); err == nil {
			t.Errorf("3 bytes of %d are no error", said)
		}
	}
}

// TestFile: a file has its name only when it is whole, and replaces none.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rescue.rdb")
	given := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	file := small(t)
	receive := func(stream []byte) (*rescue.File, error) {
		f, err := rescue.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rescue.Receive(f, bytes.NewReader(stream), nil)
		return f, err
	}
	cut, err := receive(file[:len(file)-1])
	if err == nil {
		t.Error("a stream that was cut off is no error")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the name is taken before the file is whole: %v", err)
	}
	cut.Discard()
	if len(given()) != 0 {
		t.Errorf("left behind: %v", given())
	}
	whole, err := receive(file)
	other, otherErr := receive(file)
	if err = errors.Join(err, otherErr, whole.Commit()); err != nil {
		t.Fatal(err)
	}
	whole.Discard()
	if err := other.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another file of the same name: %v", err)
	}
	other.Discard()
	if _, err := rescue.Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating it again: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, file) || len(given()) != 1 {
		t.Errorf("the file holds %d bytes of %d, the folder %v: %v", len(got), len(file), given(), err)
	}
	if _, err := rescue.Create(filepath.Join(dir, "none", "x")); err == nil {
		t.Error("a folder that does not exist is no error")
	}
}

// TestDiskFull fills a device that has no room.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	defer full.Close()
	f := rescue.Over(full)
	_, err = rescue.Receive(f, bytes.NewReader(small(t)), nil)
	var written *rescue.WriteError
	if !errors.As(err, &written) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
}
