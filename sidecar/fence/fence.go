// Package fence makes one process the only writer of a shard. It names the
// connections to the target, compares the epoch, raises the incarnation of
// the shard, and ends the connections of every other process that wrote to
// it; only then is the checkpoint read. A process that was frozen, or bytes
// left in its socket, cannot write after that.
package fence

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
)

// Identity is who wants to write.
type Identity struct {
	Pair  string
	Shard int
	Epoch int64  // 0: no [link], no fence key
	Link  string // slots of the link, as in sync.toml
	Slots string // that the shard holds; a checkpoint under others is void
	Known bool   // Slots is known; before the first Take it is not
	Token string // random, one per process
}

// FencedError says that the target does not let this epoch write.
type FencedError struct {
	Addr string
	Want int64
	Have string // "" when the key is missing
}

func (e *FencedError) Error() string {
	if e.Have == "" {
		return fmt.Sprintf("fenced: the target %s has no epoch key; only `kubectl redis-sync apply` sets it", e.Addr)
	}
	return fmt.Sprintf("fenced: this replicator has epoch %d, the target %s says %s", e.Want, e.Addr, e.Have)
}

// SupersededError says that another process took the shard after this one.
type SupersededError struct{ Mine, Now string }

func (e *SupersededError) Error() string {
	return fmt.Sprintf("superseded: another replicator took this shard (incarnation %s, mine was %s)", counterText(e.Now), counterText(e.Mine))
}

// NotMasterError says that a server of the target cannot be written to.
type NotMasterError struct{ Addr, Role string }

func (e *NotMasterError) Error() string {
	return fmt.Sprintf("the target %s is a %s, not a master", e.Addr, e.Role)
}

// IsRace reports whether two processes took the shard at the same moment;
// the caller tries again.
var errRace = errors.New("another replicator took its shard at the same moment")

// IsRace reports whether Take lost a race and can be tried again.
func IsRace(err error) bool { return errors.Is(err, errRace) }

// Take makes this process the writer. holder is the connection to the node
// that holds the keys of the pair, writers are all connections that will
// write (holder among them, or on the same node), and mine is the incarnation
// that this process took before, "" at first. It returns the incarnation, the
// identity with the slots that the shard holds, and the checkpoint as it
// stands after everybody else was shut out.
//
// others reach the remaining nodes of the target (replicas), on which an old
// connection may wait for its node to become a master.
func Take(id Identity, mine string, holder *conn.Conn, writers, others []*conn.Conn) (string, Identity, Checkpoint, error) {
	cur, err := get(holder, wire.IncarnationKey(id.Pair, id.Shard))
	if err != nil {
		return mine, id, Checkpoint{}, err
	}
	next := mine
	switch {
	case strings.HasSuffix(cur, ":"+id.Token):
		next = cur // ours, even when the answer to raising it got lost
	case cur != mine || mine == "":
		if mine != "" && counter(cur) >= counter(mine) {
			return mine, id, Checkpoint{}, &SupersededError{Mine: mine, Now: cur}
		}
		// At first; or a failover of the target lost what this process wrote.
		next = strconv.FormatInt(max(counter(cur), counter(mine))+1, 10) + ":" + id.Token
	}
	name := wire.ConnName(id.Pair, id.Shard, id.Epoch, next)
	all := append([]*conn.Conn{holder}, writers...)
	ids := map[string]map[string]bool{} // run id of a server -> ids of our connections there
	for _, c := range all {
		if _, err := c.Do("CLIENT", "SETNAME", name); err != nil {
			return mine, id, Checkpoint{}, err
		}
		r, err := c.Do("CLIENT", "ID")
		if err != nil {
			return mine, id, Checkpoint{}, err
		}
		server, err := c.Info("server")
		if err != nil {
			return mine, id, Checkpoint{}, err
		}
		if ids[server["run_id"]] == nil {
			ids[server["run_id"]] = map[string]bool{}
		}
		ids[server["run_id"]][strconv.FormatInt(r.Int, 10)] = true
	}
	// Who took the shard between the first look and the names did not see
	// these connections.
	if now, err := get(holder, wire.IncarnationKey(id.Pair, id.Shard)); err != nil {
		return mine, id, Checkpoint{}, err
	} else if now != cur {
		return mine, id, Checkpoint{}, errRace
	}
	// After the names: whoever raises the epoch or the incarnation from here
	// on finds these connections and ends them.
	if id.Epoch != 0 {
		have, err := get(holder, wire.FenceKey(id.Pair))
		if err != nil {
			return mine, id, Checkpoint{}, err
		}
		if have != strconv.FormatInt(id.Epoch, 10) {
			return mine, id, Checkpoint{}, &FencedError{Addr: holder.Addr, Want: id.Epoch, Have: have}
		}
	}
	for _, c := range all {
		role, _, err := c.Role()
		if err != nil {
			return mine, id, Checkpoint{}, err
		}
		if role != "master" {
			return mine, id, Checkpoint{}, &NotMasterError{c.Addr, role}
		}
	}
	if next != cur {
		if err := raise(holder, wire.IncarnationKey(id.Pair, id.Shard), cur, next); err != nil {
			return mine, id, Checkpoint{}, err
		}
	}
	for _, c := range append(all, others...) {
		// Two addresses may lead to one server.
		server, err := c.Info("server")
		if err != nil {
			return next, id, Checkpoint{}, err
		}
		if err := killOthers(c, id, ids[server["run_id"]]); err != nil {
			return next, id, Checkpoint{}, err
		}
	}
	if id, err = hold(holder, id); err != nil {
		return next, id, Checkpoint{}, err
	}
	ckpt, err := ReadCheckpoint(holder, id)
	ckpt.Slots = id.Slots
	return next, id, ckpt, err
}

func get(c *conn.Conn, key string) (string, error) {
	r, err := c.Do("GET", key)
	return r.Text, err
}

// counter is the number before the colon of an incarnation.
func counter(inc string) int64 {
	n, err := strconv.ParseInt(counterText(inc), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func counterText(inc string) string {
	n, _, _ := strings.Cut(inc, ":")
	return n
}

// raise sets the incarnation if it is still what was read.
func raise(c *conn.Conn, key, from, to string) error {
	if _, err := c.Do("WATCH", key); err != nil {
		return err
	}
	now, err := get(c, key)
	if err != nil {
		return err
	}
	if now != from {
		if _, err := c.Do("UNWATCH"); err != nil {
			return err
		}
		return errRace
	}
	if _, err := c.Do("MULTI"); err != nil {
		return err
	}
	if _, err := c.Do("SET", key, to); err != nil {
		_, _ = c.Do("DISCARD")
		return err
	}
	r, err := c.Do("EXEC")
	if err != nil {
		return err
	}
	if r.Null {
		return errRace
	}
	return nil
}

// killOthers ends all connections to this shard but those of now: of other
// processes and epochs, and our own of before, of which bytes may still be on
// their way. There is no filter by name, so the list is read.
func killOthers(c *conn.Conn, id Identity, mine map[string]bool) error {
	r, err := c.Do("CLIENT", "LIST", "TYPE", "normal")
	if err != nil {
		return err
	}
	for line := range strings.Lines(r.Text) {
		var clientID, name string
		for f := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(f, "id="); ok {
				clientID = v
			} else if v, ok := strings.CutPrefix(f, "name="); ok {
				name = v
			}
		}
		if _, _, ok := wire.ConnOfShard(name, id.Pair, id.Shard); !ok || mine[clientID] {
			continue
		}
		// It may have gone by itself since the list was made.
		if _, err := c.Do("CLIENT", "KILL", "ID", clientID); err != nil {
			return err
		}
	}
	return nil
}
