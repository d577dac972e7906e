package verify

import (
	"bytes"
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

	unread atomic.Uint64 // values that changed while being read, so far
}

// compare reads keys of one database on both sides.
func (j *judge) compare(ctx context.Context, db int, keys []string) ([]verdict, error) {
	var src, tgt []meta
	err := both(ctx,
		func(ctx context.Context) (err error) { src, err = j.source.metas(ctx, db, keys); return err },
		func(ctx context.Context) (err error) { tgt, err = j.target.metas(ctx, db, keys); return err })
	if err != nil {
		return nil, err
	}
	verdicts := make([]verdict, len(keys))
	var small, large []int
	for i := range keys {
		v := &verdicts[i]
		v.typ = src[i].typ
		v.source, v.target = src[i].fingerprint(nil), tgt[i].fingerprint(nil)
		switch {
		case !src[i].exists && !tgt[i].exists:
		case !tgt[i].exists:
			v.kind = Missing
		case !src[i].exists:
			v.kind, v.typ = Extra, tgt[i].typ
		case src[i].typ != tgt[i].typ:
			v.kind, v.detail = Different, "type "+src[i].typ+", on the target "+tgt[i].typ
		default:
			if !sameDeadline(src[i].deadline, tgt[i].deadline, j.tolerance) {
				v.kind, v.detail = TTL, deadlines(src[i].deadline, tgt[i].deadline)
			}
			if max(src[i].size, tgt[i].size) <= j.maxDump {
				small = append(small, i)
			} else {
				large = append(large, i)
			}
		}
	}
	unequal, err := j.comparePayloads(ctx, db, keys, src, tgt, small, verdicts)
	if err != nil {
		return nil, err
	}
	return verdicts, j.compareContents(ctx, db, keys, src, tgt, append(unequal, large...), verdicts)
}

// comparePayloads compares the values of indexes by DUMP and returns those
// that need a closer look.
func (j *judge) comparePayloads(ctx context.Context, db int, keys []string, src, tgt []meta, indexes []int, verdicts []verdict) ([]int, error) {
	var unequal []int
	for len(indexes) > 0 {
		n, size := 0, int64(0)
		for n < len(indexes) && (n == 0 || size+src[indexes[n]].size <= dumpBudget) {
			size += src[indexes[n]].size
			n++
		}
		part := indexes[:n]
		indexes = indexes[n:]
		names := make([]string, n)
		for k, i := range part {
			names[k] = keys[i]
		}
		var a, b [][]byte
		err := both(ctx,
			func(ctx context.Context) (err error) { a, err = j.source.dumps(ctx, db, names); return err },
			func(ctx context.Context) (err error) { b, err = j.target.dumps(ctx, db, names); return err })
		if err != nil {
			return nil, err
		}
		for k, i := range part {
			switch {
			case a[k] == nil || b[k] == nil:
				j.changed(&verdicts[i])
			case !bytes.Equal(a[k], b[k]):
				unequal = append(unequal, i)
			default:
				verdicts[i].source, verdicts[i].target = src[i].fingerprint(a[k]), tgt[i].fingerprint(b[k])
			}
		}
	}
	return unequal, nil
}

// compareContents compares the values of indexes element by element.
func (j *judge) compareContents(ctx context.Context, db int, keys []string, src, tgt []meta, indexes []int, verdicts []verdict) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(contentWorkers)
	for _, i := range indexes {
		group.Go(func() error {
			v := &verdicts[i]
			var a, b content
			err := both(ctx,
				func(ctx context.Context) (err error) {
					r := reader{side: j.source, db: db, key: keys[i], delivery: j.delivery}
					a, err = r.content(ctx, src[i].typ)
					return err
				},
				func(ctx context.Context) (err error) {
					r := reader{side: j.target, db: db, key: keys[i], delivery: j.delivery}
					b, err = r.content(ctx, tgt[i].typ)
					return err
				})
			switch {
			case errors.Is(err, errChanged):
				j.changed(v)
				return nil
			case errors.Is(err, errNoContent):
				return j.compareOpaque(ctx, db, keys[i], src[i], tgt[i], v)
			case err != nil:
				return err
			}
			v.source, v.target = src[i].fingerprint(a.bytes()), tgt[i].fingerprint(b.bytes())
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
func (j *judge) compareOpaque(ctx context.Context, db int, key string, src, tgt meta, v *verdict) error {
	var a, b [][]byte
	err := both(ctx,
		func(ctx context.Context) (err error) { a, err = j.source.dumps(ctx, db, []string{key}); return err },
		func(ctx context.Context) (err error) { b, err = j.target.dumps(ctx, db, []string{key}); return err })
	if err != nil {
		return err
	}
	if a[0] == nil || b[0] == nil {
		j.changed(v)
		return nil
	}
	v.source, v.target = src.fingerprint(a[0]), tgt.fingerprint(b[0])
	if !bytes.Equal(a[0], b[0]) {
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
