package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

func TestBounds(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	for i := range 100 {
		a.Do(t, "SET", "k"+strconv.Itoa(i), "v")
	}
	opts := quick
	opts.MaxSuspects, opts.Samples, opts.BatchKeys = 10, 3, 7
	result := compare(t, single("a", a), single("b", b), opts)
	want(t, result, 100, 0, 0, 0)
	if result.NotRechecked != 90 || result.Suspects != 100 || len(result.Samples) != 3 {
		t.Errorf("%d not rechecked of %d suspects, %d samples", result.NotRechecked, result.Suspects, len(result.Samples))
	}
}

// TestRepliesAreBounded: however large the data, no reply is.
func TestRepliesAreBounded(t *testing.T) {
	a := testredis.Start(t)
	a.Do(t, "EVAL", `for i = 1, 20 do redis.call('RPUSH', 'list', string.rep('y', 2000000)) end
		for i = 1, 100000 do redis.call('HSET', 'hash', 'field' .. i, string.rep('x', 300)) end
		for i = 1, 500 do redis.call('SET', 'string' .. i, string.rep('z', 100000)) end
		redis.call('SET', 'huge', string.rep('z', 60000000))`, "0")
	side := single("a", a)
	want(t, compare(t, side, side, quick), 0, 0, 0, 0)
	if largest := side.Nodes[0].(*testNode).largest.Load(); largest > 5<<20 {
		t.Errorf("one pipeline brought %d bytes", largest)
	}
}

func TestEscapedNamesAndNoValues(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	a.Do(t, "SET", "\x1b[31mred\r\n", "topsecret")
	result := compare(t, single("a", a), single("b", b), quick)
	var text bytes.Buffer
	if err := WriteText(&text, result); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{text.String(), string(body)} {
		if strings.ContainsAny(out, "\x1b\r") || strings.Contains(out, "topsecret") || !strings.Contains(out, `x1b[31mred`) {
			t.Errorf("output is not safe, or lacks the key:\n%s", out)
		}
	}
}

func TestErrorsNameSiteAndServer(t *testing.T) {
	a, b := testredis.Start(t), testredis.Start(t)
	user := single("redis-b", b)
	b.Do(t, "HSET", "k", "f", "v")
	a.Do(t, "HSET", "k", "f", "v")
	b.Do(t, "ACL", "SETUSER", "default", "-dump")
	_, err := Run(t.Context(), single("redis-a", a), user, quick)
	if err == nil || !strings.Contains(err.Error(), "site redis-b: "+b.Addr+": DUMP: NOPERM") {
		t.Errorf("error %v", err)
	}
	b.Kill()
	if _, err = Run(t.Context(), single("redis-a", a), user, quick); err == nil || !strings.Contains(err.Error(), "site redis-b: "+b.Addr) {
		t.Errorf("error %v", err)
	}
	if _, err = Run(t.Context(), Side{Name: "nothing"}, user, quick); err == nil || !strings.Contains(err.Error(), "site nothing: no server") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Run(ctx, single("redis-a", a), single("redis-a", a), Options{Progress: func(Progress) {}}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestSlots(t *testing.T) {
	s := testredis.StartCluster(t, 1, 0)
	for _, key := range []string{"", "a", "{tag}x", "x{tag}", "{}x", "{a", "a}b{c}", "{{a}}", "bin\x00\xff"} {
		if got, want := int64(slotOf(key)), s.Do(t, "CLUSTER", "KEYSLOT", key).(int64); got != want {
			t.Errorf("slot of %q = %d, Redis says %d", key, got, want)
		}
	}
	if SlotOwner(nil)("k") != -1 {
		t.Error("a slot that nobody serves has an owner")
	}
	if !strings.HasPrefix(wire.FenceKey("p"), wire.KeyPrefix) {
		t.Error("the fence key would be compared")
	}
}
