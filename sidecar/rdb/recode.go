package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// A target that does not know the encoding of a value mostly knows an older
// one that can say the same. Recode writes it, so that the value still goes
// in one RESTORE, which is atomic and carries the deadline and access time.

// UnfitError says why no encoding that the target reads can hold a value.
type UnfitError struct{ Reason string }

func (e *UnfitError) Error() string { return e.Reason }

// ErrRecodedSize is returned for a value whose other encoding is larger than
// asked for: commands have to write it.
var ErrRecodedSize = errors.New("the value is too large to be written in another encoding")

// Fits says why a target of an RDB version cannot hold the value at all, with
// an *UnfitError; or that it is corrupt.
func (d *Decoder) Fits(target int) error {
	if isStream(d.typ) {
		_, err := d.streamType(target)
		return err
	}
	_, err := d.plainType(target)
	return err
}

// Recode returns a value in an encoding that a server of the RDB version
// target reads: the type, and the raw value, of at most limit bytes. The
// version to write behind it is the target's own.
func (d *Decoder) Recode(target int, limit int64) (typ byte, value []byte, err error) {
	if isStream(d.typ) {
		return d.recodeStream(target, limit)
	}
	typ, err = d.plainType(target)
	if err != nil {
		return 0, nil, err
	}
	r := &recoder{typ: typ, limit: limit}
	if typ == TypeHashMetadata {
		if err := d.Elements(r.findLeast); err != nil {
			return 0, nil, err
		}
	}
	if err := d.Elements(r.add); err != nil {
		return 0, nil, err
	}
	var head []byte
	switch typ {
	case TypeString:
		return typ, r.out.Bytes(), nil
	case TypeHashMetadata:
		head = binary.LittleEndian.AppendUint64(head, uint64(r.least))
	}
	return typ, append(appendLength(head, r.n), r.out.Bytes()...), nil
}

// plainType is the type that has the elements of a value one after the other,
// as far as the target needs it.
func (d *Decoder) plainType(target int) (byte, error) {
	switch d.typ {
	case TypeString:
		return TypeString, nil
	case TypeList, TypeListZiplist, TypeListQuicklist, TypeListQuicklist2:
		return TypeList, nil
	case TypeSet, TypeSetIntset, TypeSetListpack:
		return TypeSet, nil
	case TypeZSet, TypeZSet2, TypeZSetZiplist, TypeZSetListpack:
		if target < minVersion[TypeZSet2] {
			return TypeZSet, nil
		}
		return TypeZSet2, nil
	case TypeHash, TypeHashZipmap, TypeHashZiplist, TypeHashListpack:
		return TypeHash, nil
	case TypeHashMetadata, TypeHashListpackEx, typeHash2Valkey:
		expiring, err := d.Expiring()
		switch {
		case err != nil:
			return 0, err
		case !expiring:
			return TypeHash, nil
		case target >= ValkeyVersion:
			return typeHash2Valkey, nil
		case FieldExpiry(target):
			return TypeHashMetadata, nil
		}
		return 0, &UnfitError{"it has fields with deadlines of their own, which the target does not have"}
	case TypeModule2, TypeModulePre:
		return 0, &UnfitError{fmt.Sprintf("it belongs to the module %q, and only a server with that module can read it", d.Module())}
	}
	return 0, &UnfitError{fmt.Sprintf("RDB type %d has no other encoding", d.typ)}
}

// FieldExpiry reports whether servers of an RDB version have hash fields with
// deadlines: Redis from 7.4 on, Valkey from 9 on.
func FieldExpiry(version int) bool { return version >= minVersion[TypeHashMetadata] }

// errExpiring ends the search of Expiring.
var errExpiring = errors.New("a field has a deadline")

// Expiring reports whether a field of a hash has a deadline.
func (d *Decoder) Expiring() (bool, error) {
	switch d.typ {
	case TypeHashMetadata, TypeHashListpackEx, typeHash2Valkey:
	default:
		return false, nil
	}
	err := d.Elements(func(e *Element) error {
		if e.Expire != 0 {
			return errExpiring
		}
		return nil
	})
	if errors.Is(err, errExpiring) {
		return true, nil
	}
	return false, err
}

// Module names the module that a value belongs to, "" when it is of none.
func (d *Decoder) Module() string {
	if d.typ != TypeModule2 && d.typ != TypeModulePre {
		return ""
	}
	id, err := d.top().length("a module id")
	if err != nil {
		return "unknown"
	}
	return moduleName(id)
}

// recoder writes elements one after the other.
type recoder struct {
	typ   byte
	out   bytes.Buffer
	limit int64
	n     uint64
	least int64 // deadline of a field
}

func (r *recoder) findLeast(e *Element) error {
	if e.Expire != 0 && (r.least == 0 || e.Expire < r.least) {
		r.least = e.Expire
	}
	return nil
}

func (r *recoder) add(e *Element) error {
	r.n++
	if r.typ == TypeHashMetadata {
		ttl := uint64(0)
		if e.Expire != 0 {
			ttl = uint64(e.Expire-r.least) + 1
		}
		r.out.Write(appendLength(nil, ttl))
	}
	if err := r.text(&e.Name); err != nil {
		return err
	}
	switch r.typ {
	case TypeHash, TypeHashMetadata, typeHash2Valkey:
		if err := r.text(&e.Value); err != nil {
			return err
		}
	}
	switch r.typ {
	case TypeZSet:
		appendOldScore(&r.out, e.Score)
	case TypeZSet2:
		r.out.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(e.Score)))
	case typeHash2Valkey:
		at := int64(-1)
		if e.Expire != 0 {
			at = e.Expire
		}
		r.out.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
	}
	return nil
}

func (r *recoder) text(t *Text) error {
	if int64(r.out.Len())+t.Len() > r.limit {
		return ErrRecodedSize
	}
	r.out.Write(appendLength(r.out.AvailableBuffer(), uint64(t.Len())))
	_, err := t.WriteTo(&r.out)
	return err
}

// appendLength writes a length as rdbSaveLen does.
func appendLength(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, 0x40|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, 0x80), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0x81), n)
}

func appendOldScore(out *bytes.Buffer, v float64) {
	switch {
	case math.IsInf(v, 1):
		out.WriteByte(254)
	case math.IsInf(v, -1):
		out.WriteByte(255)
	default:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		out.WriteByte(byte(len(text)))
		out.WriteString(text)
	}
}

// streamType is the newest encoding of a stream that both know.
func (d *Decoder) streamType(target int) (byte, error) {
	for _, typ := range []byte{TypeStreamListpacks3, TypeStreamListpacks2, TypeStreamListpacks} {
		if typ <= d.typ && target >= minVersion[typ] {
			return typ, nil
		}
	}
	return 0, &UnfitError{"the target has no streams"}
}

// recodeStream copies the entries, whose form never changed, and writes what
// follows them in an older way.
func (d *Decoder) recodeStream(target int, limit int64) (byte, []byte, error) {
	typ, err := d.streamType(target)
	if err != nil {
		return 0, nil, err
	}
	if d.raw == nil || d.size > limit {
		return 0, nil, ErrRecodedSize
	}
	c := d.top()
	if err := d.skipEntries(c); err != nil {
		return 0, nil, err
	}
	out := bytes.NewBuffer(bytes.Clone(d.raw[:c.offset()]))
	info, err := d.info(c)
	if err != nil {
		return 0, nil, err
	}
	out.Write(appendInfo(nil, typ, info))
	if err := d.groups(c, typ, out); err != nil {
		return 0, nil, err
	}
	return typ, out.Bytes(), done(c)
}

func appendInfo(dst []byte, typ byte, i StreamInfo) []byte {
	list := []uint64{i.Length, i.Last.Ms, i.Last.Seq, i.First.Ms, i.First.Seq, i.MaxDeleted.Ms, i.MaxDeleted.Seq, i.Added}
	if typ < TypeStreamListpacks2 {
		list = list[:3]
	}
	for _, n := range list {
		dst = appendLength(dst, n)
	}
	return dst
}

// Skeleton writes the stream without its entries: what RESTORE has to put
// there before the entries are added by commands. It has the groups with
// their pending entries, which no command can set exactly; the last id and
// the counters come after the entries (XSETID). size is the number of bytes.
func (d *Decoder) Skeleton(target int) (typ byte, size int64, write func(io.Writer) error, err error) {
	if typ, err = d.streamType(target); err != nil {
		return 0, 0, nil, err
	}
	write = func(w io.Writer) error {
		c := d.top()
		if err := d.skipEntries(c); err != nil {
			return err
		}
		if _, err := d.info(c); err != nil {
			return err
		}
		if _, err := w.Write(appendInfo([]byte{0}, typ, StreamInfo{})); err != nil {
			return err
		}
		if err := d.groups(c, typ, w); err != nil {
			return err
		}
		return done(c)
	}
	var n counter
	err = write(&n)
	return typ, int64(n), write, err
}

type counter int64

func (n *counter) Write(p []byte) (int, error) { *n += counter(len(p)); return len(p), nil }

// groups copies the consumer groups in the form of an older type: without the
// number of entries read before 7.0, without active times before 7.2.
func (d *Decoder) groups(c *cursor, typ byte, w io.Writer) error {
	t := &tail{c: c, w: w}
	groups := t.length("the number of groups")
	for range groups {
		t.text("a group's name", &d.name)
		t.length("group metadata")
		t.length("group metadata")
		if d.typ >= TypeStreamListpacks2 {
			t.quiet = typ < TypeStreamListpacks2
			t.length("group metadata") // entries read
			t.quiet = false
		}
		for range t.length("the number of pending entries") {
			t.bytes(16+8, "a pending entry")
			if t.length("a delivery count"); t.err != nil {
				return t.err
			}
		}
		for range t.length("the number of consumers") {
			t.text("a consumer's name", &d.name)
			t.bytes(8, "a consumer's times")
			if d.typ >= TypeStreamListpacks3 {
				t.quiet = typ < TypeStreamListpacks3
				t.bytes(8, "a consumer's times")
				t.quiet = false
			}
			for range t.length("the number of a consumer's pending entries") {
				if t.bytes(16, "a pending entry's id"); t.err != nil {
					return t.err
				}
			}
			if t.err != nil {
				return t.err
			}
		}
		if t.err != nil {
			return t.err
		}
	}
	return t.err
}

// tail copies parts of a value; after an error it does nothing.
type tail struct {
	c     *cursor
	w     io.Writer
	quiet bool // reads and does not write
	err   error
	buf   []byte
}

func (t *tail) out(p []byte) {
	if t.err == nil && !t.quiet {
		_, t.err = t.w.Write(p)
	}
}

// length copies a length; 0 after an error.
func (t *tail) length(what string) uint64 {
	if t.err != nil {
		return 0
	}
	var n uint64
	if n, t.err = t.c.length(what); t.err != nil {
		return 0
	}
	t.buf = appendLength(t.buf[:0], n)
	t.out(t.buf)
	return n
}

func (t *tail) bytes(n int, what string) {
	if t.err != nil {
		return
	}
	var p []byte
	if p, t.err = t.c.take(n, what); t.err == nil {
		t.out(p)
	}
}

func (t *tail) text(what string, scratch *[]byte) {
	if t.err != nil {
		return
	}
	var s Text
	if s, t.err = t.c.text(what, scratch); t.err != nil {
		return
	}
	t.buf = appendLength(t.buf[:0], uint64(s.Len()))
	if t.out(t.buf); t.err == nil && !t.quiet {
		_, t.err = s.WriteTo(t.w)
	}
}
