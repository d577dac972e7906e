// Package verify compares the data of two Redis instances of any shape and
// says which keys are missing, extra or different on the target, and whose
// deadline (TTL) is another one.
//
// # How
//
// Every master of the source is scanned and each key is read on both sides;
// every master of the target is scanned for keys that the source lacks. Keys
// that differ are suspects: they are read again, round after round, because
// while writes go on the target is always a little behind. A suspect that
// becomes equal, or that disappears on both sides, is cleared. One that stays
// as it is on both sides is a difference. One that keeps changing until the
// last round gets no verdict: it is unsettled.
//
// While nothing is written to the source and the target has applied
// everything, the result is exact. While writes go on, keys that are created
// after their place in the scan was passed are not looked at.
//
// # Equal values
//
// Two values are equal when their DUMP payloads are (without the footer,
// which holds a version and a checksum), or else when their contents are:
// sides of different versions or with different thresholds encode the same
// value differently. Contents are read in ranges, so that memory does not
// depend on the size of a value, and are compared by digests. Of a stream the
// entries, groups, consumers, pending entries and counters are compared;
// delivery counts and the entries-read of groups only with
// Options.StreamDelivery, because Redis itself does not replicate them
// faithfully in all versions; delivery times never are.
//
// Keys that start with wire.KeyPrefix are ours and are left out. Function
// libraries are compared too. Values never appear in results or errors; key
// names do, escaped.
package verify
