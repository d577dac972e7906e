package sidecar

import (
	"context"
	"errors"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// recodeLimit is how large a value may become that is written in an older
// encoding, in memory.
const recodeLimit = 4 << 20

// redisMaxBulk is the default of proto-max-bulk-len; that of RedisShake's
// setting is a little less.
const redisMaxBulk = 512 << 20

// fit makes a value fit for RESTORE at the target: as it is, or in an older
// encoding. With commands true only commands can write it.
func (r *Replicator) fit(rec *rdb.Record, source int, o *rdb.RestoreOptions) (commands bool, err error) {
	target := r.w.RDBVersion()
	if err := r.fitVectorSet(rec); err != nil {
		return false, err
	}
	if rdb.Readable(rec.Type, source, target) {
		return false, nil
	}
	d := rdb.NewDecoder(rec, r.dir)
	defer d.Close()
	if err := d.Fits(target); err != nil {
		return false, unfit(rec, source, target, err)
	}
	if rec.Big != nil {
		return true, nil
	}
	typ, value, err := d.Recode(target, recodeLimit)
	if errors.Is(err, rdb.ErrRecodedSize) {
		return true, nil
	}
	if err != nil {
		return false, unfit(rec, source, target, err)
	}
	rec.Type, rec.Value, o.Footer = typ, value, target
	return false, nil
}

// fitVectorSet names a vector set and the server that cannot hold it, which
// itself would only say that the value's format is bad.
func (r *Replicator) fitVectorSet(rec *rdb.Record) error {
	if rec.Type != rdb.TypeModule2 {
		return nil
	}
	d := rdb.NewDecoder(rec, r.dir)
	defer d.Close()
	if d.Module() != vectorSet {
		return nil
	}
	for _, s := range r.w.Servers() {
		if !s.VectorSets() {
			return stopf("key %q in database %d: its vector set (module %q) of %s cannot be written to the target (%s): only Redis from 8.0 on has vector sets",
				rec.Key, rec.DB, vectorSet, r.sourceServer(), s)
		}
	}
	return nil
}

// sourceServer is the source with its version, for errors.
func (r *Replicator) sourceServer() string {
	if sess := r.session.Load(); sess != nil {
		return "the source (" + sess.Node.Server().String() + ")"
	}
	return "the source"
}

// vectorSet is the module that the vector sets of Redis 8 belong to.
const vectorSet = "vectorset"

// fitWhole is fit for a value that has to go in one RESTORE.
func (r *Replicator) fitWhole(rec *rdb.Record, source int, o *rdb.RestoreOptions) error {
	commands, err := r.fit(rec, source, o)
	if err == nil && commands {
		return unfit(rec, source, r.w.RDBVersion(), &rdb.UnfitError{Reason: rdb.ErrRecodedSize.Error()})
	}
	return err
}

// writeValue writes a value in the way that suits it and the target.
func (r *Replicator) writeValue(ctx context.Context, rec *rdb.Record, source int, o rdb.RestoreOptions) error {
	limit := r.cfg.Advanced.TargetMaxBulkLen
	commands, err := r.fit(rec, source, &o)
	if err != nil {
		return err
	}
	size := rdb.PayloadSize(int64(len(rec.Value)))
	if rec.Big != nil {
		size = rec.Big.PayloadSize()
	}
	switch kind := rdb.TypeName(rec.Type); {
	case kind == "string":
		// As the argument of a command a string costs the target less, and may
		// be longer: the payload of the longest one exceeds the limit.
		commands = commands || rec.Big != nil
	case kind == "module":
		if limit > 0 && size > limit {
			return stopf("key %q in database %d: its value of the module %q has %d bytes, more than the target takes in one piece (%d); raise proto-max-bulk-len there and advanced.target_redis_proto_max_bulk_len here",
				rec.Key, rec.DB, rdb.NewDecoder(rec, r.dir).Module(), size, limit)
		}
	default:
		commands = commands || size > r.cfg.Advanced.RebuildAbove || limit > 0 && size > limit
	}
	if !commands {
		return r.w.Restore(ctx, rec, o)
	}
	if limit > 0 {
		limit = max(limit, redisMaxBulk)
	}
	return r.w.Rebuild(ctx, rec, apply.RebuildOptions{Dir: r.dir, MaxBulk: limit, Replace: o.Replace})
}

// unfit names the value that the target cannot hold.
func unfit(rec *rdb.Record, source, target int, err error) error {
	var reason *rdb.UnfitError
	var format *rdb.ValueError
	if errors.As(err, &reason) || errors.As(err, &format) {
		return stopf("key %q in database %d: its %s value (RDB type %d, source RDB version %d) cannot be written to the target (RDB version %d): %v",
			rec.Key, rec.DB, rdb.TypeName(rec.Type), rec.Type, source, target, err)
	}
	return err
}
