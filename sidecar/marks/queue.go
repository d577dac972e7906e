package marks

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/scratch"
)

// queue keeps records in parts: the last ones of each in memory, all others in
// one file, in pieces that tell where the piece before them is.
type queue struct {
	dir   string
	piece int // bytes of a part that are kept in memory
	f     *os.File
	size  int64 // of the file
	tails [parts]tail
	buf   []byte
}

// tail is the end of a part.
type tail struct {
	buf  []byte // a piece, its head not filled in yet
	last piece
	all  int64 // bytes of the records of the part
}

// piece is a piece of the file with whole records of one part. The head of one
// is the place of the one before it.
type piece struct{ at, size int64 }

const headSize = 16

// add appends a record to a part.
func (q *queue) add(part int, rec []byte) error {
	t := &q.tails[part]
	if len(t.buf) > headSize && len(t.buf)+len(rec) > q.piece {
		if err := q.write(t); err != nil {
			return err
		}
	}
	if len(t.buf) == 0 {
		t.buf = append(t.buf, make([]byte, headSize)...)
	}
	t.buf = append(t.buf, rec...)
	t.all += int64(len(rec))
	if len(t.buf) > q.piece { // a long key
		return q.write(t)
	}
	return nil
}

func (q *queue) write(t *tail) error {
	if q.f == nil {
		f, err := scratch.File(q.dir, "marks-*")
		if err != nil {
			return fmt.Errorf("keeping the marks of the snapshot: %w", err)
		}
		q.f = f
	}
	binary.LittleEndian.PutUint64(t.buf, uint64(t.last.at))
	binary.LittleEndian.PutUint64(t.buf[8:], uint64(t.last.size))
	if _, err := q.f.WriteAt(t.buf, q.size); err != nil {
		return fmt.Errorf("keeping the marks of the snapshot in %s: %w", q.dir, err)
	}
	t.last = piece{q.size, int64(len(t.buf))}
	q.size += t.last.size
	if t.buf = t.buf[:headSize]; cap(t.buf) > 2*q.piece {
		t.buf = nil
	}
	return nil
}

// each calls f with all records of a part, several at a time. They are valid
// until f returns.
func (q *queue) each(part int, f func(records []byte) error) error {
	t := &q.tails[part]
	for at := t.last; at.size > 0; {
		if cap(q.buf) < q.piece {
			q.buf = make([]byte, q.piece)
		}
		p := q.buf
		if at.size > int64(len(p)) {
			p = make([]byte, at.size)
		}
		p = p[:at.size]
		if _, err := q.f.ReadAt(p, at.at); err != nil {
			return fmt.Errorf("reading the marks of the snapshot: %w", err)
		}
		at.at, at.size = int64(binary.LittleEndian.Uint64(p)), int64(binary.LittleEndian.Uint64(p[8:]))
		if err := f(p[headSize:]); err != nil {
			return err
		}
	}
	if len(t.buf) <= headSize {
		return nil
	}
	return f(t.buf[headSize:])
}

func (q *queue) close() {
	if q.f != nil {
		_ = q.f.Close()
	}
	*q = queue{dir: q.dir, piece: q.piece}
}
