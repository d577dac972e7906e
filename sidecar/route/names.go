package route

import "encoding/binary"

// unknown is what lookup finds for a name that is not in the table.
var unknown = keySpec{class: ClassUnknown}

// lookup finds a command without regard to case. It is done several times for
// every command of a stream; a map takes some times as long (BenchmarkKeys).
func lookup(name []byte) *keySpec {
	p, ok := pack(name)
	if !ok {
		return &unknown
	}
	for i := p.hash(); ; i++ {
		e := &table[i%tableSize]
		if e.name == p {
			return &e.spec
		}
		if e.name.n == 0 {
			return &unknown
		}
	}
}

// packed is a name of up to 24 bytes in lower case: its first 8 bytes, its
// last 8, those from the middle; they overlap in the shorter ones.
type packed struct {
	head, tail, middle uint64
	n                  int
}

// lowerCase has the bit in which the cases of ASCII letters differ. It also
// makes a '-' of a carriage return, which no server has in a name.
const lowerCase = 0x2020202020202020

func pack(name []byte) (packed, bool) {
	n := len(name)
	p := packed{n: n}
	switch {
	case n == 0 || n > 24:
		return p, false
	case n >= 8:
		p.head, p.tail = binary.LittleEndian.Uint64(name), binary.LittleEndian.Uint64(name[n-8:])
		if n > 16 {
			p.middle = binary.LittleEndian.Uint64(name[8:]) | lowerCase
		}
	case n >= 4:
		p.head = uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<32
	default:
		p.head = uint64(name[0]) | uint64(name[n/2])<<8 | uint64(name[n-1])<<16
	}
	p.head |= lowerCase
	p.tail |= lowerCase
	return p, true
}

// tableSize is a power of two, several times the number of commands.
const tableSize = 1024

func (p packed) hash() uint64 {
	return (p.head*0x9e3779b97f4a7c15 ^ p.tail*0xc2b2ae3d27d4eb4f ^ p.middle) >> 40 % tableSize
}

type entry struct {
	name packed
	spec keySpec
}

// table holds what makeTable lists, each command at the first free place from
// the hash of its name on.
var table = func() (t [tableSize]entry) {
	for name, spec := range makeTable() {
		p, _ := pack([]byte(name)) // TestLookup finds each of them again
		i := p.hash()
		for t[i%tableSize].name.n != 0 {
			i++
		}
		t[i%tableSize] = entry{p, spec}
	}
	return t
}()
