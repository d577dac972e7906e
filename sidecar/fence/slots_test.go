package fence

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

func dial(t *testing.T, s *testredis.Server) *conn.Conn {
	t.Helper()
	c, err := conn.Dial(context.Background(), s.Addr, conn.Options{DialTimeout: 10 * time.Second, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func slots(t *testing.T, text string) route.SlotSet {
	t.Helper()
	s, err := route.ParseSlots(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claimed(t *testing.T, c *conn.Conn, id Identity, want string) (string, error) {
	t.Helper()
	got, err := Claim(c, id, func(map[int]Holding) (route.SlotSet, error) { return slots(t, want), nil })
	return got.String(), err
}

func TestClaim(t *testing.T) {
	c := dial(t, testredis.Start(t))
	a, b := Identity{Pair: "p", Shard: 0, Epoch: 1, Link: "0-9"}, Identity{Pair: "p", Shard: 1, Epoch: 1, Link: "10-19"}
	old := Identity{Pair: "p", Shard: 2, Epoch: 0, Link: "0-19"}
	if got, err := claimed(t, c, old, "0-19"); got != "0-19" || err != nil {
		t.Fatalf("of an old epoch: %s, %v", got, err)
	}
	for _, step := range []struct {
		id         Identity
		want, got  string
		heldByThem int // -1: by none
		heldSlots  string
	}{
		{a, "0-9", "0-9", -1, ""},
		{b, "10-19", "10-19", -1, ""},
		{b, "5-19", "10-19", 0, "5-9"},
		{a, "0-4,19", "0-4", 1, "19"}, // lets go of 5-9 all the same
		{b, "5-18", "5-18", -1, ""},
		{a, "0-4,19", "0-4,19", -1, ""},
		{b, "", "", -1, ""},
		{a, "0-19", "0-19", -1, ""},
	} {
		got, err := claimed(t, c, step.id, step.want)
		var held *HeldError
		switch {
		case errors.As(err, &held):
			if held.Shard != step.heldByThem || held.Slots != step.heldSlots {
				t.Errorf("shard %d wants %s: %v", step.id.Shard, step.want, err)
			}
		case err != nil || step.heldByThem >= 0:
			t.Errorf("shard %d wants %s: error %v", step.id.Shard, step.want, err)
		}
		if got != step.got {
			t.Errorf("shard %d wants %s and got %s, want %s", step.id.Shard, step.want, got, step.got)
		}
	}
}

// TestClaimRace: many claim the same slot at the same time, one gets it.
func TestClaimRace(t *testing.T) {
	s := testredis.Start(t)
	const shards = 8
	got := make([]route.SlotSet, shards)
	var wg sync.WaitGroup
	for i := range shards {
		c := dial(t, s)
		wg.Go(func() {
			for {
				var err error
				got[i], err = Claim(c, Identity{Pair: "p", Shard: i, Epoch: 1}, func(map[int]Holding) (route.SlotSet, error) {
					return slots(t, "7"), nil
				})
				if !IsRace(err) {
					return
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for _, g := range got {
		n += g.Count()
	}
	if n != 1 {
		t.Errorf("%d shards hold the slot", n)
	}
}

// TestHold: a new process goes on with what its shard held under the same
// link, and takes the slots of another one.
func TestHold(t *testing.T) {
	c := dial(t, testredis.Start(t))
	first, err := hold(c, Identity{Pair: "p", Shard: 1, Epoch: 1, Link: "0-9", Slots: "0-9"})
	if err != nil || first.Slots != "0-9" || !first.Known {
		t.Fatalf("%+v, %v", first, err)
	}
	if _, err := claimed(t, c, first, "0-4"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ link, want string }{{"0-9", "0-4"}, {"0-4", "0-4"}, {"2-7", "2-7"}, {"2-7", "2-7"}} {
		now, err := hold(c, Identity{Pair: "p", Shard: 1, Epoch: 1, Link: step.link, Slots: step.link})
		if err != nil || now.Slots != step.want {
			t.Errorf("link %s: %s, %v; want %s", step.link, now.Slots, err, step.want)
		}
	}
	// One that runs tells a target that has lost the last change.
	running := Identity{Pair: "p", Shard: 1, Epoch: 1, Link: "0-9", Slots: "5-9", Known: true}
	if now, err := hold(c, running); err != nil || now.Slots != "5-9" {
		t.Errorf("%+v, %v", now, err)
	}
}
