// Package marks remembers which keys a snapshot had, so that the keys of the
// target that it did not have can be found afterwards. Both are split by hash
// into parts that are kept in files, and one part after the other is compared in
// memory: 100,000,000 keys take 20 MB.
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

// Set holds the marks of one snapshot and the candidates of one sweep.
type Set struct {
	seedA, seedB maphash.Seed
	marks, keys  queue
	count        int64
	rec          []byte
}

// New returns an empty set; files are made in dir.
func New(dir string) *Set {
	return &Set{seedA: maphash.MakeSeed(), seedB: maphash.MakeSeed(), marks: queue{dir: dir}, keys: queue{dir: dir}}
}

func (s *Set) hash(db int, key []byte) (m mark) {
	mix := uint64(db) * 0x9e3779b97f4a7c15
	binary.LittleEndian.PutUint64(m[:8], maphash.Bytes(s.seedA, key)^mix)
	binary.LittleEndian.PutUint64(m[8:], maphash.Bytes(s.seedB, key)^mix)
	m[markSize-1] |= 1
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
	return s.keys.add(m.part(), s.rec)
}

// Stale calls f once with each queued key that was not marked. The key is valid
// until f returns.
func (s *Set) Stale(f func(db int, key []byte) error) error {
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
			return err
		}
		err = s.keys.each(i, func(all []byte) error {
			for len(all) > 0 {
				m := mark(all[:markSize])
				db, key, rest := cutKey(all[markSize:])
				all = rest
				if !seen.add(m) { // or SCAN has given it twice
					continue
				}
				if err := f(db, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
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
	size := 1 << bits.Len(uint(2*n+64))
	if t.n = 0; size > cap(t.slots) {
		t.slots = make([]mark, size)
		return
	}
	t.slots = t.slots[:size]
	clear(t.slots)
}

// add reports whether the mark was not there yet.
func (t *table) add(m mark) bool {
	if 3*t.n >= 2*len(t.slots) {
		old := t.slots
		t.slots, t.n = make([]mark, 2*len(old)), 0
		for i := range old {
			if old[i] != (mark{}) {
				t.add(old[i])
			}
		}
	}
	for i := binary.LittleEndian.Uint64(m[8:]); ; i++ {
		switch slot := &t.slots[i&uint64(len(t.slots)-1)]; *slot {
		case m:
			return false
		case mark{}:
			*slot = m
			t.n++
			return true
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
