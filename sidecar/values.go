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

// valueSource reads values from the server that a session's stream comes from.
// What it reads at an offset is what the stream up to there makes.
type valueSource struct {
	sess    *psync.Session
	options conn.Options
	dir     string // for large values

	c *conn.Conn
	// expireTime: the server has PEXPIRETIME (7.0). usage: it has MEMORY USAGE,
	// and this user may run it.
	expireTime, usage bool
}

func (v *valueSource) close() {
	if v.c != nil {
		_ = v.c.Close()
		v.c = nil
	}
}

func (v *valueSource) dial(ctx context.Context) error {
	c, err := conn.Dial(ctx, v.sess.Node.Addr, v.options)
	if err != nil {
		return err
	}
	if v.sess.Node.Cluster && v.sess.Node.Role == "slave" {
		if _, err := c.Do("READONLY"); err != nil {
			_ = c.Close()
			return err
		}
	}
	name := "redis-sync:"
	if v.sess.Node.Cluster { // some key that the node has
		tag, err := route.TagIn(v.sess.Node.Slots)
		if err != nil {
			_ = c.Close()
			return err
		}
		name += "{" + tag + "}"
	}
	_, errExpire := c.Do("PEXPIRETIME", name)
	_, errUsage := c.Do("MEMORY", "USAGE", name)
	for _, err := range []error{errExpire, errUsage} {
		var said *resp.ServerError
		if err != nil && !errors.As(err, &said) {
			_ = c.Close()
			return err
		}
	}
	v.c, v.expireTime, v.usage = c, errExpire == nil, errUsage == nil
	return nil
}

// fetch reads values and the offset at that moment, in one transaction. On a
// cluster that is possible for the keys of one slot; the others are left for
// the next time.
func (v *valueSource) fetch(ctx context.Context, keys []apply.Key) fetchRound {
	if v.c == nil {
		if err := v.dial(ctx); err != nil {
			return fetchRound{err: err}
		}
	}
	c := v.c
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if v.sess.Node.Cluster {
		var same []apply.Key
		for _, k := range keys {
			if route.Slot([]byte(k.Name)) == route.Slot([]byte(keys[0].Name)) {
				same = append(same, k)
			}
		}
		keys = same
	}
	round := fetchRound{}
	if round.err = v.read(keys, &round); round.err != nil {
		round.close()
		round.values = nil
	}
	return round
}

// read runs the transaction.
func (v *valueSource) read(keys []apply.Key, round *fetchRound) error {
	out := resp.AppendCommand(nil, "MULTI")
	queued := 0
	queue := func(args ...string) {
		out = resp.AppendCommand(out, args...)
		queued++
	}
	queue("TIME")
	for _, k := range keys {
		if !v.sess.Node.Cluster {
			queue("SELECT", strconv.Itoa(k.DB))
		}
		if queue("DUMP", k.Name); v.expireTime {
			queue("PEXPIRETIME", k.Name)
		} else {
			queue("PTTL", k.Name)
		}
		if v.usage {
			queue("MEMORY", "USAGE", k.Name, "SAMPLES", "1")
		}
	}
	queue("INFO", "replication")
	out = resp.AppendCommand(out, "EXEC")
	v.c.SetTimeout(5 * time.Minute) // large values block the server for a while
	if _, err := v.c.Write(out); err != nil {
		return err
	}
	for range 1 + queued {
		r, err := resp.ReadReply(v.c.W)
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", v.c.Addr, err)
		}
	}
	n, err := resp.ReadArrayHeader(v.c.W)
	if err != nil {
		return err
	}
	if n != queued {
		return fmt.Errorf("%w: EXEC of %d commands answered with %d replies", resp.ErrProtocol, queued, n)
	}
	now, err := v.time()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := v.value(k, now, round); err != nil {
			return err
		}
	}
	info, err := resp.ReadReply(v.c.W)
	if err != nil {
		return err
	}
	fields := conn.Fields(info.Text)
	if fields["master_replid"] != v.sess.Pos.ReplID {
		return errHistory
	}
	if round.offset, err = strconv.ParseInt(fields["master_repl_offset"], 10, 64); err != nil {
		return fmt.Errorf("INFO replication: %w", err)
	}
	return nil
}

// time reads the answer to TIME, in milliseconds.
func (v *valueSource) time() (int64, error) {
	r, err := resp.ReadReply(v.c.W)
	if err != nil {
		return 0, err
	}
	if len(r.Elems) != 2 {
		return 0, fmt.Errorf("TIME: %w: %d elements", resp.ErrProtocol, len(r.Elems))
	}
	sec, err := strconv.ParseInt(r.Elems[0].Text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("TIME: %w", err)
	}
	usec, err := strconv.ParseInt(r.Elems[1].Text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("TIME: %w", err)
	}
	return time.Unix(sec, usec*1000).UnixMilli(), nil
}

// value reads the answers about one key.
func (v *valueSource) value(k apply.Key, now int64, round *fetchRound) error {
	if !v.sess.Node.Cluster {
		if _, err := v.number("SELECT"); err != nil {
			return err
		}
	}
	rec, err := v.dump(k)
	if err != nil {
		return err
	}
	got := apply.Fetched{Key: k, Rec: rec}
	if rec != nil {
		round.values = append(round.values, got) // its file is to be closed whatever happens
	}
	deadline, err := v.number("PTTL")
	if err != nil {
		return err
	}
	used := int64(0)
	if v.usage {
		if used, err = v.number("MEMORY USAGE"); err != nil {
			return err
		}
	}
	switch {
	case rec == nil && used > 0:
		// Its time is over by this server's clock, but the key is still there:
		// only the master deletes it, and it may have extended its life.
		round.unsure = true
	case rec == nil:
		round.values = append(round.values, got)
	case deadline >= 0 && v.expireTime:
		rec.Expire = deadline
	case deadline >= 0:
		rec.Expire = now + deadline
	}
	return nil
}

// number reads a small answer; 0 for one that is no number.
func (v *valueSource) number(command string) (int64, error) {
	r, err := resp.ReadReply(v.c.W)
	if err != nil {
		return 0, err
	}
	if err := r.Err(); err != nil {
		return 0, fmt.Errorf("%s at %s: %w", command, v.c.Addr, err)
	}
	return r.Int, nil
}

// largeValue is the size from which a value waits in a file.
const largeValue = 64 << 10

// dump reads the answer to DUMP: a payload, or nothing when there is no such
// key (Redis cluster.c, createDumpPayload: type, value, RDB version, CRC).
func (v *valueSource) dump(k apply.Key) (*rdb.Record, error) {
	const footer = 2 + 8
	size, err := v.bulk()
	if err != nil || size < 0 {
		return nil, err
	}
	if size < 1+footer {
		return nil, fmt.Errorf("%w: DUMP answered with %d bytes", resp.ErrProtocol, size)
	}
	p, err := v.c.W.Next(1)
	if err != nil {
		return nil, err
	}
	rec := &rdb.Record{Kind: rdb.KindKey, DB: k.DB, Key: []byte(k.Name), Type: p[0], Idle: -1, Freq: -1}
	left := size - 1 - footer
	if left <= largeValue {
		if p, err = v.c.W.Next(int(left)); err != nil {
			return nil, err
		}
		rec.Value = append([]byte(nil), p...)
	} else if rec.Big, err = rdb.NewBig(v.dir, rec.Type); err != nil {
		return nil, err
	}
	for rec.Big != nil && left > 0 {
		p, err = v.c.W.Next(int(min(left, largeValue)))
		if err == nil {
			_, err = rec.Big.Write(p)
		}
		if err != nil {
			rec.Big.Close()
			return nil, err
		}
		left -= int64(len(p))
	}
	if p, err = v.c.W.Next(footer + len("\r\n")); err != nil {
		if rec.Big != nil {
			rec.Big.Close()
		}
		return nil, err
	}
	rec.Count = int64(binary.LittleEndian.Uint16(p)) // the payload's RDB version
	return rec, nil
}

// bulk reads the head of a bulk string: its length, -1 for none.
func (v *valueSource) bulk() (int64, error) {
	line, err := v.c.W.Line(256)
	switch {
	case err != nil:
		return 0, err
	case len(line) > 1 && line[0] == '-':
		return 0, fmt.Errorf("DUMP at %s: %w", v.c.Addr, resp.NewServerError(string(line[1:])))
	case len(line) < 2 || line[0] != '$':
		return 0, fmt.Errorf("%w: the answer to DUMP is no string", resp.ErrProtocol)
	}
	n, err := strconv.ParseInt(string(line[1:]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: length of a reply", resp.ErrProtocol)
	}
	return n, nil
}
