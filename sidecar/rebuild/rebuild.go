// Package rebuild writes a value as commands, element by element, for what
// cannot go in one RESTORE: a value that would block the target for long, one
// that is longer than the longest argument that it takes, or one of a type
// that it does not know and that is too large to be written in another one.
package rebuild

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// Out takes the bytes of commands.
type Out interface {
	io.Writer
	// End is called after each command, or for several that were written in
	// one piece, after the last of them as often. An error ends the writing.
	End() error
}

// Options of writing a value.
type Options struct {
	Target  int   // RDB version of the server
	MaxBulk int64 // longest argument that it takes, in bytes; 0 is no limit
}

// TooLongError says that one part of a value is longer than the longest
// argument that the target takes.
type TooLongError struct{ Size, Limit int64 }

func (e *TooLongError) Error() string {
	return fmt.Sprintf("a part of it has %d bytes, more than the target takes in one piece (%d); raise proto-max-bulk-len there and advanced.target_redis_proto_max_bulk_len here", e.Size, e.Limit)
}

// Arguments of one command: many enough that the command itself costs little,
// few enough that it never blocks the server.
const (
	batchTexts = 512
	batchBytes = 64 << 10
)

// writer frames commands for one key.
type writer struct {
	out  Out
	key  string
	o    Options
	head []byte

	verb   string
	args   []byte // collected texts of a command with many
	n      int
	later  []byte // commands that have to follow it
	laterN int

	count int64
}

// Write writes the commands that make the value at key, which must not exist.
// It returns how many elements the value has (bytes, of a string); verb is the
// command that asks the server for this number, or "" where fields may expire
// meanwhile.
func Write(out Out, d *rdb.Decoder, key string, o Options) (count int64, verb string, err error) {
	w := &writer{out: out, key: key, o: o}
	switch kind := rdb.TypeName(d.Type()); kind {
	case "string":
		verb, err = "STRLEN", d.Elements(w.set)
	case "list":
		verb, err = "LLEN", w.elements(d, "RPUSH")
	case "set":
		verb, err = "SCARD", w.elements(d, "SADD")
	case "zset":
		verb, err = "ZCARD", w.elements(d, "ZADD")
	case "hash":
		expiring, expErr := d.Expiring()
		if expErr != nil {
			return 0, "", expErr
		}
		if !expiring {
			verb = "HLEN"
		}
		err = w.elements(d, "HSET")
	case "stream":
		verb, err = "XLEN", w.stream(d)
	default:
		err = &rdb.UnfitError{Reason: fmt.Sprintf("a %s cannot be written by commands", kind)}
	}
	return w.count, verb, err
}

// set writes a string, whose length is its count.
func (w *writer) set(e *rdb.Element) error {
	w.count = e.Name.Len()
	w.head = appendHead(w.head[:0], 3, "SET", w.key)
	if err := w.put(w.head); err != nil {
		return err
	}
	if err := w.text(&e.Name); err != nil {
		return err
	}
	return w.out.End()
}

func (w *writer) elements(d *rdb.Decoder, verb string) error {
	w.verb = verb
	if err := d.Elements(w.element); err != nil {
		return err
	}
	return w.flush()
}

func (w *writer) element(e *rdb.Element) error {
	w.count++
	if err := w.fits(e.Name.Len()); err != nil {
		return err
	}
	name, inMemory := short(&e.Name)
	var value []byte
	switch w.verb {
	case "HSET":
		if err := w.fits(e.Value.Len()); err != nil {
			return err
		}
		var ok bool
		value, ok = short(&e.Value)
		inMemory = inMemory && ok
	case "ZADD":
		value = strconv.AppendFloat(nil, e.Score, 'g', -1, 64)
	}
	if !inMemory {
		return w.large(e, value)
	}
	switch w.verb {
	case "HSET":
		w.args = resp.AppendBulk(resp.AppendBulk(w.args, name), value)
		w.n += 2
		if e.Expire != 0 {
			w.later = appendHead(w.later, 6, "HPEXPIREAT", w.key)
			w.later = appendText(w.later, strconv.FormatInt(e.Expire, 10), "FIELDS", "1")
			w.later = resp.AppendBulk(w.later, name)
			w.laterN++
		}
	case "ZADD":
		w.args = resp.AppendBulk(resp.AppendBulk(w.args, value), name)
		w.n += 2
	default:
		w.args = resp.AppendBulk(w.args, name)
		w.n++
	}
	if w.n < batchTexts && len(w.args) < batchBytes {
		return nil
	}
	return w.flush()
}

// short returns a text that may be collected.
func short(t *rdb.Text) ([]byte, bool) {
	p, ok := t.Bytes()
	return p, ok && len(p) <= batchBytes
}

func (w *writer) fits(n int64) error {
	if w.o.MaxBulk > 0 && n > w.o.MaxBulk {
		return &TooLongError{n, w.o.MaxBulk}
	}
	return nil
}

// flush writes the collected command, and those that follow it.
func (w *writer) flush() error {
	if w.n == 0 {
		return nil
	}
	w.head = appendHead(w.head[:0], 2+w.n, w.verb, w.key)
	if err := w.put(w.head, w.args); err != nil {
		return err
	}
	w.args, w.n = w.args[:0], 0
	if err := w.out.End(); err != nil {
		return err
	}
	if w.laterN == 0 {
		return nil
	}
	later, n := w.later, w.laterN
	w.later, w.laterN = w.later[:0], 0
	if err := w.put(later); err != nil {
		return err
	}
	var first error
	for range n { // each of them was written
		if err := w.out.End(); first == nil {
			first = err
		}
	}
	return first
}

func (w *writer) put(parts ...[]byte) error {
	for _, p := range parts {
		if _, err := w.out.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// large passes an element through that is not in memory, in a command of its
// own.
func (w *writer) large(e *rdb.Element, score []byte) error {
	if err := w.flush(); err != nil {
		return err
	}
	n := 3
	if w.verb == "HSET" || w.verb == "ZADD" {
		n = 4
	}
	w.head = appendHead(w.head[:0], n, w.verb, w.key)
	if w.verb == "ZADD" {
		w.head = resp.AppendBulk(w.head, score)
	}
	if err := w.put(w.head); err != nil {
		return err
	}
	if err := w.text(&e.Name); err != nil {
		return err
	}
	if w.verb == "HSET" {
		if err := w.text(&e.Value); err != nil {
			return err
		}
	}
	if err := w.out.End(); err != nil || e.Expire == 0 {
		return err
	}
	w.head = appendHead(w.head[:0], 6, "HPEXPIREAT", w.key)
	if err := w.put(appendText(w.head, strconv.FormatInt(e.Expire, 10), "FIELDS", "1")); err != nil {
		return err
	}
	if err := w.text(&e.Name); err != nil {
		return err
	}
	return w.out.End()
}

// text writes a text of any length as one argument.
func (w *writer) text(t *rdb.Text) error {
	if err := w.fits(t.Len()); err != nil {
		return err
	}
	w.head = append(strconv.AppendInt(append(w.head[:0], '$'), t.Len(), 10), "\r\n"...)
	if err := w.put(w.head); err != nil {
		return err
	}
	if _, err := t.WriteTo(w.out); err != nil {
		return err
	}
	return w.put([]byte("\r\n"))
}

// stream writes a stream: its groups with their pending entries by a RESTORE
// of the stream without its entries, since no command sets them exactly (the
// times of consumers, pending entries that were deleted); then the entries;
// then what XADD has set as it pleases.
func (w *writer) stream(d *rdb.Decoder) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	if err := w.skeleton(d); err != nil {
		return err
	}
	if err := d.Entries(w); err != nil {
		return err
	}
	if uint64(w.count) != info.Length {
		return errors.New("the stream is corrupt: it does not have as many entries as it says")
	}
	words := []string{info.Last.String()}
	if d.Type() >= rdb.TypeStreamListpacks2 && w.o.Target >= 10 { // since 7.0
		words = append(words, "ENTRIESADDED", strconv.FormatUint(info.Added, 10), "MAXDELETEDID", info.MaxDeleted.String())
	}
	w.head = appendText(appendHead(w.head[:0], 2+len(words), "XSETID", w.key), words...)
	if err := w.put(w.head); err != nil {
		return err
	}
	return w.out.End()
}

// skeleton writes RESTORE key 0 payload, with the checksum behind it.
func (w *writer) skeleton(d *rdb.Decoder) error {
	typ, size, write, err := d.Skeleton(w.o.Target)
	if err != nil {
		return err
	}
	total := rdb.PayloadSize(size)
	if err := w.fits(total); err != nil {
		return err
	}
	w.head = appendText(appendHead(w.head[:0], 4, "RESTORE", w.key), "0")
	w.head = append(strconv.AppendInt(append(w.head, '$'), total, 10), "\r\n"...)
	if err := w.put(w.head); err != nil {
		return err
	}
	if err := rdb.WritePayload(w.out, typ, w.o.Target, write); err != nil {
		return err
	}
	if err := w.put([]byte("\r\n")); err != nil {
		return err
	}
	return w.out.End()
}

// Entry begins XADD key id field value ... It is part of rdb.EntrySink.
func (w *writer) Entry(id rdb.StreamID, texts int64) error {
	w.count++
	w.head = appendText(appendHead(w.head[:0], int(3+texts), "XADD", w.key), id.String())
	return w.put(w.head)
}

// Text is part of rdb.EntrySink.
func (w *writer) Text(t *rdb.Text) error {
	p, ok := short(t)
	if !ok {
		return w.text(t)
	}
	w.head = resp.AppendBulk(w.head[:0], p)
	return w.put(w.head)
}

// End is part of rdb.EntrySink.
func (w *writer) End() error { return w.out.End() }

// appendHead begins a command of n words, of which the first two are known.
func appendHead(dst []byte, n int, verb, key string) []byte {
	dst = append(strconv.AppendInt(append(dst, '*'), int64(n), 10), "\r\n"...)
	return appendText(dst, verb, key)
}

func appendText(dst []byte, words ...string) []byte {
	for _, s := range words {
		dst = resp.AppendBulk(dst, s)
	}
	return dst
}
