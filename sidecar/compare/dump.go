package compare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// dump reads the payloads of keys as the server has them, whatever their size.
// take gets the type, the length of the value between type and footer, and the
// value itself as a stream, which it need not read to its end. Keys that are
// gone are left out; present counts the others.
func (n *node) dump(ctx context.Context, db int, keys []string, take func(i int, typ byte, size int64, value io.Reader) error) (present int, version int, err error) {
	l, err := n.take(ctx)
	if err != nil {
		return 0, 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	present, version, err = l.dump(db, keys, take)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = l.Close()
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
		return 0, 0, fmt.Errorf("DUMP at %s: %w", n.addr, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.free = append(n.free, l)
	return present, version, nil
}

func (l *link) dump(db int, keys []string, take func(int, byte, int64, io.Reader) error) (present, version int, err error) {
	if err := l.selectDB(db); err != nil {
		return 0, 0, err
	}
	l.out = l.out[:0]
	for _, key := range keys {
		l.out = resp.AppendCommand(l.out, "DUMP", key)
	}
	if _, err := l.Write(l.out); err != nil {
		return 0, 0, err
	}
	for i := range keys {
		head, err := l.W.Peek(1)
		if err != nil {
			return 0, 0, err
		}
		if head[0] != '$' {
			r, err := resp.ReadReply(l.W)
			switch {
			case err != nil:
				return 0, 0, err
			case r.Null:
				continue
			case r.Kind == '-':
				return 0, 0, r.Err()
			}
			return 0, 0, resp.ErrProtocol
		}
		line, err := l.W.Line(32)
		if err != nil {
			return 0, 0, err
		}
		size, err := strconv.ParseInt(string(line[1:]), 10, 64)
		switch {
		case err != nil || size < -1 || size >= 0 && size <= 1+payloadFooter:
			return 0, 0, resp.ErrProtocol
		case size == -1:
			continue
		}
		present++
		got, err := l.payloadTo(size, func(typ byte, value io.Reader) error {
			return take(i, typ, size-1-payloadFooter, value)
		})
		if err != nil {
			return 0, 0, err
		}
		version = max(version, got)
	}
	return present, version, nil
}

// payloadFooter is the RDB version (2 bytes) and the checksum (8) that end a
// payload (Redis, cluster.c: createDumpPayload).
const payloadFooter = 2 + 8

// payloadTo hands on one payload and gives its RDB version, after the checksum
// was found right.
func (l *link) payloadTo(size int64, take func(typ byte, value io.Reader) error) (version int, err error) {
	typ, err := l.W.Byte()
	if err != nil {
		return 0, err
	}
	value := &valueReader{w: l.W, left: size - 1 - payloadFooter, crc: rdb.CRC64(0, []byte{typ})}
	if err := take(typ, value); err != nil {
		return 0, err
	}
	if _, err := io.Copy(io.Discard, value); err != nil {
		return 0, err
	}
	tail, err := l.W.Next(payloadFooter + 2)
	if err != nil {
		return 0, err
	}
	want := binary.LittleEndian.Uint64(tail[2:])
	if got := rdb.CRC64(value.crc, tail[:2]); want != 0 && want != got { // 0: without
		return 0, errors.New("a payload has a wrong checksum")
	}
	return int(binary.LittleEndian.Uint16(tail)), nil
}

// valueReader reads the value of a payload from the connection.
type valueReader struct {
	w    *window.Window
	left int64
	crc  uint64
}

func (v *valueReader) Read(p []byte) (int, error) {
	if v.left == 0 {
		return 0, io.EOF
	}
	b, err := v.w.Next(int(min(int64(len(p)), v.left, 64<<10)))
	if err != nil {
		return 0, err
	}
	v.left -= int64(len(b))
	v.crc = rdb.CRC64(v.crc, b)
	return copy(p, b), nil
}
