package sidecar

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/apply"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// The target lets a key expire by its own clock. When the source has extended
// the key's life in time, but the stream says so too late, the command finds
// no key, and the value is gone. It is fetched from the source again, together
// with the offset at which it was read, and written when the stream has come
// to that offset: what the stream does to the key before then is part of the
// value already, and is overwritten by it.

// fetched is a value as it was at an offset.
type fetched struct {
	apply.Missing
	offset int64
	rec    *rdb.Record // nil: the source has no such key at the offset
}

// fetchMissing asks the source for the keys that the target let expire.
func (s *streaming) fetchMissing() error {
	r := s.r
	r.missing = append(r.missing, r.w.Missing()...)
	if len(r.missing) == 0 {
		return nil
	}
	if s.fetch == nil {
		c, err := dialFetch(s.ctx, s.sess, r.cfg.Source)
		if err != nil {
			return &SourceError{err}
		}
		s.fetch = c
	}
	for len(r.missing) > 0 {
		f, err := fetchKey(s.fetch, s.sess, r.missing[0])
		if err != nil {
			return &SourceError{fmt.Errorf("fetching a key that the target let expire: %w", err)}
		}
		s.pending = append(s.pending, f)
		r.missing = r.missing[1:]
	}
	return nil
}

func dialFetch(ctx context.Context, sess *psync.Session, o conn.Options) (*conn.Conn, error) {
	c, err := conn.Dial(ctx, sess.Node.Addr, o)
	if err != nil {
		return nil, err
	}
	if sess.Node.Cluster && sess.Node.Role == "slave" {
		if _, err := c.Do("READONLY"); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

// fetchKey reads a value and the offset at that moment, in one transaction.
func fetchKey(c *conn.Conn, sess *psync.Session, m apply.Missing) (fetched, error) {
	if !sess.Node.Cluster {
		if _, err := c.Do("SELECT", strconv.Itoa(m.DB)); err != nil {
			return fetched{}, err
		}
	}
	if _, err := c.Do("MULTI"); err != nil {
		return fetched{}, err
	}
	for _, cmd := range [][]string{{"DUMP", m.Key}, {"PTTL", m.Key}, {"TIME"}, {"INFO", "replication"}} {
		if _, err := c.Do(cmd...); err != nil {
			return fetched{}, err
		}
	}
	exec, err := c.Do("EXEC")
	if err != nil {
		return fetched{}, err
	}
	if len(exec.Elems) != 4 || len(exec.Elems[2].Elems) != 2 {
		return fetched{}, fmt.Errorf("%w: EXEC answered with %d replies", resp.ErrProtocol, len(exec.Elems))
	}
	info := conn.Fields(exec.Elems[3].Text)
	if info["master_replid"] != sess.Pos.ReplID {
		return fetched{}, errors.New("the source's history has changed")
	}
	f := fetched{Missing: m}
	if f.offset, err = strconv.ParseInt(info["master_repl_offset"], 10, 64); err != nil {
		return fetched{}, fmt.Errorf("INFO replication: %w", err)
	}
	payload := []byte(exec.Elems[0].Text)
	if exec.Elems[0].Null {
		return f, nil
	}
	if len(payload) < 11 {
		return fetched{}, fmt.Errorf("%w: DUMP answered with %d bytes", resp.ErrProtocol, len(payload))
	}
	n := len(payload) - 10
	f.rec = &rdb.Record{
		Kind: rdb.KindKey, DB: m.DB, Key: []byte(m.Key), Type: payload[0], Value: payload[1:n], Idle: -1, Freq: -1,
		Count: int64(binary.LittleEndian.Uint16(payload[n:])), // the payload's RDB version
	}
	if ttl := exec.Elems[1].Int; ttl >= 0 {
		sec, errS := strconv.ParseInt(exec.Elems[2].Elems[0].Text, 10, 64)
		usec, errU := strconv.ParseInt(exec.Elems[2].Elems[1].Text, 10, 64)
		if err := errors.Join(errS, errU); err != nil {
			return fetched{}, fmt.Errorf("TIME: %w", err)
		}
		f.rec.Expire = time.Unix(sec, usec*1000).UnixMilli() + ttl
	}
	return f, nil
}

// putFetched writes the fetched values whose offset the stream has reached.
func (s *streaming) putFetched(at int64) error {
	if len(s.pending) == 0 || s.pending[0].offset > at {
		return nil
	}
	for len(s.pending) > 0 && s.pending[0].offset <= at {
		f := s.pending[0]
		s.pending = s.pending[1:]
		if f.rec == nil || s.r.slots != nil && !s.r.slots.Has(route.Slot([]byte(f.Key))) {
			continue
		}
		version := int(f.rec.Count)
		o := rdb.RestoreOptions{Footer: rdb.FooterVersion(version, s.r.w.RDBVersion()), Replace: true}
		if err := s.r.writeValue(s.ctx, f.rec, version, o); err != nil {
			return err
		}
		s.r.log.Info("a key that the target let expire was fetched again", "database", f.DB)
	}
	return s.r.w.Settle(s.ctx)
}

// closeFetch gives what was not written to the next session.
func (s *streaming) closeFetch() {
	if s.fetch != nil {
		_ = s.fetch.Close()
	}
	for _, f := range s.pending {
		s.r.missing = append(s.r.missing, f.Missing)
	}
	s.pending = nil
}
