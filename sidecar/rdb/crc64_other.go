//go:build !amd64

package rdb

// CRC64 extends the checksum crc by p.
func CRC64(crc uint64, p []byte) uint64 { return crcTables(crc, p) }
