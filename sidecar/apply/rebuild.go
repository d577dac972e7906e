package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rebuild"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// A value that is written as commands is built under another name in the slot
// of its key, and renamed when it is whole: nobody ever sees a part of it at
// its own name. What a process that was killed left there is removed when the
// next copy begins.

// RebuildOptions say how a value is written as commands.
type RebuildOptions struct {
	Dir     string // for parts of it that are unpacked
	MaxBulk int64  // longest argument that the target takes; 0 is no limit
	Replace bool   // overwrite an existing key
}

// UnwritableError says that a value cannot be written, for what it is.
type UnwritableError struct {
	Key  string
	DB   int
	Kind string
	Err  error
}

func (e *UnwritableError) Error() string {
	return fmt.Sprintf("key %q in database %d: its %s value cannot be written: %v", e.Key, e.DB, e.Kind, e.Err)
}
func (e *UnwritableError) Unwrap() error { return e.Err }

// stagingKey is the name under which a value is built.
func (o *Options) stagingKey(slot int) string {
	return wire.StagingKey(route.SlotTag(slot), o.Identity.Pair, o.Identity.Shard)
}

// stagingKeys are all names under which this shard builds values.
func (o *Options) stagingKeys() [][]byte {
	var keys [][]byte
	for slot := range route.SlotCount {
		if o.Slots == nil || o.Slots.Has(slot) {
			keys = append(keys, []byte(o.stagingKey(slot)))
		}
	}
	return keys
}

// Rebuild writes one value as commands.
func (s *Standalone) Rebuild(ctx context.Context, r *rdb.Record, o RebuildOptions) error {
	return s.single(ctx, r, "a value as commands", func(c *conn.Conn) error {
		err := rebuildOn(ctx, c, r, s.o.stagingKey(route.Slot(r.Key)), s.rdbVersion, o)
		o.Replace = o.Replace || !s.o.SkipExisting // what is there the next time is our own first try
		return err
	})
}

// Rebuild writes one value as commands.
func (t *Cluster) Rebuild(ctx context.Context, r *rdb.Record, o RebuildOptions) error {
	return t.single(ctx, r, "a value as commands", func(c *conn.Conn) error {
		err := rebuildOn(ctx, c, r, t.o.stagingKey(route.Slot(r.Key)), t.rdbVersion, o)
		o.Replace = o.Replace || !t.o.SkipExisting
		return err
	})
}

// rebuildOn writes a value over one connection, which is in database 0 before
// and after it.
func rebuildOn(ctx context.Context, c *conn.Conn, r *rdb.Record, staging string, target int, o RebuildOptions) error {
	if r.DB != 0 {
		if _, err := c.Do("SELECT", strconv.Itoa(r.DB)); err != nil {
			return err
		}
	}
	err := build(ctx, c, r, staging, target, o)
	if r.DB != 0 && (err == nil || serverSaid(err)) {
		if _, selectErr := c.Do("SELECT", "0"); selectErr != nil {
			return selectErr
		}
	}
	return err
}

func build(ctx context.Context, c *conn.Conn, r *rdb.Record, staging string, target int, o RebuildOptions) error {
	d := rdb.NewDecoder(r, o.Dir)
	defer d.Close()
	p := &pipe{ctx: ctx, c: c}
	if err := p.command("UNLINK", staging); err != nil {
		return err
	}
	count, verb, err := rebuild.Write(p, d, staging, rebuild.Options{Target: target, MaxBulk: o.MaxBulk})
	if err != nil {
		if serverSaid(err) { // between two commands: the connection is used again
			return p.finish()
		}
		_ = c.Close() // half a command may have been sent
		return unwritable(r, err)
	}
	if err := p.finish(); err != nil {
		return err
	}
	if verb != "" {
		got, err := c.Do(verb, staging)
		if err != nil {
			return err
		}
		if got.Int != count {
			return unwritable(r, &rdb.UnfitError{Reason: fmt.Sprintf("it has %d elements, the target made %d of them", count, got.Int)})
		}
	}
	return commit(c, r, staging, verb == "", o.Replace)
}

// unwritable marks the errors of the value itself.
func unwritable(r *rdb.Record, err error) error {
	var (
		corrupt *rdb.ValueError
		unfit   *rdb.UnfitError
		long    *rebuild.TooLongError
	)
	if errors.As(err, &corrupt) || errors.As(err, &unfit) || errors.As(err, &long) {
		return &UnwritableError{string(r.Key), r.DB, rdb.TypeName(r.Type), err}
	}
	return err
}

// commit gives a built value its deadline and its name in one transaction.
// What was there goes first, freed in the background.
func commit(c *conn.Conn, r *rdb.Record, staging string, expiring, replace bool) error {
	key := string(r.Key)
	cmds := [][]string{{"MULTI"}}
	if r.Expire != 0 {
		cmds = append(cmds, []string{"PEXPIREAT", staging, strconv.FormatInt(r.Expire, 10)})
	}
	if replace {
		cmds = append(cmds, []string{"UNLINK", key}, []string{"RENAME", staging, key})
	} else {
		cmds = append(cmds, []string{"RENAMENX", staging, key})
	}
	for _, args := range cmds {
		if _, err := c.Do(args...); err != nil {
			if serverSaid(err) {
				if _, discardErr := c.Do("DISCARD"); discardErr != nil && !serverSaid(discardErr) {
					return discardErr
				}
			}
			return err
		}
	}
	exec, err := c.Do("EXEC")
	if err != nil {
		return err
	}
	if len(exec.Elems) != len(cmds)-1 {
		return &resp.ReadError{Err: fmt.Errorf("%w: EXEC of %d commands answered with %d replies", resp.ErrProtocol, len(cmds)-1, len(exec.Elems))}
	}
	for i := range exec.Elems {
		err := exec.Elems[i].Err()
		if err == nil {
			continue
		}
		if (expiring || r.Expire != 0) && harmless(err, nil) {
			continue // "no such key": its last field, or the key, has expired
		}
		return err
	}
	if last := exec.Elems[len(exec.Elems)-1]; !replace && last.Kind == ':' && last.Int == 0 {
		if _, err := c.Do("UNLINK", staging); err != nil {
			return err
		}
		return resp.NewServerError("BUSYKEY Target key name already exists.")
	}
	return nil
}

// clearStaging removes what an attempt before this one left.
func (s *Standalone) clearStaging(ctx context.Context) error {
	var info map[string]string
	err := s.alone(ctx, func() (err error) {
		info, err = s.c.Info("keyspace")
		return err
	})
	if err != nil {
		return err
	}
	keys := s.o.stagingKeys()
	for name := range info {
		db, err := strconv.Atoi(trimDB(name))
		if err != nil {
			continue
		}
		if err := s.Delete(ctx, db, keys); err != nil {
			return err
		}
	}
	return s.Settle(ctx)
}

func (t *Cluster) clearStaging(ctx context.Context) error {
	if err := t.Delete(ctx, 0, t.o.stagingKeys()); err != nil {
		return err
	}
	return t.Settle(ctx)
}
