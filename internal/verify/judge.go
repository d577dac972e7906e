package verify

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// verdict is what one reading of a key on both sides gave.
type verdict struct {
	kind   Kind // "" is equal
	typ    string
	detail string
	source fingerprint
	target fingerprint
}

const (
	// dumpBudget bounds the estimated size of payloads asked for together.
	dumpBudget = 4 << 20
	// contentWorkers bounds the values of one batch that are read element by
	// element at the same time.
	contentWorkers = 8
)

// judge compares keys on two sides.
type judge struct {
	source, target *side
	tolerance      int64 // of deadlines, milliseconds
	maxDump        int64
	delivery       bool
	texts          bool // strings are read with MGET
	sameValue      func(source, target string) bool
	undated        map[int]bool // databases whose keys have no deadlines, for the first round

	unread atomic.Uint64 // values that changed while being read, so far
}

// question is the comparison of some keys of one database.
type question struct {
	db       int
	keys     []string
	src, tgt []meta
	verdicts []verdict
}

// compare reads keys of one database on both sides.
func (j *judge) compare(ctx context.Context, db int, keys []string) ([]verdict, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	q := question{db: db, keys: keys, verdicts: make([]verdict, len(keys))}
	err := both(ctx,
		// What is small on the source is small on its copy. Where it is not,
		// the copy is no worse than large, and nobody's primary.
		func(ctx context.Context) (err error) { q.src, err = j.source.metas(ctx, db, keys, true); return err },
		func(ctx context.Context) (err error) { q.tgt, err = j.target.metas(ctx, db, keys, false); return err })
	if err != nil {
		return nil, err
	}
	var small, large, oneSided []int
	for i := range keys {
		src, tgt, v := &q.src[i], &q.tgt[i], &q.verdicts[i]
		switch {
		case !src.exists && !tgt.exists:
			v.typ = typeNone
		case !tgt.exists:
			v.kind = Missing
			oneSided = append(oneSided, i)
		case !src.exists:
			v.kind = Extra
			oneSided = append(oneSided, i)
		default:
			if !sameDeadline(src.deadline, tgt.deadline, j.tolerance) {
				v.kind, v.detail = TTL, deadlines(src.deadline, tgt.deadline)
			}
			if max(src.size, tgt.size) <= j.maxDump {
				small = append(small, i)
			} else {
				large = append(large, i)
			}
		}
	}
	if err := j.nameTypes(ctx, &q, oneSided); err != nil {
		return nil, err
	}
	return q.verdicts, j.compareValues(ctx, &q, small, large)
}

// compareValues compares the values of keys that are on both sides.
func (j *judge) compareValues(ctx context.Context, q *question, small, large []int) error {
	unequal, err := j.comparePayloads(ctx, q, small)
	if err != nil {
		return err
	}
	closer, err := j.compareTypes(ctx, q, append(unequal, large...))
	if err != nil {
		return err
	}
	return j.compareContents(ctx, q, closer)
}

// pick gives the names of some of the keys.
func (q *question) pick(indexes []int) []string {
	names := make([]string, len(indexes))
	for k, i := range indexes {
		names[k] = q.keys[i]
	}
	return names
}

// nameTypes finds the types of keys that one side only has.
func (j *judge) nameTypes(ctx context.Context, q *question, indexes []int) error {
	for _, part := range []struct {
		of   *side
		kind Kind
	}{{j.source, Missing}, {j.target, Extra}} {
		var own []int
		for _, i := range indexes {
			if q.verdicts[i].kind == part.kind {
				own = append(own, i)
			}
		}
		if len(own) == 0 {
			continue
		}
		types, err := part.of.types(ctx, q.db, q.pick(own))
		if err != nil {
			return err
		}
		for k, i := range own {
			v := &q.verdicts[i]
			v.typ = types[k]
			v.source, v.target = q.src[i].fingerprint(v.typ, ""), q.tgt[i].fingerprint(v.typ, "")
		}
	}
	return nil
}

// comparePayloads compares the values of indexes by MGET or DUMP and returns
// those that need a closer look.
func (j *judge) comparePayloads(ctx context.Context, q *question, indexes []int) ([]int, error) {
	var unequal, nameless []int
	for len(indexes) > 0 {
		n, size := 0, int64(0)
		for n < len(indexes) && (n == 0 || size+max(q.src[indexes[n]].size, q.tgt[indexes[n]].size) <= dumpBudget) {
			size += max(q.src[indexes[n]].size, q.tgt[indexes[n]].size)
			n++
		}
		part := indexes[:n]
		indexes = indexes[n:]
		others, err := j.compareTexts(ctx, q, part, &unequal)
		if err != nil {
			return nil, err
		}
		a, b, err := readBoth(ctx, j, (*side).dumps, q.db, q.pick(others))
		if err != nil {
			return nil, err
		}
		for k, i := range others {
			v := &q.verdicts[i]
			switch {
			case a[k] == "" || b[k] == "":
				j.changed(v)
			// Of a key whose deadline differs the state is to be known, which
			// may not depend on the order in which a server writes.
			case a[k] == tooLarge || b[k] == tooLarge, a[k] != b[k] && (v.kind != "" || j.sameValue == nil || !j.sameValue(a[k], b[k])):
				unequal = append(unequal, i)
			default:
				typ, known := payloadTypes[a[k][0]]
				if !known {
					nameless = append(nameless, i)
				}
				j.equal(q, i, typ, a[k])
			}
		}
	}
	if len(nameless) > 0 {
		types, err := j.source.types(ctx, q.db, q.pick(nameless))
		if err != nil {
			return nil, err
		}
		for k, i := range nameless {
			q.verdicts[i].typ = types[k]
		}
	}
	return unequal, nil
}

// compareTexts compares those of part that are strings. It returns the others,
// and those that are gone.
func (j *judge) compareTexts(ctx context.Context, q *question, part []int, unequal *[]int) (others []int, err error) {
	if !j.texts {
		return part, nil
	}
	a, b, err := readBoth(ctx, j, (*side).texts, q.db, q.pick(part))
	if err != nil {
		return nil, err
	}
	for k, i := range part {
		text, isText := a[k].(string)
		switch {
		case a[k] == nil && b[k] == nil:
			others = append(others, i)
		case isText && a[k] == b[k]:
			j.equal(q, i, "string", text)
		default:
			*unequal = append(*unequal, i)
		}
	}
	return others, nil
}

// equal notes the type of a key whose value is the same on both sides.
func (j *judge) equal(q *question, i int, typ, value string) {
	v := &q.verdicts[i]
	v.typ = typ
	if v.kind != "" { // the deadlines differ
		v.source, v.target = q.src[i].fingerprint(typ, value), q.tgt[i].fingerprint(typ, value)
	}
}

// readBoth reads some keys on both sides.
func readBoth[T any](ctx context.Context, j *judge, read func(*side, context.Context, int, []string) ([]T, error), db int, keys []string) (source, target []T, err error) {
	if len(keys) == 0 {
		return nil, nil, nil
	}
	err = both(ctx,
		func(ctx context.Context) (err error) { source, err = read(j.source, ctx, db, keys); return err },
		func(ctx context.Context) (err error) { target, err = read(j.target, ctx, db, keys); return err })
	return source, target, err
}

// compareTypes compares the types of indexes and returns those that are of
// one type on both sides.
func (j *judge) compareTypes(ctx context.Context, q *question, indexes []int) ([]int, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	src, tgt, err := readBoth(ctx, j, (*side).types, q.db, q.pick(indexes))
	if err != nil {
		return nil, err
	}
	var same []int
	for k, i := range indexes {
		v := &q.verdicts[i]
		v.typ = src[k]
		switch {
		case src[k] == typeNone || tgt[k] == typeNone:
			j.changed(v)
		case src[k] != tgt[k]:
			v.kind, v.detail = Different, "type "+src[k]+", on the target "+tgt[k]
			v.source, v.target = q.src[i].fingerprint(src[k], ""), q.tgt[i].fingerprint(tgt[k], "")
		default:
			same = append(same, i)
		}
	}
	return same, nil
}

// compareContents compares the values of indexes element by element.
func (j *judge) compareContents(ctx context.Context, q *question, indexes []int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(contentWorkers)
	for _, i := range indexes {
		group.Go(func() error {
			v := &q.verdicts[i]
			read := func(into *content, of *side) func(context.Context) error {
				r := reader{side: of, db: q.db, key: q.keys[i], delivery: j.delivery}
				return func(ctx context.Context) (err error) {
					*into, err = r.content(ctx, v.typ)
					return err
				}
			}
			var a, b content
			err := both(ctx, read(&a, j.source), read(&b, j.target))
			switch {
			case errors.Is(err, errChanged):
				j.changed(v)
				return nil
			case errors.Is(err, errNoContent):
				return j.compareOpaque(ctx, q, i)
			case err != nil:
				return err
			}
			v.source, v.target = q.src[i].fingerprint(v.typ, a.identity()), q.tgt[i].fingerprint(v.typ, b.identity())
			if name := a.differs(b); name != "" {
				v.kind, v.detail = Different, name
			}
			return nil
		})
	}
	return group.Wait()
}

// compareOpaque compares a value of a module, whatever its size: only its
// payload can be read.
func (j *judge) compareOpaque(ctx context.Context, q *question, i int) error {
	v := &q.verdicts[i]
	a, b, err := readBoth(ctx, j, (*side).dumps, q.db, []string{q.keys[i]})
	if err != nil {
		return err
	}
	if a[0] == "" || b[0] == "" {
		j.changed(v)
		return nil
	}
	v.source, v.target = q.src[i].fingerprint(v.typ, a[0]), q.tgt[i].fingerprint(v.typ, b[0])
	if a[0] == tooLarge || b[0] == tooLarge {
		v.kind, v.detail = Unsettled, "a module's type, and its payload is too large to be held"
		return nil
	}
	if a[0] != b[0] {
		v.kind, v.detail = Different, "payload of a module's type"
	}
	return nil
}

// changed marks a value that was not the same while it was read. Its
// fingerprint is one that no later round has.
func (j *judge) changed(v *verdict) {
	v.kind, v.detail = Different, errChanged.Error()
	n := j.unread.Add(1)
	for i := range 8 {
		v.source[i] = byte(n >> (8 * i))
	}
}

// both runs two functions at the same time and returns the first error.
func both(ctx context.Context, a, b func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a(ctx) })
	group.Go(func() error { return b(ctx) })
	return group.Wait()
}
