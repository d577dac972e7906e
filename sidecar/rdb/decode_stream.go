package rdb

import (
	"encoding/binary"
	"strconv"
)

// StreamID is the id of an entry of a stream.
type StreamID struct{ Ms, Seq uint64 }

func (id StreamID) String() string {
	return strconv.FormatUint(id.Ms, 10) + "-" + strconv.FormatUint(id.Seq, 10)
}

// StreamInfo is what a stream has besides its entries and groups. Before RDB
// type 19 a stream had neither of the last three.
type StreamInfo struct {
	Length     uint64
	Last       StreamID
	First      StreamID
	MaxDeleted StreamID // greatest id that was deleted
	Added      uint64   // entries ever added
}

// EntrySink takes the entries of a stream.
type EntrySink interface {
	// Entry begins an entry with that many texts: fields and values in turn.
	Entry(id StreamID, texts int64) error
	Text(*Text) error
	// End follows the last text.
	End() error
}

// isStream reports whether the type is one of a stream.
func isStream(typ byte) bool {
	return typ == TypeStreamListpacks || typ == TypeStreamListpacks2 || typ == TypeStreamListpacks3
}

// Entries gives the entries of a stream in the order of their ids, without
// those that are only marked as deleted.
func (d *Decoder) Entries(sink EntrySink) error {
	c := d.top()
	nodes, err := c.length("the number of stream nodes")
	if err != nil {
		return err
	}
	for range nodes {
		master, err := d.nodeID(c)
		if err != nil {
			return err
		}
		b, err := d.blob(c)
		if err != nil {
			return err
		}
		if err := d.node(b, master, sink); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) nodeID(c *cursor) (StreamID, error) {
	t, err := c.text("a stream node's id", &d.number)
	if err != nil {
		return StreamID{}, err
	}
	p, ok := t.Bytes()
	if !ok || len(p) != 16 {
		return StreamID{}, c.bad("a stream node's id has %d bytes", t.Len())
	}
	return StreamID{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])}, nil
}

// Flags of an entry (stream.h).
const (
	entryDeleted    = 1
	entrySameFields = 2
)

// node reads one listpack of a stream (t_stream.c, streamAppendItem): how
// many entries, how many of them are deleted, the master fields and a 0; then
// for each entry its flags, its id less that of the node, its fields (or only
// the values, when the fields are the master's), and how many items these were.
func (d *Decoder) node(c *cursor, master StreamID, sink EntrySink) error {
	p, err := listpack(c)
	if err != nil {
		return err
	}
	var head [3]int64 // entries, deleted, number of master fields
	for i := range head {
		if head[i], err = p.integer("the head of a stream node", &d.number); err != nil {
			return err
		}
	}
	if head[0] < 0 || head[1] < 0 || head[2] < 0 {
		return c.bad("the head of a stream node is negative")
	}
	fields := c.offset()
	for range head[2] {
		if _, ok, err := p.next(&d.name); err != nil {
			return err
		} else if !ok {
			return c.bad("a stream node ends inside its fields")
		}
	}
	if zero, err := p.integer("the end of a node's fields", &d.number); err != nil {
		return err
	} else if zero != 0 {
		return c.bad("the fields of a stream node do not end")
	}
	again := c.at(fields) // reads the master's fields once per entry
	for range head[0] + head[1] {
		again.seek(fields)
		if err := d.entry(p, &again, master, head[2], sink); err != nil {
			return err
		}
	}
	if _, ok, err := p.next(&d.name); err != nil || ok {
		if err == nil {
			err = c.bad("a stream node has more entries than it says")
		}
		return err
	}
	return nil
}

func (d *Decoder) entry(p packed, fields *cursor, master StreamID, same int64, sink EntrySink) error {
	var head [3]int64 // flags, and the id's difference
	for i := range head {
		var err error
		if head[i], err = p.integer("the head of an entry", &d.number); err != nil {
			return err
		}
	}
	id := StreamID{master.Ms + uint64(head[1]), master.Seq + uint64(head[2])}
	deleted, sameFields := head[0]&entryDeleted != 0, head[0]&entrySameFields != 0
	n := same
	if !sameFields {
		var err error
		if n, err = p.integer("the number of fields of an entry", &d.number); err != nil {
			return err
		}
		if n < 0 || n > p.c.left() {
			return p.c.bad("an entry of %d fields", n)
		}
	}
	if !deleted {
		if err := sink.Entry(id, 2*n); err != nil {
			return err
		}
	}
	items := n + 3
	if !sameFields {
		items += n + 1
	}
	for range n {
		from := p
		if sameFields {
			from.c = fields
		}
		for _, q := range []packed{from, p} {
			i, ok, err := q.next(&d.value)
			if err != nil {
				return err
			}
			if !ok {
				return p.c.bad("a stream node ends inside an entry")
			}
			if deleted {
				continue
			}
			t := i.asText(&d.value)
			if err := sink.Text(&t); err != nil {
				return err
			}
		}
	}
	count, err := p.integer("the end of an entry", &d.number)
	if err != nil {
		return err
	}
	if count != items {
		return p.c.bad("an entry of %d items says that it has %d", items, count)
	}
	if deleted {
		return nil
	}
	return sink.End()
}

// skipEntries passes over the entries and returns how many bytes they are.
func (d *Decoder) skipEntries(c *cursor) error {
	nodes, err := c.length("the number of stream nodes")
	if err != nil {
		return err
	}
	for range nodes {
		if err := c.skipString("a stream node's id"); err != nil {
			return err
		}
		if err := c.skipString("a stream node"); err != nil {
			return err
		}
	}
	return nil
}

// Info returns what follows the entries of a stream.
func (d *Decoder) Info() (StreamInfo, error) {
	c := d.top()
	if err := d.skipEntries(c); err != nil {
		return StreamInfo{}, err
	}
	return d.info(c)
}

func (d *Decoder) info(c *cursor) (i StreamInfo, err error) {
	n := 3
	if d.typ >= TypeStreamListpacks2 {
		n = 8
	}
	var v [8]uint64
	for k := range n {
		if v[k], err = c.length("stream metadata"); err != nil {
			return i, err
		}
	}
	i = StreamInfo{
		Length: v[0], Last: StreamID{v[1], v[2]}, First: StreamID{v[3], v[4]},
		MaxDeleted: StreamID{v[5], v[6]}, Added: v[7],
	}
	if n == 3 {
		i.Added = i.Length
	}
	return i, nil
}
