package route

import "testing"

// BenchmarkSlot hashes keys of 16 bytes, without and with a hash tag.
func BenchmarkSlot(b *testing.B) {
	for name, key := range map[string]string{"plain": "user:00001234567", "tag": "{user:1234}:name"} {
		b.Run(name, func(b *testing.B) {
			k := []byte(key)
			b.SetBytes(int64(len(k)))
			b.ReportAllocs()
			sum := 0
			for b.Loop() {
				sum += Slot(k)
			}
			if sum < 0 {
				b.Fatal("a slot is negative")
			}
		})
	}
}

// BenchmarkKeys finds the keys of one command of each kind.
func BenchmarkKeys(b *testing.B) {
	for name, words := range map[string][]string{
		"one":     {"INCR", "user:00001234567"},
		"two":     {"RENAME", "user:00001234567", "user:00001234568"},
		"counted": {"ZUNIONSTORE", "to", "2", "from:1", "from:2"},
		"options": {"GEORADIUS", "from", "1", "2", "3", "KM", "STORE", "to"},
	} {
		b.Run(name, func(b *testing.B) {
			args := make([][]byte, len(words))
			for i, w := range words {
				args[i] = []byte(w)
			}
			b.ReportAllocs()
			var keys []int
			for b.Loop() {
				var err error
				if keys, err = Keys(keys[:0], args); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
