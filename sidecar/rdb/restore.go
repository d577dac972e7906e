package rdb

import (
	"encoding/binary"
	"io"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// RestoreOptions say how a value is written to the target.
type RestoreOptions struct {
	Footer  int  // RDB version of the payload
	Replace bool // overwrite an existing key
	Access  bool // pass LRU idle time or LFU counter on (target ≥ 5.0)
}

// AppendRestore appends the command RESTORE key ttl payload [REPLACE] [ABSTTL]
// [IDLETIME s | FREQ n] as RESP.
func AppendRestore(dst []byte, r *Record, o RestoreOptions) []byte {
	dst = appendRestoreHead(dst, r, o, int64(len(r.Value)+11))
	dst = AppendPayload(dst, r.Type, r.Value, o.Footer)
	return appendRestoreTail(dst, r, o)
}

// access says which of IDLETIME and FREQ is passed on.
func access(r *Record, o RestoreOptions) byte {
	switch {
	case o.Access && r.Freq >= 0:
		return 'f'
	case o.Access && r.Idle >= 0:
		return 'i'
	}
	return 0
}

// appendRestoreHead appends everything before the payload of n bytes.
func appendRestoreHead(dst []byte, r *Record, o RestoreOptions, n int64) []byte {
	args := 4
	if o.Replace {
		args++
	}
	if r.Expire != 0 {
		args++
	}
	if access(r, o) != 0 {
		args += 2
	}
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(args), 10)
	dst = append(dst, "\r\n$7\r\nRESTORE\r\n"...)
	dst = resp.AppendBulk(dst, r.Key)
	dst = resp.AppendInt(dst, r.Expire)
	return resp.AppendBulkHead(dst, n)
}

// appendRestoreTail appends everything after the payload.
func appendRestoreTail(dst []byte, r *Record, o RestoreOptions) []byte {
	dst = append(dst, "\r\n"...)
	if o.Replace {
		dst = append(dst, "$7\r\nREPLACE\r\n"...)
	}
	if r.Expire != 0 {
		dst = append(dst, "$6\r\nABSTTL\r\n"...)
	}
	switch access(r, o) {
	case 'f':
		dst = append(dst, "$4\r\nFREQ\r\n"...)
		dst = resp.AppendInt(dst, int64(r.Freq))
	case 'i':
		dst = append(dst, "$8\r\nIDLETIME\r\n"...)
		dst = resp.AppendInt(dst, r.Idle)
	}
	return dst
}

// footerLen is the RDB version and the checksum at the end of a payload.
const footerLen = 10

// Payload reads the value type and the RDB version of a RESTORE payload.
func Payload(p []byte) (typ byte, version int, ok bool) {
	if len(p) <= footerLen {
		return 0, 0, false
	}
	return p[0], int(binary.LittleEndian.Uint16(p[len(p)-footerLen:])), true
}

// PayloadValue is the raw value in a RESTORE payload that Payload has read.
func PayloadValue(p []byte) []byte { return p[1 : len(p)-footerLen] }

// AppendPayload appends the RESTORE payload of a raw value: the type byte, the
// value, the RDB version in two bytes and the CRC-64 over all of it
// (cluster.c, createDumpPayload).
func AppendPayload(dst []byte, typ byte, value []byte, version int) []byte {
	body := len(dst)
	dst = append(append(dst, typ), value...)
	dst = append(dst, byte(version), byte(version>>8))
	return binary.LittleEndian.AppendUint64(dst, CRC64(0, dst[body:]))
}

// PayloadSize is the size of the payload of a raw value of n bytes.
func PayloadSize(n int64) int64 { return n + 1 + footerLen }

// WritePayload writes a payload whose value comes from write.
func WritePayload(w io.Writer, typ byte, version int, write func(io.Writer) error) error {
	sum := &summed{w: w}
	if _, err := sum.Write([]byte{typ}); err != nil {
		return err
	}
	if err := write(sum); err != nil {
		return err
	}
	if _, err := sum.Write([]byte{byte(version), byte(version >> 8)}); err != nil {
		return err
	}
	_, err := w.Write(binary.LittleEndian.AppendUint64(nil, sum.crc))
	return err
}

// summed keeps the checksum of what is written.
type summed struct {
	w   io.Writer
	crc uint64
}

func (s *summed) Write(p []byte) (int, error) {
	s.crc = CRC64(s.crc, p)
	return s.w.Write(p)
}
