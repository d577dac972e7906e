package rdb

import "fmt"

// Opcodes of an RDB file (rdb.h). Numbers between 22 and 243 mean different
// things to Redis and to Valkey; they are read by the magic of the file.
const (
	opSlotInfo     = 244 // Redis 7.4 and later, cluster mode: three lengths
	opFunction2    = 245 // a function library's source text
	opFunctionPre  = 246 // of a release candidate of 7.0: refused
	opModuleAux    = 247
	opIdle         = 248
	opFreq         = 249
	opAux          = 250
	opResizeDB     = 251
	opExpireMillis = 252
	opExpire       = 253
	opSelectDB     = 254
	opEOF          = 255
)

// Value types (rdb.h, "Map object types to RDB object types").
const (
	TypeString           = 0
	TypeList             = 1
	TypeSet              = 2
	TypeZSet             = 3
	TypeHash             = 4
	TypeZSet2            = 5
	TypeModulePre        = 6
	TypeModule2          = 7
	TypeHashZipmap       = 9
	TypeListZiplist      = 10
	TypeSetIntset        = 11
	TypeZSetZiplist      = 12
	TypeHashZiplist      = 13
	TypeListQuicklist    = 14
	TypeStreamListpacks  = 15
	TypeHashListpack     = 16
	TypeZSetListpack     = 17
	TypeListQuicklist2   = 18
	TypeStreamListpacks2 = 19
	TypeSetListpack      = 20
	TypeStreamListpacks3 = 21
	TypeHashMetadata     = 24 // Redis 7.4: fields with TTLs
	TypeHashListpackEx   = 25 // Redis 7.4: the same as a listpack
)

// typeHash2Valkey is Valkey 9's hash with field TTLs; the number belongs to a
// pre-release type of Redis.
const typeHash2Valkey = 22

var typeNames = [256]string{
	TypeString: "string", TypeList: "list", TypeSet: "set", TypeZSet: "zset", TypeHash: "hash",
	TypeZSet2: "zset", TypeModulePre: "module", TypeModule2: "module", TypeHashZipmap: "hash",
	TypeListZiplist: "list", TypeSetIntset: "set", TypeZSetZiplist: "zset", TypeHashZiplist: "hash",
	TypeListQuicklist: "list", TypeStreamListpacks: "stream", TypeHashListpack: "hash",
	TypeZSetListpack: "zset", TypeListQuicklist2: "list", TypeStreamListpacks2: "stream",
	TypeSetListpack: "set", TypeStreamListpacks3: "stream", TypeHashMetadata: "hash",
	TypeHashListpackEx: "hash", typeHash2Valkey: "hash",
}

// TypeName is the name that TYPE would answer for a value type.
func TypeName(t byte) string {
	if n := typeNames[t]; n != "" {
		return n
	}
	return fmt.Sprintf("type %d", t)
}

// minVersion is the first RDB version whose servers read the type; a type of
// which it is 0 is not passed on. An array, since it is looked at several times
// for each key.
var minVersion = [256]int{
	TypeString: 1, TypeList: 1, TypeSet: 1, TypeZSet: 1, TypeHash: 1, TypeHashZipmap: 2,
	TypeListZiplist: 2, TypeSetIntset: 2, TypeZSetZiplist: 2, TypeHashZiplist: 4,
	TypeListQuicklist: 7, TypeZSet2: 8, TypeModule2: 8, TypeStreamListpacks: 9,
	TypeHashListpack: 10, TypeZSetListpack: 10, TypeListQuicklist2: 10, TypeStreamListpacks2: 10,
	TypeSetListpack: 11, TypeStreamListpacks3: 11,
	TypeHashMetadata: 12, TypeHashListpackEx: 12, // Redis only
	typeHash2Valkey: 80, // Valkey only
}

// ValkeyVersion is the first RDB version that carries the VALKEY magic.
const ValkeyVersion = 80

// Readable reports whether a server whose own RDB version is target takes a
// value of this type in a RESTORE payload, as written by a source of the
// given RDB version (versions of 80 and more are Valkey's).
func Readable(t byte, source, target int) bool {
	first := minVersion[t]
	if first == 0 {
		return false
	}
	switch t {
	case TypeModule2:
		// Redis 6 ends its own process at a module value that it cannot load;
		// 7.0 and later refuse it.
		return target >= 10
	case TypeHashMetadata, TypeHashListpackEx:
		return target >= 12 && target < ValkeyVersion
	case typeHash2Valkey:
		return source >= ValkeyVersion && target >= ValkeyVersion
	}
	return target >= first
}

// FooterVersion is the RDB version to write into a RESTORE payload: not newer
// than the target reads, not newer than the source wrote.
func FooterVersion(source, target int) int {
	if target >= ValkeyVersion && source < ValkeyVersion {
		return min(source, 11) // Valkey refuses 12 to 79, which are Redis's
	}
	if source >= ValkeyVersion && target < ValkeyVersion {
		return min(11, target)
	}
	return min(source, target)
}
