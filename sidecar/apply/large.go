package apply

import (
	"errors"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/bulk"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// refusalWithin bounds the reading of what a server said before it closed the
// connection: it is there already.
const refusalWithin = time.Second

// write sends commands of the stream, large arguments in the place of their
// tokens. A server that takes no argument of that size says so and closes the
// connection while it is being written to; that is told from a lost one.
func (o *Options) write(c *conn.Conn, raw []byte) error {
	err := o.Bulk.Send(c, raw)
	if err == nil || errors.As(err, new(*bulk.FileError)) {
		return err
	}
	c.SetTimeout(refusalWithin)
	for {
		said := resp.SkipReply(c.W)
		switch {
		case unreadable(said):
			return o.tooLong(raw, said)
		case errors.As(said, new(*resp.ReadError)):
			return err
		}
	}
}

// tooLong names the command with the longest argument.
func (o *Options) tooLong(raw []byte, said error) error {
	longest, size := 0, int64(-1)
	w := o.commandsOf(raw)
	var c resp.Command
	for i := 0; resp.ReadCommand(w, &c) == nil; i++ {
		for _, a := range c.Args {
			if n := o.Bulk.Size(a); n > size {
				longest, size = i, n
			}
		}
	}
	return o.dataError(raw, longest, said)
}
