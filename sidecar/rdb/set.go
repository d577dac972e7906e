package rdb

import (
	"encoding/binary"
	"slices"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// unpackUpTo is the size of a compressed string up to which it is unpacked here,
// for SET; a longer one goes to the target as short as it came.
const unpackUpTo = 4 << 10

// AppendWrite appends the command that makes a key at the target: SET for a
// plain string, RESTORE for everything else. Both leave the same key, with the
// same encoding, but RESTORE makes the target read a payload and its checksum,
// and unpack it, which takes it 10 to 20 % longer for small strings.
func AppendWrite(dst []byte, r *Record, o RestoreOptions) []byte {
	if r.Type != TypeString || r.Expire != 0 || !o.Replace || access(r, o) != 0 || len(r.Value) == 0 {
		return AppendRestore(dst, r, o)
	}
	at := len(dst)
	dst = append(dst, "*3\r\n$3\r\nSET\r\n"...)
	dst = resp.AppendBulk(dst, r.Key)
	dst, ok := appendString(dst, r.Value)
	if !ok {
		return AppendRestore(dst[:at], r, o)
	}
	return dst
}

// appendString appends the text of a raw value of type string as an argument
// (rdb.c, rdbGenericLoadStringObject). It is not ok for one that is not what
// it seems, which is for the target to judge.
func appendString(dst, v []byte) ([]byte, bool) {
	switch rest := v[1:]; {
	case v[0]>>6 != lenEnc:
		text, n, ok := cutLength(v)
		return resp.AppendBulk(dst, text), ok && n == uint64(len(text))
	case v[0]&0x3f == encInt8 && len(rest) == 1:
		return resp.AppendInt(dst, int64(int8(rest[0]))), true
	case v[0]&0x3f == encInt16 && len(rest) == 2:
		return resp.AppendInt(dst, int64(int16(binary.LittleEndian.Uint16(rest)))), true
	case v[0]&0x3f == encInt32 && len(rest) == 4:
		return resp.AppendInt(dst, int64(int32(binary.LittleEndian.Uint32(rest)))), true
	case v[0]&0x3f == encLZF:
		rest, packed, ok := cutLength(rest)
		rest, plain, plainOK := cutLength(rest)
		if !ok || !plainOK || packed != uint64(len(rest)) || plain > unpackUpTo {
			return dst, false
		}
		dst = slices.Grow(resp.AppendBulkHead(dst, int64(plain)), unpackUpTo+len("\r\n"))
		text, ok := lzfDecompress(dst[len(dst):], rest, int(plain))
		return append(dst[:len(dst)+len(text)], "\r\n"...), ok
	}
	return dst, false
}

// cutLength reads the length that a raw string begins with.
func cutLength(v []byte) (rest []byte, n uint64, ok bool) {
	switch {
	case len(v) >= 1 && v[0]>>6 == len6Bit:
		return v[1:], uint64(v[0] & 0x3f), true
	case len(v) >= 2 && v[0]>>6 == len14Bit:
		return v[2:], uint64(v[0]&0x3f)<<8 | uint64(v[1]), true
	case len(v) >= 5 && v[0] == 0x80:
		return v[5:], uint64(binary.BigEndian.Uint32(v[1:])), true
	case len(v) >= 9 && v[0] == 0x81:
		return v[9:], binary.BigEndian.Uint64(v[1:]), true
	}
	return nil, 0, false
}
