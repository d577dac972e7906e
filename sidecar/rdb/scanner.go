// Package rdb reads the snapshot of a source as it arrives and hands on each
// value as the raw bytes that RESTORE takes. Nothing is decoded: the scanner
// only knows how long each value is. Format: rdb.c and rdb.h of Redis 7.0, and
// the value types that 7.2, 7.4, 8 and Valkey 9 added.
package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// FormatError says that the snapshot is not what the format allows.
type FormatError struct {
	Offset int64  // in the snapshot
	Reason string // without any value
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("snapshot is corrupt at offset %d: %s", e.Offset, e.Reason)
}

// Kind of a Record.
type Kind uint8

const (
	KindKey      Kind = iota // a key with its value
	KindFunction             // a function library
	KindAux                  // an AUX field: Key is its name, Value its text
	KindResize               // Sizes of the DB that begins: Count keys
	KindEnd                  // end of the snapshot, checksum verified
)

// Record is what Next found. Its slices are valid until the next call.
type Record struct {
	Kind   Kind
	DB     int
	Key    []byte
	Type   byte   // value type, for KindKey
	Value  []byte // KindKey: the raw value without the type byte; else the text
	Expire int64  // Unix milliseconds, 0 for none
	Idle   int64  // seconds since last access, -1 when unknown (LRU)
	Freq   int    // LFU counter, -1 when unknown
	Count  int64  // KindResize
	// Big is set instead of Value when the value is larger than the limit of
	// SpillAbove. It is valid until the next call.
	Big *BigValue
}

// Scanner reads one snapshot.
type Scanner struct {
	w       *window.Window
	start   int64
	version int // 80 and more for Valkey
	valkey  bool
	db      int
	crc     uint64
	big     *BigValue
	dir     string
	key     []byte // kept apart, because reading the value may move the window
	scratch []byte
	typ     byte // of the value being read
}

// NewScanner reads the header from w.
func NewScanner(w *window.Window) (*Scanner, error) {
	s := &Scanner{w: w, start: w.Offset()}
	w.StartSum(func(p []byte) { s.crc = CRC64(s.crc, p) })
	head, err := w.Next(9)
	if err != nil {
		return nil, s.wrap(err, "reading the header")
	}
	digits := head[5:]
	switch {
	case string(head[:5]) == "REDIS":
	case string(head[:6]) == "VALKEY":
		s.valkey, digits = true, head[6:]
	default:
		return nil, s.bad("the magic is neither REDIS nor VALKEY")
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return nil, s.bad("the version is not a number")
		}
		s.version = s.version*10 + int(c-'0')
	}
	if max := 12; !s.valkey && (s.version < 1 || s.version > max) {
		return nil, fmt.Errorf("the source's RDB version %d is not known to this release (known: 1 to %d, Valkey 80)", s.version, max)
	}
	if s.valkey && s.version != ValkeyVersion {
		return nil, fmt.Errorf("the source's Valkey RDB version %d is not known to this release (known: %d)", s.version, ValkeyVersion)
	}
	return s, nil
}

// Version is the RDB version of the snapshot; 80 and more are Valkey's.
func (s *Scanner) Version() int { return s.version }

// Read is the number of snapshot bytes consumed so far.
func (s *Scanner) Read() int64 { return s.w.Offset() - s.start }

func (s *Scanner) bad(format string, args ...any) error {
	return &FormatError{Offset: s.Read(), Reason: fmt.Sprintf(format, args...)}
}

func (s *Scanner) wrap(err error, doing string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("snapshot ends at offset %d while %s: %w", s.Read(), doing, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s at offset %d of the snapshot: %w", doing, s.Read(), err)
}

// Next reads the next record into r.
func (s *Scanner) Next(r *Record) error {
	*r = Record{Idle: -1, Freq: -1}
	s.w.Unmark()
	if s.big != nil {
		s.big.close()
		s.big = nil
	}
	for {
		op, err := s.w.Byte()
		if err != nil {
			return s.wrap(err, "reading an opcode")
		}
		switch op {
		case opExpireMillis:
			p, err := s.w.Next(8)
			if err != nil {
				return s.wrap(err, "reading an expiry")
			}
			if r.Expire = int64(binary.LittleEndian.Uint64(p)); r.Expire <= 0 {
				// An expiry of 0 or before 1970 has passed; it must not turn
				// into "no expiry".
				r.Expire = 1
			}
		case opExpire:
			p, err := s.w.Next(4)
			if err != nil {
				return s.wrap(err, "reading an expiry")
			}
			if r.Expire = int64(int32(binary.LittleEndian.Uint32(p))) * 1000; r.Expire <= 0 {
				r.Expire = 1
			}
		case opFreq:
			b, err := s.w.Byte()
			if err != nil {
				return s.wrap(err, "reading an LFU counter")
			}
			r.Freq = int(b)
		case opIdle:
			n, err := s.length("an idle time")
			if err != nil {
				return err
			}
			r.Idle = int64(n)
		case opSelectDB:
			n, err := s.length("a database number")
			if err != nil {
				return err
			}
			if n > 1<<20 {
				return s.bad("database number %d", n)
			}
			s.db = int(n)
		case opResizeDB:
			n, err := s.length("a database size")
			if err != nil {
				return err
			}
			if _, err := s.length("an expires size"); err != nil {
				return err
			}
			r.Kind, r.DB, r.Count = KindResize, s.db, int64(n)
			return nil
		case opSlotInfo:
			if s.valkey && s.version >= ValkeyVersion || s.version >= 12 {
				for range 3 {
					if _, err := s.length("slot information"); err != nil {
						return err
					}
				}
				continue
			}
			return s.bad("opcode %d in RDB version %d", op, s.version)
		case opAux:
			return s.aux(r)
		case opFunction2:
			r.Kind = KindFunction
			r.Value, err = s.text("a function library")
			return err
		case opModuleAux:
			return s.moduleAux()
		case opFunctionPre:
			return s.bad("a function of a 7.0 release candidate (opcode %d), which no release can load", op)
		case opEOF:
			return s.finish(r)
		default:
			return s.value(r, op)
		}
	}
}

func (s *Scanner) aux(r *Record) error {
	name, err := s.text("the name of an AUX field")
	if err != nil {
		return err
	}
	s.key = append(s.key[:0], name...)
	text, err := s.text("an AUX field")
	if err != nil {
		return err
	}
	r.Kind, r.Key, r.Value = KindAux, s.key, text
	return nil
}

// moduleAux refuses: module data outside of keys cannot be carried over by
// any command, and leaving it out would be silent loss.
func (s *Scanner) moduleAux() error {
	id, err := s.length("a module id")
	if err != nil {
		return err
	}
	return fmt.Errorf("the source holds data of the module %q outside of keys, which cannot be replicated", moduleName(id))
}

// moduleName decodes the 9 characters of a module type id (module.c,
// moduleTypeNameByID).
func moduleName(id uint64) string {
	const set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var name [9]byte
	id >>= 10
	for i := len(name) - 1; i >= 0; i-- {
		name[i] = set[id&63]
		id >>= 6
	}
	return string(name[:])
}

func (s *Scanner) finish(r *Record) error {
	s.w.StopSum()
	r.Kind = KindEnd
	if s.version < 5 {
		return nil
	}
	p, err := s.w.Next(8)
	if err != nil {
		return s.wrap(err, "reading the checksum")
	}
	// 0 means that the source writes none (rdbchecksum no).
	if want := binary.LittleEndian.Uint64(p); want != 0 && want != s.crc {
		return s.bad("the checksum is %016x, the bytes have %016x", want, s.crc)
	}
	return nil
}

func (s *Scanner) value(r *Record, typ byte) error {
	if minVersion[typ] == 0 || typ == typeHash2Valkey && !s.valkey ||
		s.valkey && (typ == TypeHashMetadata || typ == TypeHashListpackEx) {
		return s.bad("value type or opcode %d is not known in %s RDB version %d", typ, s.producer(), s.version)
	}
	key, err := s.text("a key")
	if err != nil {
		return err
	}
	s.key = append(s.key[:0], key...)
	s.w.Mark()
	s.typ = typ
	if err := s.skipValue(typ); err != nil {
		return fmt.Errorf("key %q (%s): %w", printable(s.key), TypeName(typ), err)
	}
	r.Kind, r.DB, r.Key, r.Type, r.Value = KindKey, s.db, s.key, typ, s.w.Marked()
	if s.w.Spilled() > 0 {
		if err := s.big.write(r.Value); err != nil {
			return err
		}
		r.Big, r.Value = s.big, nil
	}
	return nil
}

func (s *Scanner) producer() string {
	if s.valkey {
		return "Valkey"
	}
	return "Redis"
}

// printable shortens a key for an error text; %q escapes it.
func printable(key []byte) []byte {
	if len(key) > 100 {
		return append(append([]byte(nil), key[:100]...), "..."...)
	}
	return key
}
