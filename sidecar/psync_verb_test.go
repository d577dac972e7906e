package sidecar_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestPsyncVerb: a source may have another name for PSYNC. With that name the
// shard is copied and followed; without it, what the server says is shown.
func TestPsyncVerb(t *testing.T) {
	t.Parallel()
	src := testredis.Start(t, debugArgs()...)
	dst := testredis.Start(t, debugArgs()...)
	fence(t, dst)
	src.Do(t, "SET", "k", "v")
	l := link{slots: "0-16383", sources: []string{renamed(t, src.Addr)}, target: "address = " + strconv.Quote(dst.Addr)}
	without := start(t, l)
	testredis.Eventually(t, 30*time.Second, "the refusal in the status", func() bool {
		return strings.Contains(without.Status().Get().Error, "unknown command 'PSYNK'")
	})
	without.stop()
	<-without.done
	l.source = `elasticache_psync = "xpsync"`
	with := start(t, l)
	with.waitInSync(t)
	src.Do(t, "SET", "later", "v")
	with.waitEqualOffsets(t, src)
	compare(t, contents(t, src), contents(t, dst))
	with.finish(t)
}

// renamed is a server, reached through a proxy that knows PSYNC as xpsync. A
// server of which rename-command is used takes the new name for the SYNC of old
// (replication.c, syncCommand), so it cannot stand for such a service.
func renamed(t *testing.T, addr string) string {
	t.Helper()
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	names := [][2]string{{"$5\r\nPSYNC\r\n", "$5\r\nPSYNK\r\n"}, {"$6\r\nxpsync\r\n", "$5\r\nPSYNC\r\n"}}
	go func() {
		for {
			client, err := in.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
			go func() {
				defer func() { _ = server.Close() }()
				for buf := make([]byte, 64<<10); ; {
					n, err := client.Read(buf)
					if err != nil {
						return
					}
					p := buf[:n]
					for _, name := range names {
						p = bytes.ReplaceAll(p, []byte(name[0]), []byte(name[1]))
					}
					if _, err := server.Write(p); err != nil {
						return
					}
				}
			}()
		}
	}()
	return in.Addr().String()
}
