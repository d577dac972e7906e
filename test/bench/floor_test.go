package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// snapshotRow takes the snapshot of every master at once and throws it away:
// no copy that begins with a snapshot is faster than its source makes one.
func (w *world) snapshotRow(source side) row {
	return row{name: "the source's snapshot alone", measure: func(t *testing.T) usage {
		return charge(t, func() usage {
			begin := time.Now()
			ends := make(chan error, len(source.masters))
			for _, m := range source.masters {
				go func() { ends <- discardSnapshot(m.Addr) }()
			}
			for range source.masters {
				if err := <-ends; err != nil {
					t.Fatal(err)
				}
			}
			return usage{wall: time.Since(begin)}
		}, source)
	}}
}

// discardSnapshot asks a server for a snapshot that goes through no file, and
// reads it up to the marker that was announced (replication.c, "$EOF:").
func discardSnapshot(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReaderSize(c, 1<<20)
	ask := func(command, before string) (line string, err error) {
		_, err = io.WriteString(c, command+"\r\n")
		for line = before; err == nil && line == before; {
			line, err = r.ReadString('\n')
		}
		return line, err
	}
	line, err := ask("REPLCONF capa eof", "")
	if err == nil {
		line, err = ask("SYNC", "\n") // sent while the snapshot is being prepared
	}
	if err != nil {
		return err
	}
	marker, ok := strings.CutPrefix(strings.TrimSpace(line), "$EOF:")
	if !ok || len(marker) != 40 {
		return fmt.Errorf("%s answers SYNC with %q, expected a snapshot without a disk", addr, line)
	}
	var tail []byte
	buf := make([]byte, 1<<20)
	for !bytes.Contains(tail, []byte(marker)) {
		n, err := r.Read(buf)
		if err != nil {
			return err
		}
		tail = append(tail[max(0, len(tail)-len(marker)):], buf[:n]...)
	}
	return nil
}
