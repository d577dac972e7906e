package fence

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// The shards of a pair agree in the target who writes which slots. A hash
// (wire.SlotsKey) has for each shard what it holds; a shard writes to no other
// slots than those. It is changed in one step with WATCH, and only under
// these rules:
//
//   - only a shard itself lets go of slots, after it has stopped applying and
//     marked its checkpoint as void, so nothing of it is on its way;
//   - a slot can be taken only when no other shard holds it;
//   - what a shard took it copies again in full, and sweeps, before it counts
//     as complete.
//
// So two shards never write a slot at the same time, whatever each of them
// believes of the source, and letting go never waits for anything, so nobody
// waits in a circle. A process that is killed finds what its shard holds in
// the hash. A target that lost the last changes in a failover is told again
// when its writers take their shards anew; until then they cannot write.
// Shards of other epochs do not count: the fence keeps them from writing.

// Holding is what the hash says of one shard.
type Holding struct {
	Epoch int64
	Link  string // slots of its link, as in sync.toml
	Slots route.SlotSet
}

// HeldError says that slots which this shard should serve are still another
// one's.
type HeldError struct {
	Shard int
	Slots string
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("shard %d has not let go of the slots %s yet, which the source has given to this shard", e.Shard, e.Slots)
}

// text writes "<epoch> <link> <slots>", "-" for none.
func (h Holding) text() string {
	return strconv.FormatInt(h.Epoch, 10) + " " + orDash(h.Link) + " " + orDash(h.Slots.String())
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func parseHolding(text string) (Holding, error) {
	f := strings.Fields(text)
	if len(f) != 3 {
		return Holding{}, fmt.Errorf("%q is not an epoch and two sets of slots", text)
	}
	epoch, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return Holding{}, fmt.Errorf("%q begins with no epoch", text)
	}
	for i := 1; i < 3; i++ {
		if f[i] == "-" {
			f[i] = ""
		}
	}
	slots, err := route.ParseSlots(f[2])
	return Holding{Epoch: epoch, Link: f[1], Slots: slots}, err
}

// Holdings reads what the shards of this epoch hold, by their ordinals.
func Holdings(c *conn.Conn, id Identity) (map[int]Holding, error) {
	f, err := ReadHash(c, wire.SlotsKey(id.Pair))
	if err != nil {
		return nil, err
	}
	all := map[int]Holding{}
	for name, text := range f {
		shard, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("%s at %s: field %q is no shard", wire.SlotsKey(id.Pair), c.Addr, name)
		}
		h, err := parseHolding(text)
		if err != nil {
			return nil, fmt.Errorf("%s at %s: shard %d: %w", wire.SlotsKey(id.Pair), c.Addr, shard, err)
		}
		if h.Epoch == id.Epoch {
			all[shard] = h
		}
	}
	return all, nil
}

// Claim makes the shard of id hold the slots that want chooses from what all
// hold now, and returns those that it got. What others hold it does not get:
// the error is then a *HeldError, and everything else is done. Slots that it
// held and that are not wanted are free afterwards.
func Claim(c *conn.Conn, id Identity, want func(map[int]Holding) (route.SlotSet, error)) (route.SlotSet, error) {
	key := wire.SlotsKey(id.Pair)
	if _, err := c.Do("WATCH", key); err != nil {
		return nil, err
	}
	got, held, value, err := claim(c, id, want)
	if err != nil || value == "" {
		if _, unwatchErr := c.Do("UNWATCH"); unwatchErr != nil {
			return nil, unwatchErr
		}
		if err != nil {
			return nil, err
		}
		return got, asError(held)
	}
	if _, err := c.Do("MULTI"); err != nil {
		return nil, err
	}
	if _, err := c.Do("HSET", key, strconv.Itoa(id.Shard), value); err != nil {
		_, _ = c.Do("DISCARD") // the first error says what went wrong
		return nil, err
	}
	r, err := c.Do("EXEC")
	if err != nil {
		return nil, err
	}
	if r.Null {
		return nil, errRace
	}
	return got, asError(held)
}

// asError avoids a nil pointer in an error.
func asError(held *HeldError) error {
	if held == nil {
		return nil
	}
	return held
}

// claim works out the new value, "" when it is there already.
func claim(c *conn.Conn, id Identity, want func(map[int]Holding) (route.SlotSet, error)) (got route.SlotSet, held *HeldError, value string, err error) {
	all, err := Holdings(c, id)
	if err != nil {
		return nil, nil, "", err
	}
	wanted, err := want(all)
	if err != nil {
		return nil, nil, "", err
	}
	got = route.NewSlotSet()
	got.Merge(wanted)
	for shard, h := range all {
		if shard == id.Shard {
			continue
		}
		if both := got.And(h.Slots); both.Count() > 0 {
			got = got.Minus(both)
			if held == nil || shard < held.Shard {
				held = &HeldError{Shard: shard, Slots: both.String()}
			}
		}
	}
	mine := Holding{Epoch: id.Epoch, Link: id.Link, Slots: got}
	if old, ok := all[id.Shard]; ok && old.text() == mine.text() {
		return got, held, "", nil
	}
	return got, held, mine.text(), nil
}

// hold makes sure, on every new connection, that the shard holds its slots:
// those that this process knows of, else those that a process before it had
// under the same link, else those of the link.
func hold(c *conn.Conn, id Identity) (Identity, error) {
	if id.Epoch == 0 { // no [link]: nobody else has a part of the source
		return id, nil
	}
	got, err := Claim(c, id, func(all map[int]Holding) (route.SlotSet, error) {
		text := id.Slots
		if old, ok := all[id.Shard]; !id.Known {
			if text = id.Link; ok && old.Link == id.Link {
				return old.Slots, nil
			}
		}
		return route.ParseSlots(text)
	})
	if err != nil {
		return id, err
	}
	id.Slots, id.Known = got.String(), true
	return id, nil
}
