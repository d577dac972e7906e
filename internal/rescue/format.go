package rescue

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"strconv"
	"time"
)

// Opcodes of RDB (Redis, rdb.h).
const (
	opFunction   = 0xF5
	opAux        = 0xFA
	opDeadlineMS = 0xFC
	opSelectDB   = 0xFE
	opEOF        = 0xFF
)

// firstValkey is the first RDB version whose files begin with VALKEY (Valkey,
// rdb.h: RDB_VERSION and the magic of rdbSaveRio).
const firstValkey = 80

// formatVersion is that of our AUX fields.
const formatVersion = "1"

// Names of the AUX fields.
const (
	auxPrefix = "redis-sync-"
	auxFormat = auxPrefix + "format"
	auxBytes  = auxPrefix + "bytes" // of the value of the key that follows
	auxKeys   = auxPrefix + "keys"  // in the whole file
	auxGone   = auxPrefix + "gone"  // keys that went away before they were read
)

// jones is the polynomial of Redis' crc64.c, reflected.
var jones = crc64.MakeTable(0x95AC9329AC4BC9B5)

// Checksum continues Redis' checksum: that of hash/crc64 inverts before and
// after.
func Checksum(crc uint64, p []byte) uint64 { return ^crc64.Update(^crc, jones, p) }

// Site says which instance a site is.
type Site struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Instance  string `json:"instance,omitempty"`
	Cluster   string `json:"cluster,omitempty"` // UID of its Kubernetes cluster
}

// Header says where the keys of a file come from.
type Header struct {
	Pair      string    `json:"pair"`
	Epoch     int64     `json:"epoch"`     // of the roles when it was written
	Operation string    `json:"operation"` // that wrote it
	Time      time.Time `json:"time"`
	From      Site      `json:"from"` // the old primary, which had the keys
	To        Site      `json:"to"`   // the new primary, which lacked them or had others
}

// fields are the AUX fields of a header, in the order of the file.
func (h *Header) fields() [][2]string {
	list := [][2]string{
		{auxFormat, formatVersion},
		{auxPrefix + "pair", h.Pair},
		{auxPrefix + "epoch", strconv.FormatInt(h.Epoch, 10)},
		{auxPrefix + "operation", h.Operation},
		{auxPrefix + "time", h.Time.UTC().Format(time.RFC3339)},
	}
	for _, side := range []struct {
		name string
		site *Site
	}{{"from", &h.From}, {"to", &h.To}} {
		list = append(list,
			[2]string{auxPrefix + side.name, side.site.Name},
			[2]string{auxPrefix + side.name + "-namespace", side.site.Namespace},
			[2]string{auxPrefix + side.name + "-instance", side.site.Instance},
			[2]string{auxPrefix + side.name + "-cluster", side.site.Cluster})
	}
	return list
}

// set takes a field; false where it is none of a header's.
func (h *Header) set(name, value string) (known bool, err error) {
	switch name {
	case auxPrefix + "pair":
		h.Pair = value
	case auxPrefix + "epoch":
		h.Epoch, err = strconv.ParseInt(value, 10, 64)
	case auxPrefix + "operation":
		h.Operation = value
	case auxPrefix + "time":
		h.Time, err = time.Parse(time.RFC3339, value)
	case auxPrefix + "from":
		h.From.Name = value
	case auxPrefix + "from-namespace":
		h.From.Namespace = value
	case auxPrefix + "from-instance":
		h.From.Instance = value
	case auxPrefix + "from-cluster":
		h.From.Cluster = value
	case auxPrefix + "to":
		h.To.Name = value
	case auxPrefix + "to-namespace":
		h.To.Namespace = value
	case auxPrefix + "to-instance":
		h.To.Instance = value
	case auxPrefix + "to-cluster":
		h.To.Cluster = value
	default:
		return false, nil
	}
	return true, err
}

// typeNames are what TYPE answers for the types of values (Redis, rdb.h). The
// numbers 22 and 23 are those of a release candidate of Redis, and 22 Valkey's
// hash with deadlines of fields.
var typeNames = map[byte]string{
	0: "string",
	1: "list", 10: "list", 14: "list", 18: "list",
	2: "set", 11: "set", 20: "set",
	3: "zset", 5: "zset", 12: "zset", 17: "zset",
	4: "hash", 9: "hash", 13: "hash", 16: "hash", 22: "hash", 23: "hash", 24: "hash", 25: "hash",
	6: "module", 7: "module",
	15: "stream", 19: "stream", 21: "stream",
}

// TypeName is what TYPE answers for a type of RDB.
func TypeName(t byte) string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", t)
}

// appendLength encodes a length (Redis, rdb.c: rdbSaveLen).
func appendLength(b []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(b, byte(n))
	case n < 1<<14:
		return append(b, 0x40|byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0x80), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, 0x81), n)
	}
}

func appendString(b []byte, s string) []byte {
	return append(appendLength(b, uint64(len(s))), s...)
}
