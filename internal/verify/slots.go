package verify

import "strings"

// SlotCount is the number of hash slots of a Redis Cluster.
const SlotCount = 16384

// SlotRange says that the node with index Node serves the slots From to To.
type SlotRange struct{ From, To, Node int }

// SlotOwner makes a Side.Owner from what CLUSTER SLOTS says. Keys of slots
// that no range covers get -1, which the comparison reports as an error.
func SlotOwner(ranges []SlotRange) func(key string) int {
	table := make([]int, SlotCount)
	for i := range table {
		table[i] = -1
	}
	for _, r := range ranges {
		for slot := max(r.From, 0); slot <= min(r.To, SlotCount-1); slot++ {
			table[slot] = r.Node
		}
	}
	return func(key string) int { return table[slotOf(key)] }
}

// slotOf is the slot of a key: CRC16 of the hash tag, or of the whole key.
func slotOf(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if length := strings.IndexByte(key[open+1:], '}'); length > 0 {
			key = key[open+1 : open+1+length]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % SlotCount
}
