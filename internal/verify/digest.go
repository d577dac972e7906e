package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// part is one aspect of a value: its elements, or one counter of a stream.
type part struct {
	name   string
	digest [sha256.Size]byte
}

// content is a value read element by element. Two contents are equal when all
// parts are that both have: an older server lacks some of a stream.
type content []part

// differs names the first part in which two contents differ, or "".
func (c content) differs(other content) string {
	for _, mine := range c {
		for _, theirs := range other {
			if mine.name == theirs.name && mine.digest != theirs.digest {
				return mine.name
			}
		}
	}
	return ""
}

// identity identifies the content within one side.
func (c content) identity() string {
	var out []byte
	for _, p := range c {
		out = append(out, p.name...)
		out = append(out, p.digest[:]...)
	}
	return string(out)
}

// sequence digests elements whose order matters.
type sequence struct {
	hash  hash.Hash
	count int64
}

func newSequence() *sequence { return &sequence{hash: sha256.New()} }

func (s *sequence) add(fields ...string) {
	s.count++
	writeFields(s.hash, fields)
}

func (s *sequence) part(name string) part {
	binary.Write(s.hash, binary.BigEndian, s.count) //nolint:errcheck // a hash does not fail
	return part{name: name, digest: [sha256.Size]byte(s.hash.Sum(nil))}
}

// multiset digests elements in any order: the sum of their digests.
type multiset struct {
	sum   [4]uint64
	count int64
	// seen, where not nil, makes it a set: SCAN-like commands may return an
	// element twice while a table shrinks.
	seen map[[16]byte]struct{}
}

func (m *multiset) add(fields ...string) {
	h := sha256.New()
	writeFields(h, fields)
	digest := [sha256.Size]byte(h.Sum(nil))
	if m.seen != nil {
		short := [16]byte(digest[:16])
		if _, again := m.seen[short]; again {
			return
		}
		m.seen[short] = struct{}{}
	}
	m.count++
	for i := range m.sum {
		m.sum[i] += binary.BigEndian.Uint64(digest[i*8:])
	}
}

func (m *multiset) part(name string) part {
	var buf [5 * 8]byte
	for i, word := range m.sum {
		binary.BigEndian.PutUint64(buf[i*8:], word)
	}
	binary.BigEndian.PutUint64(buf[4*8:], uint64(m.count))
	return part{name: name, digest: sha256.Sum256(buf[:])}
}

// writeFields writes each field with its length, so that no two lists of
// fields give the same bytes.
func writeFields(h hash.Hash, fields []string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(fields)))
	h.Write(length[:])
	for _, f := range fields {
		binary.BigEndian.PutUint64(length[:], uint64(len(f)))
		h.Write(length[:])
		h.Write([]byte(f))
	}
}

// window chooses how many elements to ask for at once, so that a reply stays
// near the byte budget whatever the elements' size: it starts with one, and
// grows or shrinks by what came.
type window struct{ count int64 }

const (
	replyBudget = 1 << 20
	maxWindow   = 4096
)

func newWindow() *window { return &window{count: 1} }

func (w *window) took(members []string) {
	size := 0
	for _, m := range members {
		size += len(m)
	}
	switch {
	case size > replyBudget:
		w.count = max(1, w.count*replyBudget/int64(size))
	case size < replyBudget/8:
		w.count = min(maxWindow, w.count*4)
	case size < replyBudget/2:
		w.count = min(maxWindow, w.count*2)
	}
}
