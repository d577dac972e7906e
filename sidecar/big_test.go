package sidecar_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestBigValues copies values beyond the size that is kept in memory: a plain
// string, a compressible one, a hash and a list, with deadlines and in another
// database. BIG_VALUES=1 makes them as big as Redis allows.
func TestBigValues(t *testing.T) {
	megabytes, fields := 40, 200_000
	if os.Getenv("BIG_VALUES") != "" {
		megabytes, fields = 512, 10_000_000
	}
	for _, to := range []string{"standalone", "cluster"} {
		t.Run(to, func(t *testing.T) {
			src := testredis.Start(t, append(debugArgs(), "--client-output-buffer-limit", "replica 0 0 0")...)
			dst := standaloneSide(t)
			if to == "cluster" {
				dst = clusterSide(t)
			}
			fence(t, dst)
			src.Do(t, "EVAL", `math.randomseed(1) local p={} for i=1,1024*128 do p[i]=string.char(math.random(0,255)) end
				local s=table.concat(p) for i=1,ARGV[1]*8 do redis.call('APPEND','string',s) end return 1`, "0", strconv.Itoa(megabytes))
			src.Do(t, "SETRANGE", "lzf", strconv.Itoa(megabytes<<20-2), "x")
			src.Do(t, "PEXPIREAT", "string", "33333333333333")
			for from := 0; from < fields; from += 100_000 {
				src.Do(t, "EVAL", `for i=ARGV[1],ARGV[2] do redis.call('HSET','hash','field:'..i,'a value of some length that is not the same: '..i) end`,
					"0", strconv.Itoa(from), strconv.Itoa(min(from+100_000, fields)-1))
			}
			src.Do(t, "SET", "after", "v")
			if to == "standalone" {
				src.Do(t, "SELECT", "2")
				src.Do(t, "SET", "in two", strings.Repeat("0123456789", 1<<20))
				src.Do(t, "SELECT", "0")
			}
			r := start(t, link{slots: "0-16383", sources: []string{src.Addr}, target: dst.target})
			r.waitInSync(t)
			compare(t, contents(t, src), contents(t, dst.masters...))
			if line := peakMemory(); os.Getenv("BIG_VALUES") != "" {
				t.Log("peak resident memory of this process:", line)
			}
			r.finish(t)
		})
	}
}

// peakMemory is VmHWM of this process.
func peakMemory() string {
	p, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Sprint(err)
	}
	for line := range strings.Lines(string(p)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "unknown"
}
