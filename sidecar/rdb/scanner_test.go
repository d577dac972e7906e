package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/hdt3213/rdb/model"
	"github.com/hdt3213/rdb/parser"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

func load(t testing.TB) []byte {
	t.Helper()
	p, err := os.ReadFile("testdata/redis70.rdb")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// found is what a scan gave.
type found struct {
	keys      map[string]Record
	functions int
	version   int
}

func scan(r io.Reader, limit int) (found, error) {
	f := found{keys: map[string]Record{}}
	s, err := NewScanner(window.New(r, 64, limit))
	if err != nil {
		return f, err
	}
	f.version = s.Version()
	for {
		var rec Record
		if err := s.Next(&rec); err != nil {
			return f, err
		}
		switch rec.Kind {
		case KindEnd:
			return f, nil
		case KindFunction:
			f.functions++
		case KindKey:
			rec.Value = bytes.Clone(rec.Value)
			f.keys[string(rec.Key)] = rec
		case KindAux, KindResize:
		}
	}
}

// TestAgainstSecondOpinion compares keys, types and expiries with another
// reader of the format, in one piece and byte by byte.
func TestAgainstSecondOpinion(t *testing.T) {
	file := load(t)
	want := map[string]model.RedisObject{}
	if err := parser.NewDecoder(bytes.NewReader(file)).Parse(func(o model.RedisObject) bool {
		want[o.GetKey()] = o
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(file), "bytes": iotest.OneByteReader(bytes.NewReader(file))} {
		got, err := scan(r, 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(got.keys) != len(want) || len(want) < 18 || got.functions != 1 || got.version != 10 {
			t.Fatalf("%s: %d keys, %d functions, version %d; the other reader has %d keys", name, len(got.keys), got.functions, got.version, len(want))
		}
		for k, o := range want {
			rec, ok := got.keys[k]
			if !ok || TypeName(rec.Type) != o.GetType() || rec.DB != o.GetDBIndex() {
				t.Errorf("%s: key %q: %+v, the other reader has a %s in database %d", name, k, rec, o.GetType(), o.GetDBIndex())
			}
			if e := o.GetExpiration(); e != nil && e.UnixNano() != rec.Expire*1e6 || e == nil && rec.Expire != 0 {
				t.Errorf("%s: key %q: expiry %d, the other reader has %v", name, k, rec.Expire, e)
			}
		}
	}
}

// TestDamage flips every byte and cuts at every length: no panic, and never a
// snapshot that ends well, because the checksum covers every byte.
func TestDamage(t *testing.T) {
	file := load(t)
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 0x41
		if _, err := scan(bytes.NewReader(damaged), 1<<20); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
		if _, err := scan(bytes.NewReader(file[:i]), 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

// reseal gives a damaged file a valid checksum.
func reseal(p []byte) []byte {
	n := len(p) - 8
	binary.LittleEndian.PutUint64(p[n:], CRC64(0, p[:n]))
	return p
}

// TestResealed flips bytes and makes the checksum right again: the structure
// alone has to be enough not to panic.
func TestResealed(t *testing.T) {
	file := load(t)
	for i := range len(file) - 8 {
		for _, x := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(file)
			damaged[i] ^= x
			_, _ = scan(bytes.NewReader(reseal(damaged)), 1<<20)
		}
	}
}

// TestHostileLengths: an announced length allocates nothing by itself.
func TestHostileLengths(t *testing.T) {
	head := []byte("REDIS0010\x00\x01k")
	for name, tail := range map[string][]byte{
		"32 bit":  {0x80, 0xff, 0xff, 0xff, 0xff},
		"64 bit":  {0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"all 64":  {0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"lzf":     {0xc3, 0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"badlen":  {0x82},
		"badenc":  {0xc9},
		"nothing": {},
	} {
		n := testing.AllocsPerRun(1, func() {
			if _, err := scan(bytes.NewReader(append(bytes.Clone(head), tail...)), 64<<20); err == nil {
				t.Errorf("%s: accepted", name)
			}
		})
		if n > 50 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

func TestLZF(t *testing.T) {
	for _, tc := range []struct {
		in   []byte
		n    int
		want string
		ok   bool
	}{
		{[]byte{0x02, 'a', 'b', 'c'}, 3, "abc", true},
		{[]byte{0x00, 'a', 0x20, 0x00}, 4, "aaaa", true},
		{[]byte{0x00, 'a', 0xe0, 0x01, 0x00}, 11, "aaaaaaaaaaa", true},
		{[]byte{0x20, 0x00}, 3, "", false},
		{[]byte{0x02, 'a'}, 3, "", false},
		{[]byte{0x00, 'a'}, 2, "", false},
		{nil, 0, "", true},
	} {
		got, ok := lzfDecompress(nil, tc.in, tc.n)
		if ok != tc.ok || ok && string(got) != tc.want {
			t.Errorf("% x: %q %v, want %q %v", tc.in, got, ok, tc.want, tc.ok)
		}
	}
}

// TestCRC64 has the check value of the variant: crc64.c, "e9c6d914c4b8d9ca".
func TestCRC64(t *testing.T) {
	if got := CRC64(0, []byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("got %016x", got)
	}
	long := bytes.Repeat([]byte("0123456789abcde"), 100)
	for cut := range 40 {
		if CRC64(CRC64(0, long[:cut]), long[cut:]) != CRC64(0, long) {
			t.Fatalf("cut at %d gives another sum", cut)
		}
	}
}

// TestCRC64Fold compares the fast way with the tables, over all short lengths
// and offsets.
func TestCRC64Fold(t *testing.T) {
	p := make([]byte, 700)
	for i := range p {
		p[i] = byte(i * i >> 3)
	}
	for n := range 600 {
		for from := range 3 {
			part := p[from : from+n]
			if got, want := CRC64(0x0123456789abcdef, part), crcTables(0x0123456789abcdef, part); got != want {
				t.Fatalf("%d bytes from %d: %016x, want %016x", n, from, got, want)
			}
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(load(f))
	f.Add([]byte("REDIS0010\xff"))
	f.Add([]byte("VALKEY080\xfe\x00\xff"))
	f.Fuzz(func(_ *testing.T, p []byte) {
		_, _ = scan(bytes.NewReader(p), 1<<20)
		if len(p) > 8 {
			_, _ = scan(bytes.NewReader(reseal(bytes.Clone(p))), 1<<20)
		}
	})
}

func BenchmarkCRC64(b *testing.B) {
	p := bytes.Repeat([]byte{1, 2, 3, 4}, 1<<14)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		CRC64(0, p)
	}
}

// BenchmarkScanRestore reads a snapshot of 100-byte strings and frames each
// value as RESTORE.
func BenchmarkScanRestore(b *testing.B) {
	var file []byte
	file = append(file, "REDIS0010\xfe\x00"...)
	value := bytes.Repeat([]byte("v"), 100)
	for i := range 10_000 {
		file = append(file, TypeString, 12)
		file = append(file, "key:"...)
		file = append(file, []byte{byte('0' + i/1000%10), byte('0' + i/100%10), byte('0' + i/10%10), byte('0' + i%10), 'a', 'b', 'c', 'd'}...)
		file = append(file, 0x40, 100)
		file = append(file, value...)
	}
	file = reseal(append(append(file, opEOF), make([]byte, 8)...))
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	dst := make([]byte, 0, 1<<20)
	for b.Loop() {
		s, err := NewScanner(window.New(bytes.NewReader(file), 256<<10, 0))
		if err != nil {
			b.Fatal(err)
		}
		var rec Record
		for {
			if err := s.Next(&rec); err != nil {
				b.Fatal(err)
			}
			if rec.Kind == KindEnd {
				break
			}
			if dst = AppendWrite(dst, &rec, RestoreOptions{Footer: 10, Replace: true}); len(dst) > 900<<10 {
				dst = dst[:0]
			}
		}
	}
}

func TestRefoot(t *testing.T) {
	p := AppendRestore(nil, &Record{Key: []byte("k"), Type: TypeString, Value: []byte("\x01v"), Idle: -1, Freq: -1}, RestoreOptions{Footer: 12})
	payload := p[len(p)-2-13 : len(p)-2] // the last argument, less its CR LF
	typ, version, ok := Payload(payload)
	if !ok || typ != TypeString || version != 12 {
		t.Fatalf("read type %d, version %d, %v", typ, version, ok)
	}
	older := AppendPayload(nil, typ, PayloadValue(payload), 9)
	want := AppendRestore(nil, &Record{Key: []byte("k"), Type: TypeString, Value: []byte("\x01v"), Idle: -1, Freq: -1}, RestoreOptions{Footer: 9})
	if !bytes.Equal(older, want[len(want)-2-13:len(want)-2]) {
		t.Errorf("refooted to % x", older)
	}
	if _, _, ok := Payload(payload[:10]); ok {
		t.Error("ten bytes are no payload")
	}
}
