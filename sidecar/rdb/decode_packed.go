package rdb

import "encoding/binary"

// quicklist reads a list of nodes, each a ziplist, or from 7.0 on a listpack
// or one large element as it is.
func (d *Decoder) quicklist(c *cursor, f func(*Element) error) error {
	n, err := c.length("the number of list nodes")
	if err != nil {
		return err
	}
	begin := ziplist
	if d.typ == TypeListQuicklist2 {
		begin = listpack
	}
	for range n {
		if d.typ == TypeListQuicklist2 {
			container, err := c.length("a list node's container")
			if err != nil {
				return err
			}
			switch container {
			case 1: // plain
				if err := d.oneString(c, f); err != nil {
					return err
				}
				continue
			case 2: // packed
			default:
				return c.bad("list node container %d", container)
			}
		}
		if err := d.inBlob(c, f, func(c *cursor, f func(*Element) error) error { return d.inPacked(c, f, begin) }); err != nil {
			return err
		}
	}
	return nil
}

// inPacked reads the elements of a ziplist or listpack; hashes and sorted
// sets have two items per element, hashes with field TTLs three.
func (d *Decoder) inPacked(c *cursor, f func(*Element) error, begin func(*cursor) (packed, error)) error {
	p, err := begin(c)
	if err != nil {
		return err
	}
	for {
		d.el = Element{}
		i, ok, err := p.next(&d.name)
		if err != nil || !ok {
			return err
		}
		d.el.Name = i.asText(&d.name)
		switch d.typ {
		case TypeHashZiplist, TypeHashListpack, TypeHashListpackEx:
			err = d.packedValue(p)
		case TypeZSetZiplist, TypeZSetListpack:
			err = d.packedScore(p)
		}
		if err != nil {
			return err
		}
		if err := f(&d.el); err != nil {
			return err
		}
	}
}

func (d *Decoder) packedValue(p packed) error {
	i, ok, err := p.next(&d.value)
	if err != nil {
		return err
	}
	if !ok {
		return p.c.bad("the last field has no value")
	}
	d.el.Value = i.asText(&d.value)
	if d.typ != TypeHashListpackEx {
		return nil
	}
	at, err := p.integer("the expiry of a field", &d.number)
	if err != nil || at == 0 {
		return err
	}
	d.el.Expire, err = fieldExpire(p.c, uint64(at))
	return err
}

func (d *Decoder) packedScore(p packed) error {
	i, ok, err := p.next(&d.number)
	if err != nil {
		return err
	}
	if !ok {
		return p.c.bad("the last member has no score")
	}
	if i.isNum {
		d.el.Score = float64(i.num)
		return nil
	}
	text, ok := i.text.Bytes()
	if !ok || len(text) > 128 {
		return p.c.bad("a score is not a number")
	}
	d.el.Score, err = parseScore(p.c, text)
	return err
}

// intset is intset.h: the width of the numbers, how many, and the numbers.
func (d *Decoder) intset(c *cursor, f func(*Element) error) error {
	p, err := c.take(8, "an intset")
	if err != nil {
		return err
	}
	width, n := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
	if width != 2 && width != 4 && width != 8 {
		return c.bad("an intset of numbers of %d bytes", width)
	}
	for range n {
		p, err := c.take(int(width), "an intset")
		if err != nil {
			return err
		}
		d.el = Element{Name: number(littleEndian(p), &d.name)}
		if err := f(&d.el); err != nil {
			return err
		}
	}
	return done(c)
}

// zipmap is the hash of servers before 2.6 (zipmap.c): pairs, each text with
// its length, and after that of a value the number of bytes left free.
func (d *Decoder) zipmap(c *cursor, f func(*Element) error) error {
	if _, err := c.byte("a zipmap"); err != nil { // number of pairs, if below 254
		return err
	}
	for {
		n, end, err := zipmapLength(c)
		if err != nil {
			return err
		}
		if end {
			return done(c)
		}
		d.el = Element{}
		if d.el.Name, err = c.raw(n, "a field", &d.name); err != nil {
			return err
		}
		if n, end, err = zipmapLength(c); err != nil {
			return err
		}
		if end {
			return c.bad("the last field has no value")
		}
		free, err := c.byte("a field")
		if err != nil {
			return err
		}
		if d.el.Value, err = c.raw(n, "a field", &d.value); err != nil {
			return err
		}
		if err := c.skip(int64(free), "a field"); err != nil {
			return err
		}
		if err := f(&d.el); err != nil {
			return err
		}
	}
}

func zipmapLength(c *cursor) (n int64, end bool, err error) {
	b, err := c.byte("a zipmap")
	if err != nil {
		return 0, false, err
	}
	switch b {
	case 0xff:
		return 0, true, nil
	case 0xfe:
		p, err := c.take(4, "a zipmap")
		if err != nil {
			return 0, false, err
		}
		return int64(binary.LittleEndian.Uint32(p)), false, nil
	}
	return int64(b), false, nil
}
