package bench

import (
	"os"
	"testing"
)

// TestBench prints the table of `make bench`.
func TestBench(t *testing.T) {
	if os.Getenv("BENCH") != "1" {
		t.Skip("SKIPPED: the benchmarks run under make bench (BENCH=1)")
	}
	b := &table{ratios: map[string]float64{}}
	w := &world{table: b, binary: build(t), peer: os.Getenv("PEER"), n: number(t, "BENCH_KEYS", 3_000_000)}
	defer b.print(t)
	w.fullStrings(t)
	w.fullMixed(t)
	w.fullShards(t)
	w.fullToCluster(t)
	w.verifyStrings(t)
	w.verifyMixed(t)
	w.streamStandalone(t)
	w.streamCluster(t)
	w.latency(t)
	w.idle(t)
	w.begin(t)
	if os.Getenv("BENCH_SCALE") == "1" {
		w.scale(t)
	}
}

// world is what the scenarios share.
type world struct {
	*table
	binary, peer string
	n            int // keys and commands of the large scenarios
}
