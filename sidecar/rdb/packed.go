package rdb

import "encoding/binary"

// item is one element of a ziplist or listpack: a text or a number.
type item struct {
	text  Text
	num   int64
	isNum bool
}

// asText gives a number as the text that it stands for.
func (i *item) asText(scratch *[]byte) Text {
	if i.isNum {
		return number(i.num, scratch)
	}
	return i.text
}

// packed walks over a ziplist (ziplist.c, "ZIPLIST OVERALL LAYOUT") or a
// listpack (listpack.c).
type packed struct {
	c   *cursor
	zip bool
}

const packedEnd = 0xff

// listpack begins a walk. The header has the number of bytes and the number
// of elements, of which the latter may be unknown.
func listpack(c *cursor) (packed, error) {
	return packed{c: c}, header(c, 6, "a listpack")
}

// ziplist begins a walk over the older form, whose header also has the offset
// of the last element.
func ziplist(c *cursor) (packed, error) {
	return packed{c: c, zip: true}, header(c, 10, "a ziplist")
}

func header(c *cursor, n int, what string) error {
	size := c.left()
	p, err := c.take(n, what)
	if err != nil {
		return err
	}
	if int64(binary.LittleEndian.Uint32(p)) != size {
		return c.bad("%s of %d bytes says that it has %d", what, size, binary.LittleEndian.Uint32(p))
	}
	return nil
}

// next reads an element; ok is false at the end.
func (p packed) next(scratch *[]byte) (i item, ok bool, err error) {
	if p.zip {
		return p.nextZip(scratch)
	}
	from := p.c.offset()
	b, err := p.c.byte("a listpack")
	if err != nil {
		return item{}, false, err
	}
	switch {
	case b == packedEnd:
		return item{}, false, p.ended()
	case b&0x80 == 0:
		i = item{isNum: true, num: int64(b)}
	case b&0xc0 == 0x80:
		i.text, err = p.c.raw(int64(b&0x3f), "an element", scratch)
	case b&0xe0 == 0xc0:
		var low byte
		low, err = p.c.byte("an element")
		n := int64(b&0x1f)<<8 | int64(low)
		i = item{isNum: true, num: n << 51 >> 51} // 13 bits, signed
	case b&0xf0 == 0xe0:
		var low byte
		if low, err = p.c.byte("an element"); err == nil {
			i.text, err = p.c.raw(int64(b&0x0f)<<8|int64(low), "an element", scratch)
		}
	default:
		i, err = p.wide(b, scratch)
	}
	if err == nil {
		err = p.back(p.c.offset() - from)
	}
	return i, err == nil, err
}

// wide reads the listpack encodings of a whole first byte.
func (p packed) wide(b byte, scratch *[]byte) (i item, err error) {
	var size int
	switch b {
	case 0xf0:
		head, err := p.c.take(4, "an element")
		if err != nil {
			return i, err
		}
		i.text, err = p.c.raw(int64(binary.LittleEndian.Uint32(head)), "an element", scratch)
		return i, err
	case 0xf1, 0xf2, 0xf3:
		size = int(b) - 0xf1 + 2
	case 0xf4:
		size = 8
	default:
		return i, p.c.bad("element encoding 0x%02x in a listpack", b)
	}
	n, err := p.c.take(size, "an element")
	if err != nil {
		return i, err
	}
	return item{isNum: true, num: littleEndian(n)}, nil
}

// back reads the length of an element that a walk backwards would use, and
// requires it to be right (lpEncodeBacklen).
func (p packed) back(size int64) error {
	n := 5
	for i, limit := range []int64{128, 16383, 2097151, 268435455} {
		if size < limit {
			n = i + 1
			break
		}
	}
	tail, err := p.c.take(n, "an element")
	if err != nil {
		return err
	}
	var v int64
	for _, b := range tail {
		v = v<<7 | int64(b&0x7f)
	}
	if v != size {
		return p.c.bad("an element of %d bytes says that it has %d", size, v)
	}
	return nil
}

// ended requires that nothing follows the end.
func (p packed) ended() error {
	if n := p.c.left(); n != 0 {
		return p.c.bad("%d bytes follow its end", n)
	}
	return nil
}

func (p packed) nextZip(scratch *[]byte) (i item, ok bool, err error) {
	b, err := p.c.byte("a ziplist") // the length of the element before
	if err != nil {
		return i, false, err
	}
	if b == packedEnd {
		return i, false, p.ended()
	}
	if b == 0xfe {
		if _, err := p.c.take(4, "an element"); err != nil {
			return i, false, err
		}
	}
	if b, err = p.c.byte("an element"); err != nil {
		return i, false, err
	}
	switch b >> 6 {
	case 0:
		i.text, err = p.c.raw(int64(b&0x3f), "an element", scratch)
	case 1:
		var low byte
		if low, err = p.c.byte("an element"); err == nil {
			i.text, err = p.c.raw(int64(b&0x3f)<<8|int64(low), "an element", scratch)
		}
	case 2:
		var head []byte
		if head, err = p.c.take(4, "an element"); err == nil {
			i.text, err = p.c.raw(int64(binary.BigEndian.Uint32(head)), "an element", scratch)
		}
	default:
		i, err = p.zipNumber(b)
	}
	return i, err == nil, err
}

func (p packed) zipNumber(b byte) (item, error) {
	var size int
	switch b {
	case 0xc0:
		size = 2
	case 0xd0:
		size = 4
	case 0xe0:
		size = 8
	case 0xf0:
		size = 3
	case 0xfe:
		size = 1
	default:
		if b >= 0xf1 && b <= 0xfd {
			return item{isNum: true, num: int64(b&0x0f) - 1}, nil
		}
		return item{}, p.c.bad("element encoding 0x%02x in a ziplist", b)
	}
	n, err := p.c.take(size, "an element")
	if err != nil {
		return item{}, err
	}
	return item{isNum: true, num: littleEndian(n)}, nil
}

// integer reads an element that has to be a number.
func (p packed) integer(what string, scratch *[]byte) (int64, error) {
	i, ok, err := p.next(scratch)
	if err != nil {
		return 0, err
	}
	if !ok || !i.isNum {
		return 0, p.c.bad("%s is not a number", what)
	}
	return i.num, nil
}
