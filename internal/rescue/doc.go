// Package rescue writes and reads files with the keys that a full copy would
// remove: RDB files that redis-server loads.
//
// What DUMP gives is an RDB value between a type and a footer (Redis,
// cluster.c: createDumpPayload), so a file is made of it without looking into
// any value. Two kinds of AUX fields, which servers skip, make it one of ours:
// at its beginning those of Header, and before every key the length of its
// value, so that a file is checked and listed without knowing how any version
// of Redis encodes a type. At its end another one says how many keys there are.
//
// Nothing here prints a value or puts one into an error.
package rescue
