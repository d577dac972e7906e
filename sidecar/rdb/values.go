package rdb

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// Length encodings (rdb.h): the two upper bits of the first byte.
const (
	len6Bit   = 0
	len14Bit  = 1
	len32or64 = 2 // 0x80: 32 bits big endian, 0x81: 64 bits
	lenEnc    = 3 // a string in a special encoding
)

// Special encodings of a string.
const (
	encInt8  = 0
	encInt16 = 1
	encInt32 = 2
	encLZF   = 3
)

// lengthOrEncoding reads a length. With special set, n is the encoding.
func (s *Scanner) lengthOrEncoding(what string) (n uint64, special bool, err error) {
	b, err := s.w.Byte()
	if err != nil {
		return 0, false, s.wrap(err, "reading the length of "+what)
	}
	switch b >> 6 {
	case len6Bit:
		return uint64(b & 0x3f), false, nil
	case len14Bit:
		next, err := s.w.Byte()
		if err != nil {
			return 0, false, s.wrap(err, "reading the length of "+what)
		}
		return uint64(b&0x3f)<<8 | uint64(next), false, nil
	case lenEnc:
		return uint64(b & 0x3f), true, nil
	}
	switch b {
	case 0x80:
		p, err := s.w.Next(4)
		if err != nil {
			return 0, false, s.wrap(err, "reading the length of "+what)
		}
		return uint64(binary.BigEndian.Uint32(p)), false, nil
	case 0x81:
		p, err := s.w.Next(8)
		if err != nil {
			return 0, false, s.wrap(err, "reading the length of "+what)
		}
		return binary.BigEndian.Uint64(p), false, nil
	}
	return 0, false, s.bad("length byte 0x%02x of %s", b, what)
}

func (s *Scanner) length(what string) (uint64, error) {
	n, special, err := s.lengthOrEncoding(what)
	if err == nil && special {
		return 0, s.bad("%s has a string encoding where a number is due", what)
	}
	return n, err
}

// skipString passes over one string in any encoding.
func (s *Scanner) skipString(what string) error {
	n, special, err := s.lengthOrEncoding(what)
	if err != nil {
		return err
	}
	if special {
		switch n {
		case encInt8, encInt16, encInt32:
			n = 1 << n
		case encLZF:
			if n, err = s.length("a compressed string"); err != nil {
				return err
			}
			if _, err = s.length("a compressed string"); err != nil {
				return err
			}
		default:
			return s.bad("string encoding %d of %s", n, what)
		}
	}
	if n > math.MaxInt64/2 {
		return s.bad("%s of %d bytes", what, n)
	}
	if err := s.w.Skip(int64(n)); err != nil {
		return s.wrap(err, "reading "+what)
	}
	return nil
}

// text reads one string in plain form. The slice is valid until the next read.
func (s *Scanner) text(what string) ([]byte, error) {
	n, special, err := s.lengthOrEncoding(what)
	if err != nil {
		return nil, err
	}
	if !special {
		if n > math.MaxInt32 {
			return nil, s.bad("%s of %d bytes", what, n)
		}
		p, err := s.w.Next(int(n))
		if err != nil {
			return nil, s.wrap(err, "reading "+what)
		}
		return p, nil
	}
	var v int64
	switch n {
	case encInt8, encInt16, encInt32:
		p, err := s.w.Next(1 << n)
		if err != nil {
			return nil, s.wrap(err, "reading "+what)
		}
		switch n {
		case encInt8:
			v = int64(int8(p[0]))
		case encInt16:
			v = int64(int16(binary.LittleEndian.Uint16(p)))
		default:
			v = int64(int32(binary.LittleEndian.Uint32(p)))
		}
		s.scratch = strconv.AppendInt(s.scratch[:0], v, 10)
		return s.scratch, nil
	case encLZF:
		return s.lzfText(what)
	}
	return nil, s.bad("string encoding %d of %s", n, what)
}

func (s *Scanner) lzfText(what string) ([]byte, error) {
	packed, err := s.length(what)
	if err != nil {
		return nil, err
	}
	plain, err := s.length(what)
	if err != nil {
		return nil, err
	}
	// LZF shrinks a run of at most 264 bytes to 3, so no honest text is
	// larger than that ratio says.
	if packed > math.MaxInt32 || plain > min(packed*264, window.DefaultMax) {
		return nil, s.bad("%s of %d bytes compressed to %d", what, plain, packed)
	}
	p, err := s.w.Next(int(packed))
	if err != nil {
		return nil, s.wrap(err, "reading "+what)
	}
	out, ok := lzfDecompress(s.scratch[:0], p, int(plain))
	if !ok {
		return nil, s.bad("the compressed form of %s is damaged", what)
	}
	s.scratch = out
	return out, nil
}

// lzfDecompress appends the plain form of p, which must have n bytes
// (lzf_d.c: a control byte below 32 starts a literal run, else a back
// reference of 3 or more bits of length and 13 bits of distance).
func lzfDecompress(dst, p []byte, n int) ([]byte, bool) {
	if cap(dst) < n && n < 64<<10 { // what is announced is not trusted beyond that
		dst = make([]byte, 0, n)
	}
	for i := 0; i < len(p); {
		ctrl := int(p[i])
		i++
		if ctrl < 32 {
			if i+ctrl+1 > len(p) || len(dst)+ctrl+1 > n {
				return nil, false
			}
			dst = append(dst, p[i:i+ctrl+1]...)
			i += ctrl + 1
			continue
		}
		size := ctrl >> 5
		if size == 7 {
			if i >= len(p) {
				return nil, false
			}
			size += int(p[i])
			i++
		}
		if i >= len(p) {
			return nil, false
		}
		from := len(dst) - (ctrl&0x1f)<<8 - int(p[i]) - 1
		i++
		size += 2
		if from < 0 || len(dst)+size > n {
			return nil, false
		}
		for size > 0 { // the ranges may overlap: what is there is repeated
			k := min(size, len(dst)-from)
			dst = append(dst, dst[from:from+k]...)
			size -= k
		}
	}
	return dst, len(dst) == n
}

// skipStrings passes over n strings, times per repetition.
func (s *Scanner) skipStrings(what string, per uint64) error {
	n, err := s.length("the number of elements of " + what)
	if err != nil {
		return err
	}
	if n > math.MaxInt64/8 {
		return s.bad("%s of %d elements", what, n)
	}
	for range n * per {
		if err := s.skipString(what); err != nil {
			return err
		}
	}
	return nil
}

// skipValue passes over one value of the given type.
func (s *Scanner) skipValue(typ byte) error {
	switch typ {
	case TypeString, TypeHashZipmap, TypeListZiplist, TypeSetIntset, TypeZSetZiplist,
		TypeHashZiplist, TypeHashListpack, TypeZSetListpack, TypeSetListpack:
		return s.skipString("the value")
	case TypeList, TypeSet, TypeListQuicklist:
		return s.skipStrings("the value", 1)
	case TypeHash:
		return s.skipStrings("the value", 2)
	case TypeZSet, TypeZSet2:
		return s.skipZSet(typ)
	case TypeListQuicklist2:
		return s.skipQuicklist2()
	case TypeModule2:
		return s.skipModule2()
	case TypeStreamListpacks, TypeStreamListpacks2, TypeStreamListpacks3:
		return s.skipStream(typ)
	case TypeHashMetadata:
		return s.skipHashMetadata()
	case TypeHashListpackEx:
		if _, err := s.next(8, "the nearest field expiry"); err != nil {
			return err
		}
		return s.skipString("the value")
	case typeHash2Valkey:
		return s.skipHash2()
	}
	return s.bad("value type %d has no reader", typ)
}

func (s *Scanner) next(n int, what string) ([]byte, error) {
	p, err := s.w.Next(n)
	if err != nil {
		return nil, s.wrap(err, "reading "+what)
	}
	return p, nil
}

func (s *Scanner) skipZSet(typ byte) error {
	n, err := s.length("the number of members")
	if err != nil {
		return err
	}
	for range n {
		if err := s.skipString("a member"); err != nil {
			return err
		}
		score := 8
		if typ == TypeZSet {
			b, err := s.next(1, "a score")
			if err != nil {
				return err
			}
			if score = int(b[0]); score >= 253 { // nan, +inf, -inf
				continue
			}
		}
		if _, err := s.next(score, "a score"); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scanner) skipQuicklist2() error {
	n, err := s.length("the number of list nodes")
	if err != nil {
		return err
	}
	for range n {
		container, err := s.length("a list node's container")
		if err != nil {
			return err
		}
		if container != 1 && container != 2 { // plain, packed
			return s.bad("list node container %d", container)
		}
		if err := s.skipString("a list node"); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scanner) skipHashMetadata() error {
	if _, err := s.next(8, "the nearest field expiry"); err != nil {
		return err
	}
	n, err := s.length("the number of fields")
	if err != nil {
		return err
	}
	for range n {
		if _, err := s.length("a field's expiry"); err != nil {
			return err
		}
		for range 2 {
			if err := s.skipString("a field"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Scanner) skipHash2() error {
	n, err := s.length("the number of fields")
	if err != nil {
		return err
	}
	for range n {
		for range 2 {
			if err := s.skipString("a field"); err != nil {
				return err
			}
		}
		if _, err := s.next(8, "a field's expiry"); err != nil {
			return err
		}
	}
	return nil
}

// Opcodes inside a module value (rdb.h, RDB_MODULE_OPCODE_*).
const (
	modEOF    = 0
	modSInt   = 1
	modUInt   = 2
	modFloat  = 3
	modDouble = 4
	modString = 5
)

func (s *Scanner) skipModule2() error {
	if _, err := s.length("a module id"); err != nil {
		return err
	}
	for {
		op, err := s.length("a module opcode")
		if err != nil {
			return err
		}
		switch op {
		case modEOF:
			return nil
		case modSInt, modUInt:
			_, err = s.length("a module number")
		case modFloat:
			_, err = s.next(4, "a module float")
		case modDouble:
			_, err = s.next(8, "a module double")
		case modString:
			err = s.skipString("a module string")
		default:
			return s.bad("module opcode %d", op)
		}
		if err != nil {
			return err
		}
	}
}

// skipStream passes over a stream: listpacks keyed by id, then metadata,
// consumer groups, their pending entries and consumers (rdb.c,
// rdbSaveObject, OBJ_STREAM).
func (s *Scanner) skipStream(typ byte) error {
	if err := s.skipStrings("the stream's entries", 2); err != nil {
		return err
	}
	meta := 3 // length, last id
	if typ >= TypeStreamListpacks2 {
		meta = 8 // first id, maximal deleted id, entries added
	}
	for range meta {
		if _, err := s.length("stream metadata"); err != nil {
			return err
		}
	}
	groups, err := s.length("the number of groups")
	if err != nil {
		return err
	}
	for range groups {
		if err := s.skipGroup(typ); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scanner) skipGroup(typ byte) error {
	if err := s.skipString("a group's name"); err != nil {
		return err
	}
	meta := 2 // last id
	if typ >= TypeStreamListpacks2 {
		meta = 3 // entries read
	}
	for range meta {
		if _, err := s.length("group metadata"); err != nil {
			return err
		}
	}
	pending, err := s.length("the number of pending entries")
	if err != nil {
		return err
	}
	for range pending {
		if _, err := s.next(16+8, "a pending entry"); err != nil {
			return err
		}
		if _, err := s.length("a delivery count"); err != nil {
			return err
		}
	}
	consumers, err := s.length("the number of consumers")
	if err != nil {
		return err
	}
	for range consumers {
		if err := s.skipString("a consumer's name"); err != nil {
			return err
		}
		times := 8 // seen
		if typ >= TypeStreamListpacks3 {
			times = 16 // active
		}
		if _, err := s.next(times, "a consumer's times"); err != nil {
			return err
		}
		n, err := s.length("the number of a consumer's pending entries")
		if err != nil {
			return err
		}
		for range n {
			if _, err := s.next(16, "a pending entry's id"); err != nil {
				return err
			}
		}
	}
	return nil
}
