package verify

import (
	"hash/maphash"
	"sync/atomic"
)

// tally finds out, in constant memory, whether two streams of key names hold
// the same names: each name adds its hash to one of many sums, or subtracts
// it. A sum that is not zero in the end says that a name which belongs to it
// was in one stream only, or more often there. That 64-bit hashes of other
// names cancel out is as likely as for any 64-bit checksum: 1 in 2^64.
type tally struct {
	seed maphash.Seed
	sums []atomic.Uint64
}

// tallySums is the number of sums: 8 MiB of them. With 100 million keys, one
// name that is missing makes about 100 names suspicious.
const tallySums = 1 << 20

func newTally() *tally {
	return &tally{seed: maphash.MakeSeed(), sums: make([]atomic.Uint64, tallySums)}
}

func (t *tally) hash(db int, key string) (sum *atomic.Uint64, hash uint64) {
	hash = maphash.String(t.seed, key) + uint64(db)*0x9e3779b97f4a7c15 //nolint:gosec // any bits will do
	return &t.sums[(hash^hash>>32)%tallySums], hash
}

func (t *tally) add(db int, key string) {
	sum, hash := t.hash(db, key)
	sum.Add(hash)
}

func (t *tally) subtract(db int, key string) {
	sum, hash := t.hash(db, key)
	sum.Add(-hash)
}

// balanced says that every name was added as often as it was subtracted.
func (t *tally) balanced() bool {
	for i := range t.sums {
		if t.sums[i].Load() != 0 {
			return false
		}
	}
	return true
}

// suspicious says whether a name may be one that was not balanced.
func (t *tally) suspicious(db int, key string) bool {
	sum, _ := t.hash(db, key)
	return sum.Load() != 0
}
