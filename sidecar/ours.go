package sidecar

import (
	"bytes"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// ours reports whether a key of the source is not part of its data: one that
// we wrote there. A value that another pair is building there is part of it:
// it will be renamed.
func (r *Replicator) ours(key []byte) bool {
	if !bytes.HasPrefix(key, []byte(wire.KeyPrefix)) {
		return false
	}
	pair, staging := wire.StagingPair(string(key))
	return !staging || pair == r.id.Pair
}

// withoutOurs takes what an opposite link or the plugin wrote into the source
// out of a command, and what somebody deletes of it there with other keys: the
// keys of these names in the target are its own. It reports whether anything
// is left.
func (r *Replicator) withoutOurs(c *resp.Command) (left bool, err error) {
	if len(c.Args) < 2 {
		return true, nil
	}
	if len(c.Args) > 2 && severalKeys(c.Args[0]) {
		if per, ok := route.Splittable(c.Args[0]); ok {
			return r.withoutOurKeys(c, per), nil
		}
	}
	if !r.ours(c.Args[1]) {
		return true, nil
	}
	if len(c.Args) > 2 && bytes.HasPrefix(bytes.ToLower(c.Args[0]), []byte("rename")) && !r.ours(c.Args[2]) {
		return false, stopf("the stream of the source writes key %q from a key of this very pair, so the source is written to by the opposite link", c.Args[2])
	}
	return false, nil
}

// severalKeys reports whether a command's name may begin one that
// route.Splittable knows; most commands are told by their first letter.
func severalKeys(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	switch name[0] | 0x20 {
	case 'd', 'u', 'm', 't':
		return true
	}
	return false
}

// withoutOurKeys takes our keys out of a command on keys of per arguments each.
func (r *Replicator) withoutOurKeys(c *resp.Command, per int) (left bool) {
	found := false
	for i := 1; i < len(c.Args) && !found; i += per {
		found = r.ours(c.Args[i])
	}
	if !found {
		return true
	}
	words := []string{string(c.Args[0])}
	for i := 1; i+per <= len(c.Args); i += per {
		if r.ours(c.Args[i]) {
			continue
		}
		for _, a := range c.Args[i : i+per] {
			words = append(words, string(a))
		}
	}
	c.Raw = resp.AppendCommand(nil, words...)
	c.Args = c.Args[:0]
	for _, w := range words {
		c.Args = append(c.Args, []byte(w))
	}
	return len(words) > 1
}
