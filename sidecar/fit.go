package sidecar

import (
	"errors"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
)

// recodeLimit is how large a value may become that is written in an older
// encoding, in memory.
const recodeLimit = 4 << 20

// fit makes a value fit for RESTORE at the target: as it is, or in an older
// encoding. With commands true only commands can write it.
func (r *Replicator) fit(rec *rdb.Record, source int, o *rdb.RestoreOptions) (commands bool, err error) {
	target := r.w.RDBVersion()
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

// fitWhole is fit for a value that has to go in one RESTORE.
func (r *Replicator) fitWhole(rec *rdb.Record, source int, o *rdb.RestoreOptions) error {
	commands, err := r.fit(rec, source, o)
	if err == nil && commands {
		return unfit(rec, source, r.w.RDBVersion(), &rdb.UnfitError{Reason: rdb.ErrRecodedSize.Error()})
	}
	return err
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
