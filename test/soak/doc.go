// Package soak runs replicators for minutes on real redis-server processes,
// under writes that must be applied exactly once, while something is killed
// or cut off all the time, and compares both sides at the end.
//
// A topology (topology.go) has two sides of replication sets (set.go), with
// a TCP proxy in front of every address that a replicator uses (proxy.go),
// one supervised replicator process per source shard (replicator.go), writers
// (writers.go) and four disturbers (chaos.go): of the replicators, of the
// network, of the source and of the target. The comparison (compare.go) asks
// the servers themselves: DEBUG DIGEST-VALUE, TYPE, PEXPIRETIME, XINFO.
//
// Environment:
//
//	SOAK_MINUTES   length of the whole run, shared by the topologies (default 0.5)
//	SOAK_TOPOLOGY  names, separated by commas (default: all)
//	SOAK_SEED      repeats the decisions of an earlier run
//	SOAK_RATE      write commands per second (default 1000)
//	SOAK_SKIP      disturbances to leave out, by name, separated by commas
//	SOAK_DIR       folder of the logs (default: a new one under the system's)
//	SOAK_RACE      anything: the replicator is built with the race detector
//
// Left out on purpose: several databases where one end is a cluster; SIGKILL
// of a standalone source, which keeps nothing over it. Keys named near:* have
// deadlines of a few seconds; differences in them are printed and counted,
// and do not fail the test.
//
// The seed fixes what writers and disturbers decide, each in its own order;
// how their steps interleave is up to the machine.
package soak
