package rdb

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/scratch"
)

// Element is one part of a value. It is valid until the next one is read.
type Element struct {
	// Name is the string itself, an element of a list, a member of a set or
	// sorted set, or the field of a hash.
	Name   Text
	Value  Text    // of a field
	Score  float64 // of a member of a sorted set; never NaN
	Expire int64   // of a field, in Unix milliseconds; 0 for none
}

// Decoder reads a value element by element, in memory of at most
// DecodeMemory. It reads from where the record keeps the value, and any
// number of times.
type Decoder struct {
	typ  byte
	top  func() *cursor
	dir  string
	raw  []byte // the value, when it is in memory
	size int64

	el                  Element
	name, value, number []byte // scratch
	blobBuf             []byte
	tmp                 *os.File // an unpacked blob
}

// NewDecoder returns a decoder of a record's value. Large compressed parts
// are unpacked into files of dir.
func NewDecoder(r *Record, dir string) *Decoder {
	d := &Decoder{typ: r.Type, dir: dir, raw: r.Value, size: int64(len(r.Value))}
	d.top = func() *cursor { return memory(r.Value) }
	if b := r.Big; b != nil {
		d.raw, d.size = nil, b.size
		d.top = func() *cursor { return section(b.f, 0, b.size) }
	}
	return d
}

// Close removes the temporary file.
func (d *Decoder) Close() { d.closeTmp() }

func (d *Decoder) closeTmp() {
	if d.tmp != nil {
		_ = d.tmp.Close() // it has no name any more
		d.tmp = nil
	}
}

// Type is the value type of the record.
func (d *Decoder) Type() byte { return d.typ }

// Elements calls f for each element of a string, list, set, sorted set or
// hash, in the order of the value.
func (d *Decoder) Elements(f func(*Element) error) error {
	c := d.top()
	if err := d.elements(c, f); err != nil {
		return err
	}
	return done(c)
}

// done requires that everything was read.
func done(c *cursor) error {
	if n := c.left(); n != 0 {
		return c.bad("%d bytes follow its end", n)
	}
	return nil
}

func (d *Decoder) elements(c *cursor, f func(*Element) error) error {
	switch d.typ {
	case TypeString:
		return d.oneString(c, f)
	case TypeList, TypeSet:
		return d.each(c, 1, f)
	case TypeHash:
		return d.each(c, 2, f)
	case TypeZSet, TypeZSet2:
		return d.sorted(c, f)
	case TypeHashMetadata:
		return d.hashMetadata(c, f)
	case typeHash2Valkey:
		return d.hash2(c, f)
	case TypeListQuicklist, TypeListQuicklist2:
		return d.quicklist(c, f)
	case TypeSetIntset:
		return d.inBlob(c, f, d.intset)
	case TypeHashZipmap:
		return d.inBlob(c, f, d.zipmap)
	case TypeListZiplist, TypeZSetZiplist, TypeHashZiplist:
		return d.inBlob(c, f, func(c *cursor, f func(*Element) error) error { return d.inPacked(c, f, ziplist) })
	case TypeHashListpack, TypeZSetListpack, TypeSetListpack:
		return d.inBlob(c, f, func(c *cursor, f func(*Element) error) error { return d.inPacked(c, f, listpack) })
	case TypeHashListpackEx:
		if _, err := c.take(8, "the nearest field expiry"); err != nil {
			return err
		}
		return d.inBlob(c, f, func(c *cursor, f func(*Element) error) error { return d.inPacked(c, f, listpack) })
	}
	return fmt.Errorf("a value of type %s (%d) has no elements", TypeName(d.typ), d.typ)
}

func (d *Decoder) oneString(c *cursor, f func(*Element) error) (err error) {
	d.el = Element{}
	if d.el.Name, err = c.text("the string", &d.name); err != nil {
		return err
	}
	return f(&d.el)
}

// each reads strings, one or two per element.
func (d *Decoder) each(c *cursor, per int, f func(*Element) error) error {
	n, err := c.length("the number of elements")
	if err != nil {
		return err
	}
	for range n {
		d.el = Element{}
		if d.el.Name, err = c.text("an element", &d.name); err != nil {
			return err
		}
		if per == 2 {
			if d.el.Value, err = c.text("an element", &d.value); err != nil {
				return err
			}
		}
		if err := f(&d.el); err != nil {
			return err
		}
	}
	return nil
}

// sorted reads members with scores: doubles in binary, or before RDB version
// 8 as texts (rdb.c, rdbLoadDoubleValue).
func (d *Decoder) sorted(c *cursor, f func(*Element) error) error {
	n, err := c.length("the number of members")
	if err != nil {
		return err
	}
	for range n {
		d.el = Element{}
		if d.el.Name, err = c.text("a member", &d.name); err != nil {
			return err
		}
		if d.el.Score, err = d.score(c); err != nil {
			return err
		}
		if err := f(&d.el); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) score(c *cursor) (float64, error) {
	if d.typ == TypeZSet2 {
		p, err := c.take(8, "a score")
		if err != nil {
			return 0, err
		}
		return notNaN(c, math.Float64frombits(binary.LittleEndian.Uint64(p)))
	}
	n, err := c.byte("a score")
	if err != nil {
		return 0, err
	}
	switch n {
	case 255:
		return math.Inf(-1), nil
	case 254:
		return math.Inf(1), nil
	case 253:
		return notNaN(c, math.NaN())
	}
	p, err := c.take(int(n), "a score")
	if err != nil {
		return 0, err
	}
	return parseScore(c, p)
}

func parseScore(c *cursor, p []byte) (float64, error) {
	v, err := strconv.ParseFloat(string(p), 64)
	if err != nil {
		return 0, c.bad("a score is not a number")
	}
	return notNaN(c, v)
}

func notNaN(c *cursor, v float64) (float64, error) {
	if math.IsNaN(v) {
		return 0, c.bad("a score is not a number")
	}
	return v, nil
}

// hashMetadata reads Redis's hash with field TTLs: the least of them, then
// for each field 0 or its TTL less the least, and 1 (rdb.c, rdbSaveObject).
func (d *Decoder) hashMetadata(c *cursor, f func(*Element) error) error {
	p, err := c.take(8, "the nearest field expiry")
	if err != nil {
		return err
	}
	least := binary.LittleEndian.Uint64(p)
	n, err := c.length("the number of fields")
	if err != nil {
		return err
	}
	for range n {
		ttl, err := c.length("a field's expiry")
		if err != nil {
			return err
		}
		d.el = Element{}
		if ttl != 0 {
			if d.el.Expire, err = fieldExpire(c, least+ttl-1); err != nil {
				return err
			}
		}
		if d.el.Name, err = c.text("a field", &d.name); err != nil {
			return err
		}
		if d.el.Value, err = c.text("a field", &d.value); err != nil {
			return err
		}
		if err := f(&d.el); err != nil {
			return err
		}
	}
	return nil
}

// maxFieldExpire is the last deadline that a field may have (ebuckets.h,
// EB_EXPIRE_TIME_MAX: 48 bits).
const maxFieldExpire = 1<<48 - 2

func fieldExpire(c *cursor, at uint64) (int64, error) {
	if at == 0 || at > maxFieldExpire {
		return 0, c.bad("the expiry of a field is out of range")
	}
	return int64(at), nil
}

// hash2 reads Valkey's hash with field TTLs: field, value, and the deadline,
// -1 for none (rdb.c of Valkey 9, rdbSaveObject).
func (d *Decoder) hash2(c *cursor, f func(*Element) error) error {
	n, err := c.length("the number of fields")
	if err != nil {
		return err
	}
	for range n {
		d.el = Element{}
		if d.el.Name, err = c.text("a field", &d.name); err != nil {
			return err
		}
		if d.el.Value, err = c.text("a field", &d.value); err != nil {
			return err
		}
		p, err := c.take(8, "a field's expiry")
		if err != nil {
			return err
		}
		if at := int64(binary.LittleEndian.Uint64(p)); at != -1 {
			if d.el.Expire, err = fieldExpire(c, uint64(at)); err != nil {
				return err
			}
		}
		if err := f(&d.el); err != nil {
			return err
		}
	}
	return nil
}

// inBlob reads a string that holds elements in a form of its own.
func (d *Decoder) inBlob(c *cursor, f func(*Element) error, read func(*cursor, func(*Element) error) error) error {
	b, err := d.blob(c)
	if err != nil {
		return err
	}
	return read(b, f)
}

// blob returns a cursor over the content of a string, valid until the next
// blob.
func (d *Decoder) blob(c *cursor) (*cursor, error) {
	const what = "a packed part"
	s, err := c.stringHead(what)
	if err != nil {
		return nil, err
	}
	if !s.whole && s.kind != encLZF {
		return nil, c.bad("%s is a number", what)
	}
	if s.plain > math.MaxUint32 {
		return nil, c.bad("%s of %d bytes", what, s.plain)
	}
	at := c.offset()
	switch {
	case s.whole && c.src == nil:
		p, err := c.take(int(s.size), what)
		if err != nil {
			return nil, err
		}
		return memory(p), nil
	case s.whole && s.size > inlineBlob:
		return section(c.src, at, at+s.size), c.skip(s.size, what)
	case s.plain > inlineBlob || s.size > inlineBlob:
		in := c.at(at)
		in.cut(at + s.size)
		if err := c.skip(s.size, what); err != nil {
			return nil, err
		}
		return d.unpack(&in, s.plain)
	}
	p, err := c.take2(int(s.size), what)
	if err != nil {
		return nil, err
	}
	if s.whole {
		d.blobBuf = append(d.blobBuf[:0], p...)
		return memory(d.blobBuf), nil
	}
	out, ok := lzfDecompress(d.blobBuf[:0], p, int(s.plain))
	if !ok {
		return nil, c.bad("the compressed form of %s is damaged", what)
	}
	d.blobBuf = out
	return memory(out), nil
}

// unpack puts the plain form of a compressed blob into a file.
func (d *Decoder) unpack(c *cursor, n int64) (*cursor, error) {
	d.closeTmp()
	f, err := largeValue(d.dir)
	if err != nil {
		return nil, err
	}
	d.tmp = f
	if err := lzfCopy(struct{ io.Writer }{f}, c, n); err != nil {
		return nil, err
	}
	return section(f, 0, n), nil
}

// largeValue makes a file for what is too large to be held.
func largeValue(dir string) (*os.File, error) {
	f, err := scratch.File(dir, "value-*")
	if err != nil {
		return nil, fmt.Errorf("keeping a large value: %w", err)
	}
	return f, nil
}
