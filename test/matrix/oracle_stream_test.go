package matrix

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// unstable are the attributes of XINFO STREAM FULL that say how the server
// stores the stream, not what is in it.
var unstable = map[string]bool{"radix-tree-keys": true, "radix-tree-nodes": true, "entries": true, "groups": true}

// readStream reads the entries by XRANGE and everything else by XINFO STREAM
// FULL, whose attributes grew from release to release.
func (v *value) readStream(ctx context.Context, c redis.UniversalClient, key string) error {
	entries, err := c.Do(ctx, "XRANGE", key, "-", "+").Slice()
	if err != nil {
		return err
	}
	for _, e := range entries {
		v.lines = append(v.lines, fmt.Sprintf("%q", e))
	}
	info, err := c.Do(ctx, "XINFO", "STREAM", key, "FULL", "COUNT", "0").Slice()
	if err != nil {
		return err
	}
	v.attributes("", info)
	for i, g := range list(info, "groups") {
		group := g.([]any)
		prefix := fmt.Sprintf("group %d %v ", i, field(group, "name"))
		v.attributes(prefix, group)
		for j, consumer := range list(group, "consumers") {
			v.attributes(fmt.Sprintf("%sconsumer %d ", prefix, j), consumer.([]any))
		}
	}
	return nil
}

// attributes notes a flat list of names and values. Delivery times are inside
// of "pel" and "pending" and must be equal, the times at which a consumer was
// seen only close.
func (v *value) attributes(prefix string, flat []any) {
	for i := 0; i+1 < len(flat); i += 2 {
		name := fmt.Sprint(flat[i])
		switch {
		case unstable[name] || name == "consumers":
		case name == "seen-time" || name == "active-time":
			if n, ok := flat[i+1].(int64); ok {
				v.times[prefix+name] = n
			}
		default:
			v.attrs[prefix+name] = fmt.Sprintf("%v", flat[i+1])
		}
	}
}

func field(flat []any, name string) any {
	for i := 0; i+1 < len(flat); i += 2 {
		if fmt.Sprint(flat[i]) == name {
			return flat[i+1]
		}
	}
	return nil
}

func list(flat []any, name string) []any {
	l, _ := field(flat, name).([]any)
	return l
}
