package sidecar

import (
	"bytes"
	"errors"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// everywhere runs FUNCTION and SCRIPT. Several shards carry the same library,
// so loading one again and deleting one that is gone are no errors.
func (s *streaming) everywhere(c *resp.Command) error {
	if len(c.Args) < 2 {
		return stopf("%s in the stream has no subcommand", c.Args[0])
	}
	fitted, err := s.fits.Rewrite(c.Args, s.db)
	switch {
	case err != nil:
		return stopf("%v", err)
	case fitted != nil: // there are no functions there that could be removed
		s.pass()
		return nil
	}
	args := make([]string, 0, len(c.Args)+1)
	for _, a := range c.Args {
		args = append(args, string(a))
	}
	if route.EqualFold(c.Args[0], "function") {
		switch {
		case route.EqualFold(c.Args[1], "load") && len(args) == 3:
			args = []string{args[0], args[1], "REPLACE", args[2]}
		case route.EqualFold(c.Args[1], "restore") && len(args) == 3:
			args = append(args, "REPLACE")
		}
	}
	if len(args) == 3 && route.EqualFold(c.Args[0], "script") && route.EqualFold(c.Args[1], "load") {
		if err := s.r.keepScript(s.ctx, args[2]); err != nil {
			return err
		}
	}
	// The checkpoint passes it when it is done; it can be done twice.
	if !s.tx.open {
		if err := s.flush(true); err != nil {
			return err
		}
	}
	if route.EqualFold(c.Args[0], "script") && route.EqualFold(c.Args[1], "flush") {
		if err := s.scriptFlush(); err != nil {
			return err
		}
	}
	err = s.r.w.Everywhere(s.ctx, args...)
	var server *resp.ServerError
	if err != nil && !(errors.As(err, &server) && route.EqualFold(c.Args[1], "delete") && server.Text == "Library not found") {
		return err
	}
	s.pass()
	return nil
}

// flushall stands for the deletion of this shard's keys, and of no others:
// the target may hold the other shards' keys and our own.
func (s *streaming) flushall(c *resp.Command) error {
	name := string(bytes.ToUpper(c.Args[0]))
	if s.r.cfg.MaxShare < 1 {
		return stopf("the source ran %s; it was not applied, because an operator that empties the source must not empty its copy. To apply it, set target.stale_keys_max_share = 1.0", name)
	}
	if s.tx.open {
		return stopf("the source ran %s inside a transaction, which cannot be kept atomic on the target", name)
	}
	if err := s.flush(true); err != nil {
		return err
	}
	perDB := map[int][][]byte{}
	drop := func(db int) error {
		err := s.r.w.Delete(s.ctx, db, perDB[db])
		perDB[db] = nil
		return err
	}
	err := s.r.w.Scan(s.ctx, func(db int, key []byte) error {
		if name == "FLUSHDB" && db != s.db || !s.r.owns(key) {
			return nil
		}
		if perDB[db] = append(perDB[db], bytes.Clone(key)); len(perDB[db]) < 500 {
			return nil
		}
		return drop(db)
	})
	if err != nil {
		return err
	}
	for db := range perDB {
		if err := drop(db); err != nil {
			return err
		}
	}
	if err := s.r.w.Settle(s.ctx); err != nil {
		return err
	}
	s.pass()
	return s.flush(true)
}
