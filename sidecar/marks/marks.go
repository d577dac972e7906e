// Package marks remembers which keys a snapshot had, so that the keys of the
// target that it did not have can be found afterwards. Both are split by hash
// into parts that are kept in files, and one part after the other is compared in
// memory. Beside 6 MB for what is not written yet, that takes 32 to 64 bytes for
// each key of a part: 2 MB for 30,000,000 keys, 34 MB for 300,000,000.
package marks

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

const (
	parts    = 512
	markSize = 16
)

// mark is 128 bits of a keyed hash of a key: that two keys of one sweep share it
// is out of the question (10^9 keys: 10^-20). It is never zero.
type mark [markSize]byte

// Bits of the last byte of a mark that are not of the hash.
const (
	present = 1
	queued  = 2 // Check was told of the key
)

// Set holds the marks of one snapshot and the candidates of one sweep.
type Set struct {
	seedA, seedB maphash.Seed
	marks, keys  queue
	count        int64
	rec          []byte
}

// New returns an empty set; files are made in dir.
func New(dir string) *Set {
	return &Set{seedA: maphash.MakeSeed(), seedB: maphash.MakeSeed(), marks: queue{dir: dir, piece: 4 << 10}, keys: queue{dir: dir, piece: 8 << 10}}
}

func (s *Set) hash(db int, key []byte) (m mark) {
	mix := uint64(db) * 0x9e3779b97f4a7c15
	binary.LittleEndian.PutUint64(m[:8], maphash.Bytes(s.seedA, key)^mix)
	binary.LittleEndian.PutUint64(m[8:], maphash.Bytes(s.seedB, key)^mix)
	m[markSize-1] = m[markSize-1]&^queued | present
	return m
}

func (m *mark) part() int { return int(binary.LittleEndian.Uint16(m[:]) % parts) }

// Add marks a key as part of the snapshot.
func (s *Set) Add(db int, key []byte) error {
	m := s.hash(db, key)
	s.count++
	return s.marks.add(m.part(), m[:])
}

// Count is the number of keys marked.
func (s *Set) Count() int64 { return s.count }

// Check queues a key of the target for Stale.
func (s *Set) Check(db int, key []byte) error {
	m := s.hash(db, key)
	s.rec = append(s.rec[:0], m[:]...)
	s.rec = appendKey(s.rec, db, key)
	err := s.keys.add(m.part(), s.rec)
	if cap(s.rec) > longKey {
		s.rec = nil
	}
	return err
}

// longKey is the size in bytes above which the room for a key is given back.
const longKey = 64 << 10

// Stale calls f once with each queued key that was not marked, which is valid
// until f returns. checked is the number of queued keys, each counted once.
func (s *Set) Stale(f func(db int, key []byte) error) (checked int64, err error) {
	var seen table
	for i := range parts {
		seen.reset(int(s.marks.tails[i].all / markSize))
		err := s.marks.each(i, func(all []byte) error {
			for ; len(all) > 0; all = all[markSize:] {
				seen.add(mark(all[:markSize]))
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		err = s.keys.each(i, func(all []byte) error {
			for len(all) > 0 {
				m := mark(all[:markSize])
				db, key, rest := cutKey(all[markSize:])
				all = rest
				m[markSize-1] |= queued
				before := seen.add(m)
				if before&queued != 0 { // SCAN has given it twice, or was begun anew
					continue
				}
				checked++
				if before != 0 {
					continue
				}
				if err := f(db, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return checked, nil
}

// Close releases the files.
func (s *Set) Close() {
	s.marks.close()
	s.keys.close()
}

// table is a set of marks, used for one part after the other.
type table struct {
	slots []mark
	n     int
}

// reset empties the table and makes room for n marks.
func (t *table) reset(n int) {
	if size := 1 << bits.Len(uint(2*n+64)); size > len(t.slots) {
		t.slots = make([]mark, size)
	} else {
		clear(t.slots)
	}
	t.n = 0
}

// add puts a mark in, or its bits to the one that is there. It returns the bits
// that were there, 0 for none.
func (t *table) add(m mark) (before byte) {
	if 3*t.n >= 2*len(t.slots) {
		t.grow()
	}
	flags := m[markSize-1] & (present | queued)
	m[markSize-1] &^= queued
	for i := binary.LittleEndian.Uint64(m[8:]); ; i++ {
		slot := &t.slots[i&uint64(len(t.slots)-1)]
		if *slot == (mark{}) {
			m[markSize-1] |= flags
			*slot = m
			t.n++
			return 0
		}
		there := *slot
		there[markSize-1] &^= queued
		if there == m {
			before = slot[markSize-1] & (present | queued)
			slot[markSize-1] |= flags
			return before
		}
	}
}

func (t *table) grow() {
	old := t.slots
	t.slots, t.n = make([]mark, 2*len(old)), 0
	for i := range old {
		if old[i] != (mark{}) {
			t.add(old[i])
		}
	}
}

// appendKey appends a key with its database.
func appendKey(dst []byte, db int, key []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(db))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(key)))
	return append(dst, key...)
}

func cutKey(p []byte) (db int, key, rest []byte) {
	end := keyHead + keyLen(p)
	return int(binary.LittleEndian.Uint32(p)), p[keyHead:end], p[end:]
}

const keyHead = 8

func keyLen(head []byte) int { return int(binary.LittleEndian.Uint32(head[4:])) }
