package rdb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hdt3213/rdb/model"
	"github.com/hdt3213/rdb/parser"
)

// dump is what DUMP of a real server answered.
type dump struct {
	release, name string
	version       int
	rec           Record
}

// dumps reads testdata/dumps.txt: release, name and payload, the same data on
// Redis 6.0, 7.0 and 8.0 and on Valkey 8.0, 8.1 and 9.1.
func dumps(t testing.TB) []dump {
	t.Helper()
	text, err := os.ReadFile("testdata/dumps.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []dump
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		p, err := base64.StdEncoding.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		typ, version, ok := Payload(p)
		if !ok {
			t.Fatalf("%s %s: no payload", f[0], f[1])
		}
		all = append(all, dump{f[0], f[1], version, Record{Key: []byte(f[1]), Type: typ, Value: PayloadValue(p), Idle: -1, Freq: -1}})
	}
	return all
}

// onDisk puts a record's value into a file, as the scanner does with large ones.
func onDisk(t testing.TB, r Record) *Record {
	t.Helper()
	f, err := largeValue(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	b := &BigValue{f: f, crc: CRC64(0, []byte{r.Type})}
	if err := b.write(r.Value); err != nil {
		t.Fatal(err)
	}
	r.Big, r.Value = b, nil
	return &r
}

// lines are the sink that tests compare.
type lines struct {
	list  []string
	entry string
}

func (l *lines) Entry(id StreamID, texts int64) error {
	l.entry = fmt.Sprint(id, " ", texts)
	return nil
}

func (l *lines) Text(t *Text) error { l.entry += fmt.Sprintf(" %q", plain(t)); return nil }
func (l *lines) End() error         { l.list = append(l.list, l.entry); return nil }

func plain(t *Text) string {
	var b bytes.Buffer
	if n, err := t.WriteTo(&b); err != nil || n != t.Len() || int64(b.Len()) != n {
		return fmt.Sprintf("text of %d bytes: wrote %d: %v", t.Len(), n, err)
	}
	return b.String()
}

// read decodes everything.
func read(r *Record, dir string) ([]string, error) {
	d := NewDecoder(r, dir)
	defer d.Close()
	var l lines
	if isStream(r.Type) {
		if err := d.Entries(&l); err != nil {
			return nil, err
		}
		info, err := d.Info()
		if err != nil {
			return nil, err
		}
		l.list = append(l.list, fmt.Sprint(info.Length, info.Last))
		if r.Type >= TypeStreamListpacks2 {
			l.list = append(l.list, fmt.Sprint("2: ", info.MaxDeleted, info.Added))
		}
		var b bytes.Buffer
		_, size, write, err := d.Skeleton(9)
		if err == nil {
			err = write(&b)
		}
		if err == nil && int64(b.Len()) != size {
			err = fmt.Errorf("%d bytes were announced, %d written", size, b.Len())
		}
		return l.list, err
	}
	err := d.Elements(func(e *Element) error {
		l.list = append(l.list, fmt.Sprintf("%q %q %v %d", plain(&e.Name), plain(&e.Value), e.Score+0, e.Expire))
		return nil
	})
	if TypeName(r.Type) != "list" {
		slices.Sort(l.list)
	}
	return l.list, err
}

func mustRead(t *testing.T, r *Record) []string {
	t.Helper()
	l, err := read(r, t.TempDir())
	if err != nil {
		t.Fatalf("type %d: %v", r.Type, err)
	}
	return l
}

// TestDecode reads what each release made of the same data, from memory and
// from a file: it has to be the same everywhere.
func TestDecode(t *testing.T) {
	first := map[string][]string{}
	types := map[byte]bool{}
	for _, d := range dumps(t) {
		types[d.rec.Type] = true
		got := mustRead(t, &d.rec)
		if disk := mustRead(t, onDisk(t, d.rec)); !slices.Equal(got, disk) {
			t.Errorf("%s %s: from a file %.300q, from memory %.300q", d.release, d.name, disk, got)
		}
		got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "2: ") }) // before 7.0 there was none
		want, ok := first[d.name]
		if !ok {
			first[d.name] = got
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s %s (type %d): %.300q, another release has %.300q", d.release, d.name, d.rec.Type, got, want)
		}
	}
	for _, want := range []byte{
		TypeString, TypeSet, TypeHash, TypeZSet2, TypeSetIntset, TypeZSetZiplist, TypeHashZiplist, TypeListQuicklist, TypeStreamListpacks,
		TypeHashListpack, TypeZSetListpack, TypeListQuicklist2, TypeStreamListpacks2, TypeSetListpack, TypeStreamListpacks3,
		TypeHashMetadata, TypeHashListpackEx, typeHash2Valkey,
	} {
		if !types[want] {
			t.Errorf("no dump of type %d", want)
		}
	}
	for name, want := range map[string][]string{
		"string int": {`"-70000" "" 0 0`},
		"set 64":     {`"1" "" 0 0`, `"1099511627776" "" 0 0`},
		"hash":       {`"" "empty field" 0 0`, `"a" "1" 0 0`, `"b" "" 0 0`, `"c" "1.5" 0 0`, `"n" "-10" 0 0`},
		"zset":       {`"" "" 4 0`, `"a" "" +Inf 0`, `"b" "" -Inf 0`, `"c" "" 0.1 0`, `"d" "" 0 0`, `"e" "" 1e+300 0`, `"f" "" 3 0`},
		"hash ttl":   {`"" "x" 0 4102444801001`, `"a" "1" 0 4102444801001`, `"b" "2" 0 4102444802002`, `"n" "10" 0 0`},
	} {
		if !slices.Equal(first[name], want) {
			t.Errorf("%s: %q, want %q", name, first[name], want)
		}
	}
	list := first["list"]
	if len(list) != 12 || list[0] != `"a" "" 0 0` || list[3] != `"-300" "" 0 0` || list[6] != `"-1099511627776" "" 0 0` || list[9] != `"4194304" "" 0 0` {
		t.Errorf("list: %q", list)
	}
	stream := first["stream"]
	if len(stream) != 130 || !strings.HasPrefix(stream[0], `1000-1 4 "f" "0" "g0" `) || stream[len(stream)-2] != `2000-18446744073709551615 2 "one" "field"` ||
		stream[len(stream)-1] != "129 2001-0" {
		t.Errorf("stream: %d lines, %.100q ... %q", len(stream), stream[0], stream[len(stream)-2:])
	}
}

// TestDecodeSecondOpinion compares with another reader of the format.
func TestDecodeSecondOpinion(t *testing.T) {
	compared := 0
	for _, d := range dumps(t) {
		if d.name == "list large" && d.rec.Type == TypeListQuicklist2 {
			continue // it cannot read a node that is one plain element
		}
		file := []byte("REDIS0012")
		if d.version >= ValkeyVersion {
			file = []byte("VALKEY080")
		}
		file = append(append(file, 0xfe, 0, d.rec.Type), 1, 'k')
		file = append(append(file, d.rec.Value...), opEOF)
		file = reseal(append(file, make([]byte, 8)...))
		var want []string
		err := parser.NewDecoder(bytes.NewReader(file)).Parse(func(o model.RedisObject) bool {
			want = opinion(o)
			return true
		})
		if err != nil {
			t.Errorf("%s %s: the other reader: %v", d.release, d.name, err)
			continue
		}
		got := mustRead(t, &d.rec)
		if TypeName(d.rec.Type) == "stream" {
			got = got[:len(got)-1]
			for i, l := range got { // it has an entry's fields in no order, and says of a length what was deleted too
				f := strings.Fields(l)
				got[i] = f[0]
			}
			got = got[:len(want)]
		}
		if len(want) == 0 && d.name != "stream empty" || !slices.Equal(got, want) {
			t.Errorf("%s %s (type %d): %.300q, the other reader has %.300q", d.release, d.name, d.rec.Type, got, want)
		}
		compared++
	}
	if compared < 100 {
		t.Errorf("only %d values were compared", compared)
	}
}

// opinion writes an object of the other reader as read does.
func opinion(o model.RedisObject) (list []string) {
	line := func(name, value string, score float64, expire int64) {
		list = append(list, fmt.Sprintf("%q %q %v %d", name, value, score+0, expire))
	}
	switch o := o.(type) {
	case *model.StringObject:
		line(string(o.Value), "", 0, 0)
	case *model.ListObject:
		for _, v := range o.Values {
			line(string(v), "", 0, 0)
		}
		return list
	case *model.SetObject:
		for _, v := range o.Members {
			line(string(v), "", 0, 0)
		}
	case *model.ZSetObject:
		for _, e := range o.Entries {
			line(e.Member, "", e.Score, 0)
		}
	case *model.HashObject:
		for f, v := range o.Hash {
			line(f, string(v), 0, max(o.FieldExpirations[f], 0))
		}
	case *model.StreamObject:
		for _, e := range o.Entries {
			for _, m := range e.Msgs {
				if !m.Deleted {
					list = append(list, strconv.FormatUint(m.Id.Ms, 10)+"-"+strconv.FormatUint(m.Id.Sequence, 10))
				}
			}
		}
		return list
	}
	slices.Sort(list)
	return list
}

// TestRecode writes every value for older and for other servers, and reads
// it back.
func TestRecode(t *testing.T) {
	for _, d := range dumps(t) {
		all := mustRead(t, &d.rec)
		for _, target := range []int{6, 9, 10, 11, 12, ValkeyVersion} {
			dec := NewDecoder(&d.rec, t.TempDir())
			typ, value, err := dec.Recode(target, 1<<20)
			var unfit *UnfitError
			if errors.As(err, &unfit) {
				if ttl := strings.HasPrefix(d.name, "hash ttl"); !(ttl && target < 12 || isStream(d.rec.Type) && target < 9) {
					t.Errorf("%s %s for version %d: %v", d.release, d.name, target, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s %s for version %d: %v", d.release, d.name, target, err)
			}
			if !Readable(typ, target, target) {
				t.Errorf("%s %s for version %d: type %d", d.release, d.name, target, typ)
			}
			back := Record{Type: typ, Value: value}
			got, want := mustRead(t, &back), all
			if TypeName(typ) == "stream" && typ < TypeStreamListpacks2 {
				want = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return strings.HasPrefix(s, "2: ") })
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %s for version %d: %.300q, want %.300q", d.release, d.name, target, got, want)
			}
		}
	}
	var unfit *UnfitError
	vectors := Record{Type: TypeModule2, Value: []byte{0x81, 0xbd, 0xe7, 0x2d, 0xa2, 0xcb, 0x5e, 0xb4, 0x00, 0}}
	if err := NewDecoder(&vectors, "").Fits(9); !errors.As(err, &unfit) || !strings.Contains(err.Error(), "module") {
		t.Errorf("a module's value: %v", err)
	}
	list := Record{Type: TypeList, Value: append([]byte{1, 0x80, 0, 0, 16, 0}, make([]byte, 4096)...)}
	if _, _, err := NewDecoder(&list, "").Recode(9, 4000); !errors.Is(err, ErrRecodedSize) {
		t.Errorf("a value over the limit: %v", err)
	}
}

// TestZipmap has no server that writes it any more: the bytes are those of
// the layout in zipmap.c, a field with free bytes and a long value.
func TestZipmap(t *testing.T) {
	long := strings.Repeat("v", 300)
	blob := []byte("\x02\x03foo\x03\x02bar..\x05hello\xfe\x2c\x01\x00\x00\x00" + long + "\xff")
	r := Record{Type: TypeHashZipmap, Value: append(appendLength(nil, uint64(len(blob))), blob...)}
	want := []string{`"foo" "bar" 0 0`, fmt.Sprintf("%q %q 0 0", "hello", long)}
	if got := mustRead(t, &r); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// lzf packs a text as runs of literals and, for repetitions of one byte, back
// references.
func lzf(text []byte) []byte {
	var out []byte
	for i := 0; i < len(text); {
		n := 0
		for i > 0 && i+n < len(text) && n < 264 && text[i+n] == text[i-1] {
			n++
		}
		if n < 9 {
			out = append(out, 0, text[i])
			i++
			continue
		}
		out = append(out, 7<<5, byte(n-9), 0)
		i += n
	}
	return out
}

// TestLargeParts has parts that are larger than what is kept in memory: a
// compressed listpack is unpacked into a file, long texts are passed through.
func TestLargeParts(t *testing.T) {
	var blob []byte
	blob = append(blob, 0, 0, 0, 0, 0xff, 0xff)
	item := func(p []byte) {
		from := len(blob)
		blob = append(blob, 0xf0, byte(len(p)), byte(len(p)>>8), byte(len(p)>>16), byte(len(p)>>24))
		blob = append(blob, p...)
		n := len(blob) - from
		switch {
		case n < 2097151:
			blob = append(blob, byte(n>>14), byte(n>>7)|0x80, byte(n)|0x80)
		default:
			blob = append(blob, byte(n>>21), byte(n>>14)|0x80, byte(n>>7)|0x80, byte(n)|0x80)
		}
	}
	texts := [][]byte{bytes.Repeat([]byte("a"), 70_000), bytes.Repeat([]byte("b"), 3_000_000), bytes.Repeat([]byte("cd"), 50_000), bytes.Repeat([]byte("e"), 66_000)}
	for _, p := range texts {
		item(p)
	}
	blob = append(blob, 0xff)
	blob[0], blob[1], blob[2], blob[3] = byte(len(blob)), byte(len(blob)>>8), byte(len(blob)>>16), byte(len(blob)>>24)
	whole := append(appendLength(nil, uint64(len(blob))), blob...)
	small := lzf(blob)
	packed := append(appendLength(appendLength([]byte{0xc3}, uint64(len(small))), uint64(len(blob))), small...)
	want := []string{fmt.Sprintf("%q %q 0 0", texts[0], texts[1]), fmt.Sprintf("%q %q 0 0", texts[2], texts[3])}
	for name, value := range map[string][]byte{"whole": whole, "compressed": packed} {
		r := Record{Type: TypeHashListpack, Value: value}
		if got := mustRead(t, &r); !slices.Equal(got, want) {
			t.Errorf("%s from memory: %d elements: %.200q", name, len(got), got)
		}
		d := NewDecoder(onDisk(t, r), t.TempDir())
		defer d.Close()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n := 0
		err := d.Elements(func(e *Element) error {
			for i, x := range []*Text{&e.Name, &e.Value} {
				if !x.Equal(texts[2*n+i]) {
					t.Errorf("%s from a file: text %d of element %d of %d bytes is another one", name, i, n, x.Len())
				}
			}
			n++
			return nil
		})
		runtime.ReadMemStats(&after)
		if err != nil || n != 2 {
			t.Errorf("%s from a file: %d elements, %v", name, n, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > DecodeMemory {
			t.Errorf("%s from a file: %d bytes were allocated for a value of %d, the bound is %d", name, used, len(blob), DecodeMemory)
		}
	}
}

// FuzzValue reads damaged values: no panic, and no more memory than a few
// times what is there.
func FuzzValue(f *testing.F) {
	for _, d := range dumps(f) {
		if len(d.rec.Value) < 1500 { // large seeds take long to be made smaller
			f.Add(d.rec.Type, d.rec.Value)
		}
	}
	f.Add(byte(TypeHashZipmap), []byte("\x0e\x01\x03foo\x03\x00bar\xff"))
	f.Fuzz(func(t *testing.T, typ byte, value []byte) {
		r := Record{Type: typ, Value: value}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d := NewDecoder(&r, t.TempDir())
		var n counter
		if isStream(typ) {
			_ = d.Entries(discard{&n})
			_, _ = d.Info()
			if _, size, write, err := d.Skeleton(9); err == nil {
				var b counter
				if err := write(&b); err != nil || int64(b) != size {
					t.Errorf("the skeleton has %d bytes and wrote %d: %v", size, b, err)
				}
			}
		} else {
			_ = d.Elements(func(e *Element) error {
				_, err := e.Name.WriteTo(&n)
				if err == nil {
					_, err = e.Value.WriteTo(&n)
				}
				return err
			})
		}
		d.Close()
		runtime.ReadMemStats(&after)
		// 64 KB per text that is unpacked while it is written.
		if used := int64(after.TotalAlloc - before.TotalAlloc); used > DecodeMemory+int64(len(value))*1024+2*int64(n) {
			t.Errorf("%d bytes were allocated for a value of %d", used, len(value))
		}
		for _, target := range []int{6, 9, 11, ValkeyVersion} {
			_, out, err := d.Recode(target, 1<<20)
			if err == nil && len(out) > 2<<20 {
				t.Errorf("recoded to %d bytes", len(out))
			}
		}
		d.Close()
	})
}

// discard counts the texts of entries.
type discard struct{ n *counter }

func (d discard) Entry(StreamID, int64) error { return nil }
func (d discard) Text(t *Text) error          { _, err := t.WriteTo(d.n); return err }
func (d discard) End() error                  { return nil }
