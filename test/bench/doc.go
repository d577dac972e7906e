// Package bench measures the replicator as a whole process against the
// servers' own speed: the same keys and commands through redis-cli --pipe, and
// a native replica. `make bench` prints one table.
//
// The verify scenarios compare what a full sync left with the time that the
// sync took: there the row redis-sync is `redis-sync-sidecar verify`.
//
// The rows of a scenario are measured in turns, so that whatever else the
// machine does hits all of them, and the table shows medians and ratios:
// absolute times drift from machine to machine and from run to run.
//
// Environment:
//
//	BENCH=1          run (make bench sets it)
//	BENCH_ONLY       regular expression of scenario names
//	BENCH_RUNS       measurements of each row (3)
//	BENCH_KEYS       keys and commands of the large scenarios (3000000)
//	BENCH_SCALE=1    also 0.1, 1 and 10 times BENCH_KEYS, and 0.1 and 4 GB
//	                 of collections: CPU per key, memory
//	BENCH_PROFILE    folder for the replicators' CPU profiles
//	BENCH_CHECK=1    fail when a ratio is over 1.1 times the recorded one
//	BENCH_RECORD=1   write the ratios to recorded.json
//	PEER             binary of a peer that takes RedisShake 3's sync.toml
package bench
