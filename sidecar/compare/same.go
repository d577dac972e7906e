package compare

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// sameValue implements verify.Options.SameValue for lists, sets, sorted sets
// and hashes. A hash table is written in the order of the table, which is
// another one on every server, and thresholds and versions decide on encodings.
func (o *opener) sameValue(a, b string) bool {
	name := rdb.TypeName(a[0])
	if name != rdb.TypeName(b[0]) {
		return false
	}
	switch name {
	case "list", "set", "zset", "hash":
	default:
		return false // a string is one text, and streams have more than elements
	}
	first, ok := o.digest(a, name == "list")
	if !ok {
		return false
	}
	second, ok := o.digest(b, name == "list")
	return ok && first == second
}

// opener opens payloads.
type opener struct {
	dir string // for what is too large to be unpacked in memory
}

// contentDigest identifies the elements of a value.
type contentDigest struct {
	count uint64
	// sum of the SHA-256 of each element; where the order matters, of each
	// element with its place.
	sum [sha256.Size / 8]uint64
}

// digest reads a payload without its footer. It is not ok when the payload
// cannot be read.
func (o *opener) digest(payload string, ordered bool) (d contentDigest, ok bool) {
	decoder := rdb.NewDecoder(&rdb.Record{Type: payload[0], Value: []byte(payload[1:])}, o.dir)
	defer decoder.Close()
	h := sha256.New()
	var scratch [sha256.Size]byte
	err := decoder.Elements(func(e *rdb.Element) error {
		h.Reset()
		numbers := scratch[:0]
		place := uint64(0)
		if ordered {
			place = d.count
		}
		for _, n := range []uint64{place, uint64(e.Name.Len()), uint64(e.Value.Len()), math.Float64bits(e.Score)} { //nolint:gosec // lengths
			numbers = binary.BigEndian.AppendUint64(numbers, n)
		}
		h.Write(numbers)
		h.Write(binary.BigEndian.AppendUint64(numbers[:0], uint64(e.Expire))) //nolint:gosec // any bits will do
		if err := writeText(h, &e.Name); err != nil {
			return err
		}
		if err := writeText(h, &e.Value); err != nil {
			return err
		}
		d.count++
		sum := h.Sum(scratch[:0])
		for i := range d.sum {
			d.sum[i] += binary.BigEndian.Uint64(sum[8*i:])
		}
		return nil
	})
	return d, err == nil
}

func writeText(h hash.Hash, t *rdb.Text) error {
	if p, ok := t.Bytes(); ok {
		h.Write(p) // a hash does not fail
		return nil
	}
	_, err := t.WriteTo(h)
	return err
}
