package soak

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// keyName is a key of one database.
type keyName struct {
	db  int
	key string
}

// value is what a server says about a key.
type value struct {
	kind     string
	digest   string // DEBUG DIGEST-VALUE, and of a stream what XINFO adds
	expires  int64  // PEXPIRETIME: Unix milliseconds; -1 none
	describe string // lengths and numbers, for messages
}

// difference of one key.
type difference struct {
	name           keyName
	source, target *value // nil: missing
}

func (d difference) String() string {
	show := func(v *value) string {
		if v == nil {
			return "missing"
		}
		return v.describe
	}
	return fmt.Sprintf("db %d %.80q: source %s; target %s", d.name.db, d.name.key, show(d.source), show(d.target))
}

// comparison of two sides.
type comparison struct {
	keys        int
	byType      map[string]int
	differences []difference
	near        []difference // of keys with deadlines of a few seconds
}

// settling is how long keys whose deadlines pass during the comparison are
// given to go away on both sides.
const settling = 30 * time.Second

// compare reads both sides completely. Nothing may write to them.
func compare(ctx context.Context, source, target *side, dbs int) (comparison, error) {
	deadline := time.Now().Add(settling)
	for {
		from, err := source.read(dbs)
		if err != nil {
			return comparison{}, err
		}
		to, err := target.read(dbs)
		if err != nil {
			return comparison{}, err
		}
		c := diff(from, to)
		if !c.unsettled(time.Now()) || time.Now().After(deadline) {
			return c, nil
		}
		if !pause(ctx, time.Second) {
			return c, ctx.Err()
		}
	}
}

func diff(source, target map[keyName]*value) comparison {
	c := comparison{keys: len(source), byType: map[string]int{}}
	add := func(d difference) {
		if strings.HasPrefix(d.name.key, nearPrefix) {
			c.near = append(c.near, d)
			return
		}
		c.differences = append(c.differences, d)
	}
	for name, v := range source {
		c.byType[v.kind]++
		other := target[name]
		if other == nil || other.kind != v.kind || other.digest != v.digest || other.expires != v.expires {
			add(difference{name, v, other})
		}
	}
	for name, v := range target {
		if source[name] == nil {
			add(difference{name, nil, v})
		}
	}
	for _, list := range [][]difference{c.differences, c.near} {
		sort.Slice(list, func(i, j int) bool {
			return list[i].name.db < list[j].name.db || list[i].name.db == list[j].name.db && list[i].name.key < list[j].name.key
		})
	}
	return c
}

// unsettled reports whether a key differs whose deadline has just passed, or
// will in a moment: the servers delete it at moments of their own.
func (c comparison) unsettled(now time.Time) bool {
	for _, list := range [][]difference{c.differences, c.near} {
		for _, d := range list {
			for _, v := range []*value{d.source, d.target} {
				if v != nil && v.expires >= 0 && time.UnixMilli(v.expires).Before(now.Add(10*time.Second)) {
					return true
				}
			}
		}
	}
	return false
}

// read asks the masters of a side for all keys, ours left out.
func (s *side) read(dbs int) (map[keyName]*value, error) {
	all := map[keyName]*value{}
	for _, set := range s.sets {
		m, err := s.master(set)
		if err != nil {
			return nil, fmt.Errorf("comparing: %s: %w", s.name, err)
		}
		c, err := testredis.Dial(m.Addr, "")
		if err != nil {
			return nil, fmt.Errorf("comparing: %s: %w", s.name, err)
		}
		err = readServer(c, dbs, s.shape == cluster, all)
		_ = c.Close()
		if err != nil {
			return nil, fmt.Errorf("comparing: %s: %s: %w", s.name, m.Addr, err)
		}
	}
	return all, nil
}

func readServer(c *testredis.Client, dbs int, isCluster bool, all map[keyName]*value) error {
	if isCluster {
		dbs = 1
	}
	for db := range dbs {
		if !isCluster {
			if _, err := c.Do("SELECT", strconv.Itoa(db)); err != nil {
				return err
			}
		}
		reply, err := c.Do("KEYS", "*")
		if err != nil {
			return err
		}
		keys, _ := reply.([]any)
		for _, k := range keys {
			key, _ := k.(string)
			if strings.HasPrefix(key, wire.KeyPrefix) {
				continue
			}
			v, err := readKey(c, key)
			if err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
			if v == nil {
				continue // it expired meanwhile
			}
			if all[keyName{db, key}] != nil {
				return fmt.Errorf("key %q is on two masters", key)
			}
			all[keyName{db, key}] = v
		}
	}
	return nil
}

var lengthCommand = map[string]string{
	"string": "STRLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN", "stream": "XLEN",
}

func readKey(c *testredis.Client, key string) (*value, error) {
	replies, err := c.Pipeline([]string{"TYPE", key}, []string{"DEBUG", "DIGEST-VALUE", key}, []string{"PEXPIRETIME", key})
	if err != nil {
		return nil, err
	}
	for _, r := range replies {
		if refused, ok := r.(testredis.ErrorReply); ok {
			return nil, refused
		}
	}
	v := &value{digest: fmt.Sprint(replies[1])}
	v.kind, _ = replies[0].(string)
	v.expires, _ = replies[2].(int64)
	if v.kind == "none" || v.expires == -2 {
		return nil, nil
	}
	replies, err = c.Pipeline([]string{lengthCommand[v.kind], key})
	if err != nil {
		return nil, err
	}
	v.describe = fmt.Sprintf("%s of length %v, digest %.10s, expires %d", v.kind, replies[0], strings.Trim(v.digest, "[]"), v.expires)
	switch v.kind {
	case "string":
		reply, err := c.Do("GET", key)
		if err != nil {
			return nil, err
		}
		text, _ := reply.(string)
		if _, err := strconv.ParseFloat(text, 64); err == nil && len(text) <= 24 {
			v.describe += ", value " + text
		}
	case "stream":
		// The digest covers the entries only.
		reply, err := c.Do("XINFO", "STREAM", key)
		var refused testredis.ErrorReply
		if errors.As(err, &refused) && strings.Contains(string(refused), "no such key") {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		list, _ := reply.([]any)
		var counters strings.Builder
		for i := 0; i+1 < len(list); i += 2 {
			switch list[i] {
			case "last-generated-id", "max-deleted-entry-id", "entries-added", "length":
				fmt.Fprint(&counters, " ", list[i], " ", list[i+1])
			}
		}
		v.digest += counters.String()
		v.describe += "," + counters.String()
	}
	return v, nil
}
