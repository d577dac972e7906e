package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// value is what typed reads say about one key.
type value struct {
	kind   string
	lines  []string          // elements; in order where the type has one
	attrs  map[string]string // compared where both servers have them
	times  map[string]int64  // Unix ms, as attrs, within the tolerance
	expire int64             // Unix ms, -1 for none
	fields map[string]int64  // expiry of hash fields that have one
	idle   int64             // seconds, -1 when unknown
	freq   int64             // -1 when unknown
	digest string            // of the server's own DEBUG DIGEST-VALUE
}

// contents reads every key of every database, our own keys left out.
func contents(t testing.TB, e *end) map[string]*value {
	t.Helper()
	all := map[string]*value{}
	for db := range e.databases() {
		c := e.client(db)
		for _, shard := range e.shards(t, c) {
			it := shard.Scan(t.Context(), 0, "*", 1000).Iterator()
			var keys []string
			for it.Next(t.Context()) {
				keys = append(keys, it.Val())
			}
			if err := it.Err(); err != nil {
				t.Fatalf("%s: SCAN: %v", e.name, err)
			}
			for _, k := range keys {
				if strings.HasPrefix(k, wire.KeyPrefix) {
					continue
				}
				v, err := read(t.Context(), e, c, k)
				if err != nil {
					t.Fatalf("%s: read key %q in database %d: %v", e.name, k, db, err)
				}
				all[fmt.Sprintf("%d %q", db, k)] = v
			}
		}
	}
	if e.has("FUNCTION") {
		if f := functions(t, e); len(f) > 0 {
			all["functions"] = &value{kind: "functions", lines: f, expire: -1, idle: -1, freq: -1}
		}
	}
	return all
}

func functions(t testing.TB, e *end) []string {
	t.Helper()
	libs, err := e.client(0).FunctionList(t.Context(), redis.FunctionListQuery{WithCode: true}).Result()
	if err != nil {
		t.Fatalf("%s: FUNCTION LIST: %v", e.name, err)
	}
	var lines []string
	for _, l := range libs {
		lines = append(lines, l.Name+" "+l.Code)
	}
	slices.Sort(lines)
	return lines
}

// read asks for one key; first what a read would change.
func read(ctx context.Context, e *end, c redis.UniversalClient, key string) (*value, error) {
	v := &value{idle: -1, freq: -1, attrs: map[string]string{}, times: map[string]int64{}, fields: map[string]int64{}}
	// Of other keys it says nothing: integers below 10000 share one object.
	if strings.Contains(key, accessFeature) {
		if n, err := c.Do(ctx, "OBJECT", "IDLETIME", key).Int64(); err == nil {
			v.idle = n
		}
		if n, err := c.Do(ctx, "OBJECT", "FREQ", key).Int64(); err == nil {
			v.freq = n
		}
	}
	var err error
	if v.kind, err = c.Type(ctx, key).Result(); err != nil {
		return nil, err
	}
	if err := v.readExpire(ctx, e, c, key); err != nil {
		return nil, err
	}
	if d, err := c.Do(ctx, "DEBUG", "DIGEST-VALUE", key).Slice(); err == nil && len(d) == 1 {
		v.digest = fmt.Sprint(d[0])
	}
	switch v.kind {
	case "string":
		s, err := c.Get(ctx, key).Result()
		v.lines = []string{s}
		return v, err
	case "list":
		v.lines, err = c.LRange(ctx, key, 0, -1).Result()
		return v, err
	case "set":
		v.lines, err = c.SMembers(ctx, key).Result()
		slices.Sort(v.lines)
		return v, err
	case "zset":
		zs, err := c.ZRangeWithScores(ctx, key, 0, -1).Result()
		for _, z := range zs {
			// Adding 0 makes 0 of -0: which of the two ZADD keeps depends on
			// the release and on the encoding.
			v.lines = append(v.lines, strconv.FormatFloat(z.Score+0, 'g', -1, 64)+" "+fmt.Sprint(z.Member))
		}
		return v, err
	case "hash":
		return v, v.readHash(ctx, e, c, key)
	case "stream":
		return v, v.readStream(ctx, c, key)
	case "vectorset":
		return v, v.readVectors(ctx, c, key)
	}
	return nil, fmt.Errorf("no reader for type %q", v.kind)
}

// readExpire asks for the deadline; servers before 7.0 only tell the rest of
// the time.
func (v *value) readExpire(ctx context.Context, e *end, c redis.UniversalClient, key string) error {
	if e.has("PEXPIRETIME") {
		n, err := c.Do(ctx, "PEXPIRETIME", key).Int64()
		v.expire = n
		return err
	}
	rest, err := c.Do(ctx, "PTTL", key).Int64()
	if v.expire = rest; rest >= 0 {
		v.expire = time.Now().UnixMilli() + rest
	}
	return err
}

func (v *value) readHash(ctx context.Context, e *end, c redis.UniversalClient, key string) error {
	h, err := c.HGetAll(ctx, key).Result()
	if err != nil {
		return err
	}
	var names []string
	for f, x := range h {
		v.lines = append(v.lines, fmt.Sprintf("%q = %q", f, x))
		names = append(names, f)
	}
	slices.Sort(v.lines)
	if !e.has("HPEXPIRETIME") || len(names) == 0 {
		return nil
	}
	args := []any{"HPEXPIRETIME", key, "FIELDS", len(names)}
	for _, f := range names {
		args = append(args, f)
	}
	times, err := c.Do(ctx, args...).Int64Slice()
	if err != nil {
		return err
	}
	for i, at := range times {
		if at >= 0 {
			v.fields[names[i]] = at
		}
	}
	return nil
}

func (v *value) readVectors(ctx context.Context, c redis.UniversalClient, key string) error {
	members, err := c.Do(ctx, "VRANDMEMBER", key, -1000).StringSlice()
	if err != nil {
		return err
	}
	slices.Sort(members)
	for _, m := range slices.Compact(members) {
		emb, err := c.Do(ctx, "VEMB", key, m).StringSlice()
		if err != nil {
			return err
		}
		attr, err := c.Do(ctx, "VGETATTR", key, m).Text()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		v.lines = append(v.lines, fmt.Sprint(m, emb, attr))
	}
	return nil
}

// diff is one difference.
type diff struct{ key, text string }

func (d diff) String() string { return d.key + " " + d.text }

// measure says how exactly two contents are compared.
type measure struct {
	between time.Duration // deadlines may be so far apart
	seen    time.Duration // the times of consumers too
	access  bool          // idle times and access counters too
	digest  bool          // both are of one release: DEBUG DIGEST-VALUE too
}

// difference says how two contents differ.
func difference(source, target map[string]*value, m measure) []diff {
	var diffs []diff
	for k, s := range source {
		d, ok := target[k]
		switch {
		case !ok:
			diffs = append(diffs, diff{k, "is missing on the target"})
		default:
			for _, what := range s.differs(d, m) {
				diffs = append(diffs, diff{k, "(" + s.kind + "): " + what})
			}
		}
	}
	for k := range target {
		if _, ok := source[k]; !ok {
			diffs = append(diffs, diff{k, "is only on the target"})
		}
	}
	slices.SortFunc(diffs, func(a, b diff) int { return strings.Compare(a.String(), b.String()) })
	return diffs
}

func (v *value) differs(o *value, m measure) []string {
	var diffs []string
	add := func(what string, a, b any) {
		diffs = append(diffs, fmt.Sprintf("%s: source %.200q, target %.200q", what, fmt.Sprint(a), fmt.Sprint(b)))
	}
	if v.kind != o.kind {
		add("type", v.kind, o.kind)
		return diffs
	}
	if len(v.lines) != len(o.lines) {
		add("number of elements", len(v.lines), len(o.lines))
	} else {
		for i := range v.lines {
			if v.lines[i] != o.lines[i] {
				add(fmt.Sprintf("element %d", i), v.lines[i], o.lines[i])
				break
			}
		}
	}
	for name, x := range v.attrs {
		if y, ok := o.attrs[name]; ok && x != y {
			add(name, x, y)
		}
	}
	for name, x := range v.times {
		if y, ok := o.times[name]; ok && apart(x, y) > m.seen {
			add(name, x, y)
		}
	}
	if (v.expire < 0) != (o.expire < 0) || apart(v.expire, o.expire) > m.between {
		add("expiry", v.expire, o.expire)
	}
	if len(v.fields) != len(o.fields) {
		add("fields with an expiry", len(v.fields), len(o.fields))
	} else {
		for f, at := range v.fields {
			if o.fields[f] != at {
				add("expiry of field "+f, at, o.fields[f])
				break
			}
		}
	}
	if m.access && v.idle >= 0 && o.idle >= 0 && apart(1000*v.idle, 1000*o.idle) > 10*time.Second {
		add("idle time", v.idle, o.idle)
	}
	if m.access && v.freq >= 0 && o.freq >= 0 && max(v.freq-o.freq, o.freq-v.freq) > 10 {
		add("access frequency", v.freq, o.freq)
	}
	if m.digest && len(diffs) == 0 && v.digest != o.digest {
		add("DEBUG DIGEST-VALUE", v.digest, o.digest)
	}
	return diffs
}

// apart is the distance between two times in milliseconds.
func apart(a, b int64) time.Duration { return time.Duration(max(a-b, b-a)) * time.Millisecond }
