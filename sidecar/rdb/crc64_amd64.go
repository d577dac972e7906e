package rdb

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/cpu"
)

// fold reduces n bytes (a multiple of 16) and a checksum to 128 bits with the
// same remainder, by carry-less multiplication.
//
//go:noescape
func fold(crc uint64, p *byte, n int, k *[4]uint64) (lo, hi uint64)

// foldBy are the multipliers. In the reflected form a product of two 64-bit
// halves comes out multiplied by x, so the one that moves a half by n bits is
// x^(n-1) mod P: the low half, which has the higher powers, over a distance
// and 64 more, the high half over the distance; 16 bytes, then 64.
var foldBy = [4]uint64{powerOfX(128 + 63), powerOfX(128 - 1), powerOfX(512 + 63), powerOfX(512 - 1)}

// powerOfX is x^n mod P, reflected.
func powerOfX(n int) uint64 {
	const poly = 0xad93d23594c935a9
	r := uint64(1)
	for range n {
		top := r >> 63
		r <<= 1
		if top == 1 {
			r ^= poly
		}
	}
	return bits.Reverse64(r)
}

var useFold = cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41

// CRC64 extends the checksum crc by p.
func CRC64(crc uint64, p []byte) uint64 {
	if !useFold || len(p) < 32 {
		return crcTables(crc, p)
	}
	n := len(p) &^ 15
	var rest [16]byte
	lo, hi := fold(crc, &p[0], n, &foldBy)
	binary.LittleEndian.PutUint64(rest[:8], lo)
	binary.LittleEndian.PutUint64(rest[8:], hi)
	return crcTables(crcTables(0, rest[:]), p[n:])
}
